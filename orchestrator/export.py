"""The journal's tables as files that any tool reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import history, records
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import pandas

COLUMNS = {"trials": records.TRIALS, "reports": records.REPORTS, "cells": records.CELLS}


def frames(run_dir: Path) -> dict[str, pandas.DataFrame]:
    """`trials`, `reports` and `cells`: one row a trial, a (trial, epoch), a cell."""
    rows = history.tables(history.of(run_dir))
    return {name: frame(rows[name], columns) for name, columns in COLUMNS.items()}


def frame(rows: list[dict[str, Any]], first: tuple[str, ...]) -> pandas.DataFrame:
    """Rows as a frame: the columns of the schema first, then what this sweep has beside them, sorted."""
    import pandas

    beside = sorted({key for row in rows for key in row} - set(first))
    return pandas.DataFrame({name: _column([row.get(name) for row in rows]) for name in (*first, *beside)})


def _column(values: list[Any]) -> pandas.Series[Any]:
    """A column of one type, decided by its values' own types; with a choice of words and numbers, of words.

    pandas' guess (`convert_dtypes`) would make whole numbers of 1.0 and 2.0: a column's type would depend on
    which values a sweep happened to find.
    """
    import pandas

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pandas.Series(values, dtype=object)
    if kinds == {bool}:
        return pandas.Series(values, dtype="boolean")
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pandas.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pandas.Series(values, dtype="Float64")
    return pandas.Series([None if value is None else str(value) for value in values], dtype="string")


def write(run_dir: Path, out: Path) -> list[Path]:
    """Write each table as Parquet and CSV into `out`; returns the files.

    Raises:
        UserError: no journal there, or `out` cannot be written to.
    """
    tables = frames(run_dir)
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.to_csv(out / f"{name}.csv", index=False)
            table.to_parquet(out / f"{name}.parquet", index=False)
            written += [out / f"{name}.csv", out / f"{name}.parquet"]
    except OSError as error:
        raise UserError(f"{out}: cannot be written to ({error.strerror}); give another --out") from None
    return written
