"""Readers: files as their publishers serve them -> plain arrays. Nothing here unpickles."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.catalog import Dataset
from orchestrator.errors import UserError

Columns = dict[str, NDArray]  # name -> [rows], float64 or text


@dataclass(frozen=True)
class Raw:
    """What a reader returns. `inputs` is an array [rows, ...], or named columns where some may be text.
    `targets` is [rows] or [rows, outputs], None for a forecasting set, whose columns are its targets."""

    inputs: NDArray | Columns
    targets: NDArray | None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    dropped_rows: int = 0
    test: "Raw | None" = field(default=None)


def read_sklearn(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """A set shipped inside scikit-learn; UserError where its arrays are not the ones of the catalog."""
    from sklearn import __version__, datasets

    file = dataset.files[0]
    # diabetes comes scaled by statistics of all rows, the test rows included, unless told otherwise.
    options = {"scaled": False} if dataset.name == "diabetes" else {}
    bunch = getattr(datasets, file.name)(**options)
    inputs, features = bunch.data.astype("<f8"), tuple(bunch.feature_names)
    if dataset.name == "digits":  # counts of 0..16 on an 8x8 grid
        inputs, features = bunch.images[:, np.newaxis].astype(np.uint8), ()
    targets = bunch.target.astype("<i8" if dataset.task == "classification" else "<f8")
    found = hashlib.sha256(np.ascontiguousarray(inputs).tobytes() + targets.tobytes()).hexdigest()
    if found != file.sha256:
        raise UserError(f"{dataset.name}: scikit-learn {__version__} ships other data (sha256 {found}) "
                        f"than the catalog knows ({file.sha256})")
    names = tuple(str(name) for name in bunch.get("target_names", ())) if dataset.task == "classification" else ()
    return Raw(inputs, targets, features, names)


READERS: dict[str, Callable[[Dataset, Mapping[str, Path]], Raw]] = {
    "sklearn": read_sklearn,
}
