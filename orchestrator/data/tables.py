"""A table with named columns -> inputs and targets, checked cell by cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.dataset import Dataset, nearest
from orchestrator.data.raw import Raw
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import pandas

MOST_LEVELS = 1000  # of a text column: each becomes an input


def raw_table(dataset: Dataset, path: Path, frame: "pandas.DataFrame", like: Raw | None = None) -> Raw:
    """Inputs and targets of a table. Columns keep the file's order, or that of `like` for a test table.

    UserError for a column that is not there, an empty cell, a column that mixes numbers and text, a date,
    and a text column that looks like an identifier.
    """
    frame.columns = [str(column) for column in frame.columns]
    if len(frame) == 0:
        raise UserError(f"{dataset.name}: {path} is empty (a header and no rows)")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"{path}: has two columns called '{twice}'; each needs a name of its own")
    for key, names in (("target", dataset.target), ("drop", dataset.drop)):
        for name in names:
            _require(path, key, name, list(frame.columns))
    frame = frame.drop(columns=list(dataset.drop))
    wanted = [column for column in frame.columns if column not in dataset.target]
    if like is not None:
        assert isinstance(like.inputs, dict)
        wanted = list(like.inputs)
        for name in wanted:
            _require(path, "the training file", name, list(frame.columns))
    rows = len(frame)
    if dataset.missing == "drop":
        frame = frame.dropna(subset=[*wanted, *dataset.target])
        if len(frame) == 0:
            raise UserError(f"{dataset.name}: {path} is empty once `missing: drop` has dropped its rows")
    inputs = {name: _column(path, frame[name], is_input=True) for name in wanted}
    if like is not None:
        _same_kinds(path, inputs, like)
    targets = [_column(path, frame[name], is_input=False) for name in dataset.target]
    if len(targets) > 1 and any(column.dtype.kind == "U" for column in targets):
        raise UserError(f"{path}: a target of several columns must be of numbers; one of them is text")
    found: NDArray[Any] | None = None
    if not dataset.past:
        found = targets[0] if len(targets) == 1 else np.column_stack(targets)
    return Raw(inputs, found, features=tuple(wanted), dropped_rows=rows - len(frame))


def _require(path: Path, who: str, name: str, columns: Sequence[str]) -> None:
    if name not in columns:
        shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
        raise UserError(f"{path}: has no column '{name}' (named by {who}){nearest(name, columns)}; it has {shown}")


def _column(path: Path, series: "pandas.Series", is_input: bool) -> NDArray[Any]:
    """A column as float64, or as text; targets of whole numbers stay whole, inputs of yes and no become 1 and 0."""
    from pandas.api import types

    where = f"{path}: column '{series.name}'"
    empty = np.flatnonzero(series.isna().to_numpy())
    if len(empty):
        raise UserError(
            f"{where}, row {int(series.index[empty[0]]) + 1} is empty or NaN ({len(empty)} such rows); fill it, "
            f"drop the column (drop: [{series.name}]) or such rows (missing: drop)"
        )
    if types.is_bool_dtype(series):
        return np.asarray(series, dtype=np.float64 if is_input else np.int64)
    if types.is_numeric_dtype(series) and not types.is_complex_dtype(series):
        if types.is_integer_dtype(series) and not is_input:
            return np.asarray(series, dtype=np.int64)
        values = np.asarray(series, dtype=np.float64)
        broken = np.flatnonzero(~np.isfinite(values))
        if len(broken):
            row = int(series.index[broken[0]]) + 1
            raise UserError(f"{where}, row {row} is {values[broken[0]]}; every value must be a finite number")
        return values
    return _text(where, series, is_input)


def _text(where: str, series: "pandas.Series", is_input: bool) -> NDArray[Any]:
    import pandas

    kind = pandas.api.types.infer_dtype(series)
    if kind not in ("string", "categorical", "boolean"):
        raise UserError(
            f"{where} holds {kind} values; numbers, text and yes/no are understood, drop it (drop: [{series.name}])"
        )
    values = np.asarray(series.to_numpy(dtype=object), dtype=np.str_)
    if not is_input:
        return values
    numbers = pandas.to_numeric(pandas.Series(values), errors="coerce").notna().to_numpy()
    if numbers.mean() >= 0.5 and not numbers.all():
        first = int(np.flatnonzero(~numbers)[0])
        raise UserError(
            f"{where}, row {int(series.index[first]) + 1} is '{values[first]}' in a column of numbers; correct it, "
            f"leave it empty and say missing: drop, or drop the column (drop: [{series.name}])"
        )
    levels = len(np.unique(values))
    if levels > MOST_LEVELS or (levels > 20 and levels > len(values) / 2):
        raise UserError(
            f"{where} is text with {levels} different values in {len(values)} rows, too many to be categories; "
            f"drop it (drop: [{series.name}])"
        )
    return values


def _same_kinds(path: Path, inputs: dict[str, NDArray[Any]], like: Raw) -> None:
    assert isinstance(like.inputs, dict)
    for name, values in inputs.items():
        if (values.dtype.kind == "U") != (like.inputs[name].dtype.kind == "U"):
            raise UserError(f"{path}: column '{name}' is text in one of the training and test file, not in the other")
