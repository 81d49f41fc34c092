"""Anyone's table: a CSV file and the names of its columns become points. The only place here that uses pandas."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.points import SYMBOLS, Points


def read_points(
    path: Path, columns: Mapping[str, str], loss: str, run: str | None = None, group: str | None = None
) -> tuple[Points, Array | None]:
    """Points of a CSV file and the family of each row; `columns` maps symbols (N, D, C, …) to column names.

    Rows with an empty cell in a used column are left out and counted in `points.note`. D is made as C/(6N) where only N
    and C are given. Raises UserError, one line, on a file or a column that cannot be used.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=True, skipinitialspace=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: not a CSV table ({str(error).splitlines()[0]})") from None
    names = [str(name).strip() for name in frame.columns]
    frame.columns = pd.Index(names)
    labels = {"--run": run, "--group": group}
    for option, name in {**{option_of(s): c for s, c in columns.items()}, "--loss": loss, **labels}.items():
        if name is not None and name not in names:
            raise UserError(f"{path}: {option} {name}: no such column{suggestion(name, names)}")
    refuse_twins(path, columns, loss)
    used = [*columns.values(), loss, *(label for label in (run, group) if label is not None)]
    empty = frame[used].isna().any(axis=1).to_numpy()
    kept = np.flatnonzero(~empty)
    if not len(kept):
        raise UserError(f"{path}: no row has a value in each of {', '.join(used)}")
    made = {symbol: positive(path, frame[name].to_numpy(), kept, name) for symbol, name in columns.items()}
    losses = positive(path, frame[loss].to_numpy(), kept, loss)
    notes = [f"{int(empty.sum())} of {len(frame)} rows have an empty cell and are left out"] if empty.any() else []
    if "D" not in made and {"N", "C"} <= set(made):
        made["D"] = made["C"] / (6.0 * made["N"])
        notes.append("no --data given: D = C/(6N)")
    if {"N", "D"} <= set(made) and np.array_equal(made["N"], made["D"]):
        raise UserError(
            f"{path}: columns {columns['N']} and {columns.get('D', 'C/(6N)')} are equal: they cannot be told apart"
        )
    text = {label: frame[label].to_numpy(dtype=str)[kept] for label in (run, group) if label is not None}
    points = Points(made, losses, text[run] if run is not None else None, note=tuple(notes))
    return points, text[group] if group is not None else None


def option_of(symbol: str) -> str:
    named = {
        "N": "--params",
        "D": "--data",
        "C": "--compute",
        "U": "--unique",
        "W": "--width",
        "H": "--depth",
        "T": "--steps",
    }
    return named.get(symbol, f"--{symbol}")


def suggestion(name: str, names: list[str]) -> str:
    folded = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.5)
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return (f"; did you mean {folded[near[0]]}?" if near else "") + f" (columns: {shown})"


def refuse_twins(path: Path, columns: Mapping[str, str], loss: str) -> None:
    seen: dict[str, str] = {loss: "--loss"}
    for symbol, name in columns.items():
        if name in seen:
            raise UserError(f"{path}: {option_of(symbol)} and {seen[name]} are the same column {name}")
        seen[name] = option_of(symbol)


def positive(path: Path, cells: Array, kept: Array, name: str) -> Array:
    """The numbers above zero of a column; the first cell that is none is named by its line in the file."""
    values = np.empty(len(kept))
    for i, row in enumerate(kept):
        cell = str(cells[row]).strip()
        try:
            values[i] = float(cell)
        except ValueError:
            raise UserError(f"{path}: line {row + 2}, column {name}: '{cell}' is not a number") from None
        if not (np.isfinite(values[i]) and values[i] > 0):
            raise UserError(f"{path}: line {row + 2}, column {name}: {cell} is not a finite number above zero")
    return values


def read_targets(texts: tuple[str, ...]) -> list[dict[str, float]]:
    """`N=7e10,D=1.4e12` → {"N": 7e10, "D": 1.4e12}, one for each text."""
    targets = []
    for text in texts:
        target: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = part.partition("=")
            name = name.strip()
            if not equals or name not in SYMBOLS:
                raise UserError(
                    f"predict '{text}': '{part.strip()}' is not SYMBOL=NUMBER with a symbol of {', '.join(SYMBOLS)}"
                )
            try:
                target[name] = float(number)
            except ValueError:
                raise UserError(f"predict '{text}': {name}: '{number}' is not a number") from None
            if not (np.isfinite(target[name]) and target[name] > 0):
                raise UserError(f"predict '{text}': {name}: {number} is not a finite number above zero")
        targets.append(completed(target))
    return targets


def completed(target: dict[str, float]) -> dict[str, float]:
    """With the third of N, D and C from C = 6ND, where two are given."""
    if {"N", "D"} <= set(target):
        return {"C": 6.0 * target["N"] * target["D"], **target}
    if {"N", "C"} <= set(target):
        return {"D": target["C"] / (6.0 * target["N"]), **target}
    if {"D", "C"} <= set(target):
        return {"N": target["C"] / (6.0 * target["D"]), **target}
    return target
