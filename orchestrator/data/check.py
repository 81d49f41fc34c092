"""Bad data, found before anything is made of it: each is one line that names the place and what is valid."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.raw import Raw
from orchestrator.errors import UserError


def check_raw(name: str, raw: Raw) -> None:
    """Refuse empty data, inputs and targets of different length, and NaN or inf anywhere."""
    if isinstance(raw.inputs, dict):
        if not raw.inputs:
            raise UserError(f"{name}: no input columns are left beside the target and `drop`")
        for column, values in raw.inputs.items():
            check_rows(name, len(values))
            if values.dtype.kind == "f":
                check_finite(name, f"column '{column}'", values)
    else:
        check_rows(name, len(raw.inputs))
        if raw.inputs[0].size == 0:
            raise UserError(f"{name}: its inputs are empty, shape {raw.inputs.shape}")
        check_finite(name, "inputs", raw.inputs, raw.features)
    if raw.targets is None:
        return
    if raw.targets.ndim == 0:
        raise UserError(f"{name}: the target is a single value; each row of the inputs needs one")
    rows = len(next(iter(raw.inputs.values()))) if isinstance(raw.inputs, dict) else len(raw.inputs)
    if len(raw.targets) != rows:
        raise UserError(f"{name}: {rows} rows of inputs but {len(raw.targets)} targets; each row needs one")
    check_finite(name, "target", raw.targets)


def check_alike(name: str, parts: Sequence[Raw]) -> None:
    """Refuse test arrays of another shape than the training arrays (tables have been matched by column)."""
    train = parts[0]
    for part in parts[1:]:
        for what, one, other in (("inputs", train.inputs, part.inputs), ("targets", train.targets, part.targets)):
            if isinstance(one, dict) or isinstance(other, dict) or one is None or other is None:
                continue
            if one.shape[1:] != other.shape[1:]:
                raise UserError(
                    f"{name}: a row of the training {what} has shape {one.shape[1:]}, one of the test {what} "
                    f"{other.shape[1:]}; they must be the same"
                )


def check_rows(name: str, rows: int) -> None:
    """Refuse data without a row."""
    if rows == 0:
        raise UserError(f"{name}: the data is empty (no rows)")


def check_finite(name: str, where: str, values: NDArray[Any], features: Sequence[str] = ()) -> None:
    """Refuse NaN and inf, naming the first row (counted from 1) and the column."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    row, *place = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
    value = values[(row, *place)]
    column = ""
    if place:
        column = f", column '{features[place[-1]]}'" if features else f", position {tuple(place)}"
    raise UserError(
        f"{name}: {where}, row {row + 1}{column} is {value}; every value must be a finite number "
        "(for a table: fill it, drop the column with `drop`, or such rows with `missing: drop`)"
    )


def check_classes(name: str, labels: NDArray[Any], classes: Sequence[str], splits: int) -> None:
    """Refuse a single class, and a class with fewer rows than there are splits to carve."""
    if len(classes) < 2:
        raise UserError(f"{name}: the target has only one class ('{classes[0]}'); it needs two or more")
    counts = np.bincount(labels, minlength=len(classes))
    rare = int(np.argmin(counts))
    if counts[rare] < splits:
        raise UserError(
            f"{name}: class '{classes[rare]}' has {counts[rare]} row(s); each of the {len(classes)} classes needs "
            f"at least {splits} (one a split); remove or merge it, or use `task: regression` for a number"
        )
