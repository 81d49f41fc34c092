"""Runs as tables: the one place where the report meets the journal's history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import budget, history
from orchestrator.errors import UserError
from orchestrator.records import CELLS, COMPLETE, FINAL, LOSSES_OF_THEIR_OWN, REPORTS, SEARCH, SIZES, TRIALS, model_file

Header = Mapping[str, Any]
Tables = Mapping[str, Sequence[Mapping[str, Any]]]

NUMERIC = (
    "data_fraction",
    "value",
    "best_validation_loss",
    "params",
    "own_params",
    "best_params",
    "params_without_embeddings",
    "flops",
    "seconds",
    "epochs",
    "best_epoch",
    "test",
    "test_sd",
    "best",
    "samples",
    "started",
    "ended",
    "worker_seconds",
    "last_finite",
    "attempts",
    "flops_spent",
)


@dataclass(frozen=True)
class Frames:
    """Everything a section may read.

    `trials`, `reports`, `cells` have the columns of `records`, `trials` also one `config.<key>` column per
    hyperparameter. Where several sweeps are shown together, ids begin with the sweep's name. `metric` is the plain
    name ("accuracy") of what the sweeps maximize or minimize (`direction`: "max" or "min"). `folders`: of the runs, as
    `headers`.
    """

    trials: pd.DataFrame
    reports: pd.DataFrame
    cells: pd.DataFrame
    headers: tuple[Header, ...]
    families: tuple[str, ...]
    sizes: tuple[str, ...]
    fractions: tuple[float, ...]
    metric: str
    direction: str
    folders: tuple[Path, ...] = ()

    @property
    def card(self) -> Mapping[str, Any]:
        """The data card; all sweeps of one report share it."""
        return data_card(self.headers[0])

    @cached_property
    def hyperparameters(self) -> tuple[str, ...]:
        """Names of what the search varies, in the order of the search spaces."""
        spaces = [space for header in self.headers for space in header.get("spaces", {}).values()]
        return tuple(dict.fromkeys(name for space in spaces for name in space))

    def is_choice(self, hyperparameter: str) -> bool:
        """Whether it is one of a list of values: in every space that has it, or one of words in any."""
        ways = self._ways(hyperparameter)
        lists = [way["values"] for way in ways if way.get("type") == "choice"]
        words = any(isinstance(value, str | bool) for values in lists for value in values)
        return words or 0 < len(lists) == len(ways)

    def is_log(self, hyperparameter: str) -> bool:
        """Whether some search space draws it on a logarithmic scale; another may have a 0 in it."""
        return any(way.get("log") for way in self._ways(hyperparameter))

    def _ways(self, hyperparameter: str) -> list[Mapping[str, Any]]:
        """How each space that has it draws it."""
        spaces = [space for header in self.headers for space in header.get("spaces", {}).values()]
        return [space[hyperparameter] for space in spaces if hyperparameter in space]

    def weights(self, trial: str) -> Path:
        """Where a finalist has left those of its network; the file may be gone."""
        sweep, _, own = trial.rpartition("/")
        names = [str(header["name"]) for header in self.headers]
        return model_file(self.folders[names.index(sweep) if sweep else 0], own)

    @property
    def losses_compare(self) -> bool:
        """Whether a loss means the same for each family shown."""
        return len(self.families) < 2 or self.card.get("task") not in LOSSES_OF_THEIR_OWN

    @property
    def finals(self) -> pd.DataFrame:
        """The finalists that were trained to the end."""
        trials = self.trials
        return trials[(trials["kind"] == FINAL) & (trials["status"] == COMPLETE)]

    @property
    def search(self) -> pd.DataFrame:
        """The trials of the search, whatever became of them."""
        return self.trials[self.trials["kind"] == SEARCH]

    def best_first(self, column: str = "value") -> bool:
        """`ascending` for sort_values that puts the best of the sweep's metric first."""
        return self.direction == "min" or column.endswith("loss")


def read_run(folder: Path) -> tuple[Header, Tables]:
    """Header and tables of one run, with what the specification allows (`limits`) and what it took (`spent`).

    Beside the columns of `records`, trials have `attempts`, how often a worker began with one, and `flops_spent`,
    which counts the epoch in which a trial broke off, as the budget does.
    """
    told = history.of(folder)
    tables = history.tables(told)
    for row in tables["trials"]:
        one = told.trials[row["trial"]]
        row |= {"attempts": one.attempts, "flops_spent": one.flops}
    costs = {"limits": budget.limits(told), "spent": budget.spent(told, told.last_event)}
    return history.header(told) | costs, tables


def read(folders: Sequence[Path]) -> Frames:
    """The runs in `folders` as one set of tables.

    Raises:
        UserError: a run without trials, or runs that cannot be compared (other data, another metric, or a loss that
            means something else for each family).
    """
    headers, parts = [], []
    for folder in folders:
        header, tables = read_run(folder)
        if not tables["trials"]:
            raise UserError(f"{folder}: the sweep has no trials yet; let it run before reporting on it")
        headers.append(header)
        parts.append(_qualified(tables, str(header["name"])) if len(folders) > 1 else tables)
    _check_comparable(headers, folders)
    frames = {name: [row for part in parts for row in part[name]] for name in ("trials", "reports", "cells")}
    searched = [name for header in headers for space in header.get("spaces", {}).values() for name in space]
    trials = _with_config(_frame(frames["trials"], TRIALS), searched)
    cells = _frame(frames["cells"], CELLS)
    metric, direction = metric_of(headers[0])
    families = _in_order([name for header in headers for name in header["spec"].get("families", ())], trials["family"])
    made = Frames(
        trials=trials.sort_values(["started", "trial"], kind="stable", ignore_index=True),
        reports=_frame(frames["reports"], REPORTS),
        cells=_ordered(cells),
        headers=tuple(headers),
        families=families,
        sizes=_in_order(SIZES, trials["size"]),
        fractions=tuple(sorted(float(fraction) for fraction in trials["data_fraction"].unique())),
        metric=metric,
        direction=direction,
        folders=tuple(folders),
    )
    if metric == "loss" and not made.losses_compare:
        raise UserError(
            f"{folders[0]}: judged by its loss, of which each of {', '.join(families)} has its own; "
            "write one report for each family, or judge them by another metric"
        )
    return made


