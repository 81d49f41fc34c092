"""What a reader returned -> checked, encoded, split arrays and the statistics of the training rows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import order
from orchestrator.data.anomalies import CLASSES, check_anomalies, normal_to_train
from orchestrator.data.card import SPLITS
from orchestrator.data.check import check_alike, check_classes, check_raw
from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import Raw
from orchestrator.errors import UserError

BLOCK = 1 << 16  # values summed at a time


@dataclass(frozen=True)
class Prepared:
    """The arrays to be written (by name, without suffix) and what the card says of them.

    `judged`: for generation the labels of the training rows, with which a judge is trained; they are not written.
    """

    arrays: dict[str, NDArray[Any]]
    input_shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    sizes: dict[str, int]
    normalization: dict[str, Any]
    features: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    dropped_rows: int = 0
    vocabulary: tuple[str, ...] = ()
    target_vocabulary: tuple[str, ...] = ()
    padded: bool = False
    graphs: bool = False
    judged: NDArray[Any] | None = None


def arrange(dataset: Dataset, raw: Raw) -> Prepared:
    """Check, split, encode and measure. UserError names the column, row or class that is wrong."""
    parts = [raw] if raw.test is None else [raw, raw.test]
    for part in parts:
        check_raw(dataset.name, part)
    check_alike(dataset.name, parts)
    if dataset.past:
        return _windows(dataset, raw)
    known = [part.targets for part in parts if part.targets is not None]
    anomalies = dataset.task == "anomaly_detection"
    if anomalies:
        check_anomalies(dataset.name, raw.inputs, known[0])
    targets, classes = encode_targets(dataset, known, CLASSES if anomalies else parts[0].classes)
    if classes:
        check_classes(dataset.name, targets[0], classes, splits=4 - len(parts))
    # Labels that are not kept (generation) still decide the split, which is so that of the labelled set.
    groups = order.strata(targets[0], "classification" if classes else dataset.task)
    rows = split_rows(dataset, raw, groups)
    if anomalies:
        rows = normal_to_train(rows, targets[0])
    inputs, features, categories = _encode(parts, rows["train"])
    inputs = [_padded(values, part) for values, part in zip(inputs, parts, strict=True)]
    arrays = {}
    for split, chosen in rows.items():
        arrays[f"{split}_inputs"], arrays[f"{split}_targets"] = inputs[0][chosen], targets[0][chosen]
    if raw.test is not None:
        arrays["test_inputs"], arrays["test_targets"] = inputs[1], targets[1]
    if dataset.task == "generation":
        return _unlabelled(dataset.name, arrays)
    normalization: dict[str, Any] = statistics(dataset.name, arrays["train_inputs"], categories)
    if dataset.task == "regression":
        fitted = statistics(dataset.name, arrays["train_targets"])
        normalization |= {"target_mean": fitted["mean"], "target_scale": fitted["scale"]}
    return Prepared(
        arrays=arrays,
        input_shape=arrays["train_inputs"].shape[1:],
        outputs=arrays["train_inputs"].shape[1] if anomalies else len(classes) or targets[0].shape[1],
        classes=classes,
        sizes={split: len(arrays[f"{split}_targets"]) for split in SPLITS},
        normalization=normalization,
        features=features,
        dropped_rows=raw.dropped_rows,
        padded=raw.lengths is not None,
    )


def _unlabelled(name: str, arrays: Mapping[str, NDArray[Any]]) -> Prepared:
    """The inputs alone, to be divided by the largest value of the training rows; UserError where that gives no
    intensities in [0, 1]."""
    kept = {f"{split}_inputs": arrays[f"{split}_inputs"] for split in SPLITS}
    train = kept["train_inputs"]
    largest = float(train.max())
    if largest <= 0 or any(values.min() < 0 or values.max() > largest for values in kept.values()):
        raise UserError(f"{name}: generation needs intensities from 0 to {largest:g}, the largest of the training rows")
    channels = train.shape[1] if train.ndim == 4 else train.shape[-1]
    return Prepared(
        arrays=kept,
        input_shape=train.shape[1:],
        outputs=math.prod(train.shape[1:]),
        classes=(),
        sizes={split: len(kept[f"{split}_inputs"]) for split in SPLITS},
        normalization={"mean": [0.0] * channels, "scale": [largest] * channels},
        judged=arrays["train_targets"],
    )


def _padded(values: NDArray[Any], part: Raw) -> NDArray[Any]:
    """Sequences [n, time, features] with NaN for the steps after each one's end."""
    if part.lengths is None:
        return values
    after = np.arange(values.shape[1]) >= part.lengths[:, np.newaxis]
    return np.where(after[:, :, np.newaxis], values.dtype.type(np.nan), values)


