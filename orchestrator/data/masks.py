"""Images with a class for every pixel -> checked, split arrays and the statistics of the training images."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import order
from orchestrator.data.arrays import Prepared, split_rows, statistics
from orchestrator.data.card import SPLITS
from orchestrator.data.check import check_alike, check_raw
from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import Raw
from orchestrator.errors import UserError


def arrange_masks(dataset: Dataset, raw: Raw) -> Prepared:
    """Check, split and measure. Where no split is published, images of few and of many pixels that are not background
    are shared out alike. UserError says what is wrong."""
    parts = [raw] if raw.test is None else [raw, raw.test]
    for part in parts:
        check_raw(dataset.name, part)
        _check(dataset.name, part)
    check_alike(dataset.name, parts)
    classes = _classes(dataset, raw.targets)
    assert isinstance(raw.inputs, np.ndarray) and raw.targets is not None
    groups = order.strata(np.count_nonzero(raw.targets, axis=(1, 2)), "regression")
    rows = split_rows(dataset, raw, groups)
    arrays = {}
    for split, chosen in rows.items():
        arrays[f"{split}_inputs"], arrays[f"{split}_targets"] = raw.inputs[chosen], raw.targets[chosen]
    if raw.test is not None:
        arrays["test_inputs"], arrays["test_targets"] = np.asarray(raw.test.inputs), np.asarray(raw.test.targets)
    for name, values in arrays.items():
        images = values.dtype if values.dtype == np.uint8 else np.dtype("<f4")
        arrays[name] = values.astype(np.uint8 if name.endswith("targets") else images)
    if (largest := max(int(arrays[f"{split}_targets"].max()) for split in SPLITS)) >= len(classes):
        raise UserError(f"{dataset.name}: the test masks hold class {largest}, which the training masks lack")
    return Prepared(
        arrays=arrays,
        input_shape=arrays["train_inputs"].shape[1:],
        outputs=len(classes),
        classes=classes,
        sizes={split: len(arrays[f"{split}_targets"]) for split in SPLITS},
        normalization=statistics(dataset.name, arrays["train_inputs"]),
    )


def _check(name: str, part: Raw) -> None:
    images, masks = np.asarray(part.inputs), np.asarray(part.targets)
    if images.ndim != 4 or masks.shape[1:] != images.shape[2:]:
        raise UserError(
            f"{name}: segmentation needs images and a mask [height, width] of the same size for each; one image is "
            f"{images.shape[1:]} (channels first), its mask {masks.shape[1:]}"
        )
    if masks.dtype.kind not in "uib" or masks.min() < 0 or masks.max() > 255:
        raise UserError(f"{name}: a mask holds whole numbers from 0, the background, to 255; found {masks.dtype}")


def _classes(dataset: Dataset, masks: NDArray[Any] | None) -> tuple[str, ...]:
    """Their names; UserError for a number that is left out, as in masks of 0 and 255."""
    levels = np.unique(np.asarray(masks)).astype(int).tolist()
    if len(levels) < 2 or levels != list(range(len(levels))):
        found = ", ".join(map(str, levels[:10]))
        raise UserError(f"{dataset.name}: the masks hold {found}; classes are 0 (background), 1 and on")
    names = dataset.classes or tuple(map(str, levels))
    if len(names) != len(levels):
        raise UserError(f"{dataset.name}: `classes` names {len(names)}, but the masks hold {len(levels)}")
    return names