def data_card(header: Header) -> Mapping[str, Any]:
    card: Mapping[str, Any] = header.get("card") or {}
    return card


def provenance(header: Header) -> dict[str, Any]:
    """`versions` (package → version), `commit`, `dirty`, `workers`, `hosts`, `cores`, `wall` (seconds)."""
    lineage = header.get("lineage") or {}
    git = lineage.get("git") or {}
    sessions = [one for one in header.get("sessions") or () if isinstance(one, Mapping)]
    workers = {one["workers"] for one in sessions if one.get("workers")}
    hosts = {str(one["host"]) for one in sessions if one.get("host")}
    host = lineage.get("host") or {}
    return {
        "versions": lineage.get("versions") or {},
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "workers": max(workers) if workers else None,
        "hosts": sorted(hosts),
        "cores": host.get("cores"),
        "sessions": len(sessions),
        "wall": _wall(header, sessions),
        # When a driver was killed nobody noted when.
        "killed": sum(not one.get("left") for one in sessions[:-1]),
    }


def _wall(header: Header, sessions: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds on the clock of the sessions whose end is known; the last one lasts until the last event."""
    ends = [one.get("left") for one in sessions]
    if ends and not ends[-1]:
        ends[-1] = header.get("ended")
    known = [
        float(end) - float(one["began"]) for one, end in zip(sessions, ends, strict=True) if end and one.get("began")
    ]
    return sum(known) if known else None


def metric_of(header: Header) -> tuple[str, str]:
    """The plain name of the sweep's metric, and whether it is to be large ("max") or small ("min")."""
    name = str(header["spec"].get("metric", "validation_loss")).removeprefix("validation_")
    return name, str(header["direction"])


def _check_comparable(headers: Sequence[Header], folders: Sequence[Path]) -> None:
    first = headers[0]
    for header, folder in zip(headers[1:], folders[1:], strict=True):
        if data_card(header).get("fingerprint") != data_card(first).get("fingerprint"):
            raise UserError(f"{folder}: its data are not those of {folders[0]}; write one report for each data set")
        if len({header.get("judge"), first.get("judge")} - {None}) > 1:
            raise UserError(
                f"{folder}: its images were held against another judge than those of {folders[0]} (the data were "
                "prepared twice); write one report for each"
            )
        task, other = (data_card(one).get("task") for one in (header, first))
        if task != other:
            raise UserError(f"{folder}: learns {task}, {folders[0]} {other}; write one report for each task")
        if metric_of(header) != metric_of(first):
            raise UserError(
                f"{folder}: its metric is {metric_of(header)[0]}, that of {folders[0]} is "
                f"{metric_of(first)[0]}; write one report for each"
            )
    names = [str(header["name"]) for header in headers]
    if len(set(names)) < len(names):
        raise UserError(f"{folders[-1]}: two of the sweeps have the same name; valid: sweeps with different names")


def _qualified(tables: Tables, sweep: str) -> Tables:
    """The same rows with ids that are unique among several sweeps."""
    ids = ("trial", "cell", "best_trial")
    return {
        name: [row | {key: f"{sweep}/{row[key]}" for key in ids if row.get(key)} for row in map(dict, rows)]
        for name, rows in tables.items()
    }


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records([dict(row) for row in rows])
    frame = frame.reindex(columns=[*columns, *(name for name in frame.columns if name not in columns)])
    measured = ("validation_", "test_", "train_")
    for name in frame.columns:
        if name in NUMERIC or name.startswith(measured):
            frame[name] = pd.to_numeric(frame[name]).astype(float)
    return frame


def _with_config(trials: pd.DataFrame, searched: Sequence[str]) -> pd.DataFrame:
    """Add a `config.<key>` column for each hyperparameter that is searched; one that a trial lacks is None."""
    plain = trials[[name for name in trials.columns if not name.startswith("config.")]]
    configs = [json.loads(text) if isinstance(text, str) else {} for text in trials["config"]]
    columns = {
        f"config.{key}": pd.Series([config.get(key) for config in configs], dtype=object)
        for key in dict.fromkeys(searched)
    }
    return pd.concat([plain, pd.DataFrame(columns, index=plain.index)], axis=1)


def _ordered(cells: pd.DataFrame) -> pd.DataFrame:
    rank = cells["size"].map({size: place for place, size in enumerate(SIZES)})
    return (
        cells.assign(_rank=rank)
        .sort_values(["family", "_rank", "data_fraction", "cell"], kind="stable")
        .drop(columns="_rank")
        .reset_index(drop=True)
    )


def _in_order(listed: Sequence[str], present: pd.Series) -> tuple[str, ...]:
    """What is present, in the listed order; anything that the list does not know comes last."""
    there = set(present)
    names = [name for name in dict.fromkeys(listed) if name in there]
    return (*names, *sorted(there - set(names)))
