"""Series in which stretches of time are labelled as anomalies -> windows of them, split in time.

The format of the Numenta Anomaly Benchmark: Lavin, Ahmad, "Evaluating real-time anomaly detection algorithms - the
Numenta Anomaly Benchmark", ICMLA 2015.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.arrays import statistics
from orchestrator.data.check import check_finite
from orchestrator.data.corpora import columns
from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import Raw
from orchestrator.errors import UserError

STEP = 5  # points from the start of a window to that of the next


def read_labelled_series(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """Windows of `dataset.length` points of CSV files of timestamp and value, the last file being the labels: JSON of
    the stretches, [first, last] timestamp, that are anomalies in each.

    A window is an anomaly if one of its points is. Each series is cut in time by the shares of the data set, and
    standardized by the normal points of its first part. Left out are windows across a cut, so that no point is in two
    splits, and in the first part the anomalies.
    """
    *files, labels = dataset.files
    stretches = _stretches(paths[labels.name])
    made = []
    for file in files:
        values, anomalous = _points(paths[file.name], _of(stretches, file.name, paths[labels.name]))
        check_finite(dataset.name, file.name, values)
        made.append(_windows(dataset, values, anomalous))
    inputs, targets, split = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return Raw(inputs, targets, split=split)


def _windows(
    dataset: Dataset, values: NDArray[Any], anomalous: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Windows [n, length], whether each is an anomaly [n], and its split [n], see `Raw`."""
    points, length = len(values), dataset.length
    train = int(points * (1 - dataset.validation - dataset.test) + 0.5)
    cuts = np.array([train, train + int(points * dataset.validation + 0.5)])
    known = values[:train][~anomalous[:train]]
    if min(len(known), cuts[1] - cuts[0], points - cuts[1]) < length:
        raise UserError(f"{dataset.name}: a series of {points} points is too short for windows of {length}")
    starts = np.arange(0, points - length + 1, STEP)
    first, last = (np.searchsorted(cuts, edge, side="right") for edge in (starts, starts + length - 1))
    targets = np.lib.stride_tricks.sliding_window_view(anomalous, length)[starts].max(1)
    kept = (first == last) & ~((first == 0) & targets)
    fitted = statistics(dataset.name, known[:, np.newaxis])
    scaled = (values - fitted["mean"][0]) / fitted["scale"][0]
    windows = np.lib.stride_tricks.sliding_window_view(scaled, length)[starts[kept]]
    return windows, targets[kept].astype(np.int64), first[kept] + 1


def _points(path: Path, stretches: Sequence[Sequence[str]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The values [points], and whether each lies in one of the stretches."""
    rows = columns(path, ("timestamp", "value"))
    try:
        times = np.array([time for time, _ in rows], "M8[us]")
        values = np.array([value for _, value in rows], np.float64)
        ends = np.array(stretches, "M8[us]").reshape(-1, 2)
    except ValueError as error:
        raise UserError(f"{path}: a time, a value or a labelled stretch of it is none ({error})") from None
    return values, np.logical_or.reduce((times >= ends[:, :1]) & (times <= ends[:, 1:]), axis=0)


def _stretches(path: Path) -> Mapping[str, Sequence[Sequence[str]]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: names no series, with the stretches that are anomalies")
    return found


def _of(stretches: Mapping[str, Sequence[Sequence[str]]], file: str, path: Path) -> Sequence[Sequence[str]]:
    """The stretches of a series, which the labels name without the folder `data` that it lies in."""
    name = file.removeprefix("data/")
    if name not in stretches:
        raise UserError(f"{path}: says nothing about {name}")
    return stretches[name]