def statistics(name: str, values: NDArray[Any], untouched: Sequence[int] = ()) -> dict[str, list[float]]:
    """Mean and standard deviation per channel ([n, channels, height, width]) or per last axis.

    Sums are exact, so that they come out the same on every machine. A constant has scale 1; columns
    `untouched` are left as they are, and NaN, which is padding, is passed over. UserError where the numbers are
    too large to be squared.
    """
    columns = np.moveaxis(values, 1 if values.ndim == 4 else -1, 0)
    mean, scale = [], []
    for index, column in enumerate(columns):
        column = column[~np.isnan(column)] if column.dtype.kind == "f" else column.ravel()
        average, deviation = (0.0, 1.0) if index in untouched else _moments(column)
        if not math.isfinite(deviation):
            raise UserError(f"{name}: the values of input {index} are too large to be standardized")
        mean.append(average)
        scale.append(deviation or 1.0)
    return {"mean": mean, "scale": scale}


def _moments(values: NDArray[Any]) -> tuple[float, float]:
    if values.dtype == np.uint8:  # exact, and fast, from the histogram
        count = [int(number) for number in np.bincount(values, minlength=256)]
        total = sum(level * number for level, number in enumerate(count))
        square = sum(level * level * number for level, number in enumerate(count))
        rows = len(values)
        return total / rows, math.sqrt((rows * square - total * total) / (rows * rows))

    def total_of(deviations: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
        # In blocks: a list of Python floats takes eight times the memory of the array.
        blocks = (values[start : start + BLOCK].astype(np.float64) for start in range(0, len(values), BLOCK))
        return math.fsum(number for block in blocks for number in deviations(block).tolist())

    try:
        average = total_of(lambda block: block) / len(values)
        with np.errstate(over="ignore"):
            return average, math.sqrt(total_of(lambda block: np.square(block - average)) / len(values))
    except OverflowError:
        return 0.0, math.inf


def split_rows(dataset: Dataset, raw: Raw, groups: order.Rows) -> dict[str, order.Rows]:
    """The rows of each split, from `groups` [rows] in proportion: as published, or of our own. UserError where a
    published one is not of these rows, or train would have none."""
    if raw.split is None:
        return order.split(groups, *split_counts(dataset, len(groups), published=raw.test is not None))
    if raw.split.shape != groups.shape or set(np.unique(raw.split).tolist()) != {1, 2, 3}:
        raise UserError(
            f"{dataset.name}: the array split says 1 (train), 2 (validation) or 3 (test) of each row, all of them"
        )
    rows = {word: np.flatnonzero(raw.split == number) for number, word in enumerate(SPLITS, 1)}
    return rows | {"train": rows["train"][order.split(groups[rows["train"]], 0, 0)["train"]]}


def split_counts(dataset: Dataset, rows: int, published: bool) -> tuple[int, int]:
    """How many rows go to validation and test; UserError where train would have none."""

    def count(share: float | int) -> int:
        return share if isinstance(share, int) else max(1, int(rows * share + 0.5))

    validation, test = count(dataset.validation), 0 if published else count(dataset.test)
    if rows - validation - test < 1:
        raise UserError(
            f"{dataset.name}: {rows} row(s) are too few to split: validation takes {validation} and test {test}, "
            "none is left to train on"
        )
    return validation, test


def encode_targets(
    dataset: Dataset, found: Sequence[NDArray[Any]], classes: tuple[str, ...]
) -> tuple[list[NDArray[Any]], tuple[str, ...]]:
    """Class numbers [n] int64 with the classes' names, or numbers [n, outputs] and no names; of train, then test."""
    if dataset.task == "regression":
        for values in found:
            if values.dtype.kind not in "fiub":
                raise UserError(
                    f"{dataset.name}: the target is text, but regression needs numbers; "
                    "use `task: classification` or name another target"
                )
        return [_lossless(values.reshape(len(values), -1)) for values in found], ()
    found = [_labels(dataset.name, values) for values in found]
    labels, numbers = np.unique(found[0], return_inverse=True)
    names = dataset.classes or classes or tuple(str(label) for label in labels)
    if len(names) != len(labels):
        raise UserError(
            f"{dataset.name}: `classes` names {len(names)}, but the target holds {len(labels)} "
            f"different labels ({', '.join(str(label) for label in labels[:10])})"
        )
    result = [numbers.reshape(-1).astype(np.int64)]
    for values in found[1:]:
        strange = np.setdiff1d(values, labels)
        if len(strange):
            raise UserError(
                f"{dataset.name}: the test data has the class '{strange[0]}', which the training data lacks; "
                f"it has {', '.join(str(label) for label in labels[:10])}"
            )
        result.append(np.searchsorted(labels, values).astype(np.int64))
    return result, names


def _labels(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim > 1:
        if values[0].size != 1:
            raise UserError(f"{name}: classification needs one label a row, the target is {values.shape}")
        values = values.reshape(-1)
    if values.dtype.kind not in "fiubUS":
        raise UserError(f"{name}: the target is of type {values.dtype}; classes are whole numbers or text")
    if values.dtype.kind == "f":
        broken = np.flatnonzero(values != np.floor(values))
        if len(broken):
            raise UserError(
                f"{name}: the target of row {int(broken[0]) + 1} is {values[broken[0]]}, which is not a class; "
                "use `task: regression` for numbers"
            )
        return values.astype(np.int64)
    return values.astype(np.str_) if values.dtype.kind == "S" else values


def _encode(parts: Sequence[Raw], train: NDArray[Any]) -> tuple[list[NDArray[Any]], tuple[str, ...], list[int]]:
    """Each part as one array; text columns become one 0/1 column per value seen in the training rows.

    A value that the training rows lack is all zeros. Also the columns' names, and which of them are
    categories.
    """
    first = parts[0].inputs
    if not isinstance(first, dict):
        return [_lossless(np.asarray(part.inputs)) for part in parts], parts[0].features, []
    features: list[str] = []
    categories: list[int] = []
    columns: list[list[NDArray[Any]]] = [[] for _ in parts]
    for column, values in first.items():
        text = values.dtype.kind == "U"
        levels = np.unique(values[train]) if text else (None,)
        for level in levels:
            if text:
                categories.append(len(features))
            features.append(f"{column}={level}" if text else column)
            for part, made in zip(parts, columns, strict=True):
                assert isinstance(part.inputs, dict)
                made.append(part.inputs[column] == level if text else part.inputs[column])
    arrays = [_lossless(np.column_stack(made).astype(np.float64)) for made in columns]
    return arrays, tuple(features), categories


def _lossless(values: NDArray[Any]) -> NDArray[Any]:
    """uint8 as it is, else little-endian float32 where that holds every value exactly, else float64."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(over="ignore"):
        small = values.astype("<f4")
    return small if np.array_equal(small, values) else values.astype("<f8")


def _windows(dataset: Dataset, raw: Raw) -> Prepared:
    """A series [time, channels] cut in time; windows are taken on load, so each value is stored once."""
    names = tuple(raw.inputs) if isinstance(raw.inputs, dict) else raw.features
    if isinstance(raw.inputs, dict):
        text = [name for name, values in raw.inputs.items() if values.dtype.kind == "U"]
        if text:
            raise UserError(
                f"{dataset.name}: column '{text[0]}' is text, but a series needs numbers; "
                f"list it under drop: [{', '.join(text)}]"
            )
        series = np.column_stack(list(raw.inputs.values()))
    else:
        series = raw.inputs
    rows, span = len(series), dataset.past + dataset.ahead
    validation, test = split_counts(dataset, rows, published=False)
    train = dataset.train or rows - validation - test
    # The first target of validation and test follows the last row before them, so their inputs reach back
    # `past` rows (the convention of Informer, Zhou et al. 2021, and of all who compare with it).
    ends = {
        "train": (0, train),
        "validation": (train - dataset.past, train + validation),
        "test": (train + validation - dataset.past, train + validation + test),
    }
    sizes = {split: end - start - span + 1 for split, (start, end) in ends.items()}
    if min(sizes.values()) < 1 or ends["validation"][0] < 0 or ends["test"][1] > rows:
        raise UserError(
            f"{dataset.name}: {rows} rows are too few for train {train}, validation {validation} and test {test} "
            f"rows with windows of {dataset.past} + {dataset.ahead}"
        )
    series = _lossless(series)
    arrays = {f"{split}_series": series[start:end] for split, (start, end) in ends.items()}
    fitted = statistics(dataset.name, arrays["train_series"])
    return Prepared(
        arrays=arrays,
        input_shape=(dataset.past, series.shape[1]),
        outputs=dataset.ahead * series.shape[1],
        classes=(),
        sizes=sizes,
        features=names,
        window=(dataset.past, dataset.ahead),
        normalization=fitted | {"target_mean": fitted["mean"], "target_scale": fitted["scale"]},
        dropped_rows=raw.dropped_rows,
    )
