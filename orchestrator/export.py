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
    made = pandas.DataFrame(rows, columns=[*first, *beside])
    for name in made.columns:
        kinds = {type(value) for value in made[name] if value is not None}
        if len(kinds - {int, float}) > 1 or (str in kinds and len(kinds) > 1):
            # A choice among words and numbers: one type a column, or Parquet can't hold it.
            made[name] = made[name].map(lambda value: None if value is None else str(value))
    return made.convert_dtypes()


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
