"""The state of a sweep as a fold over its journal: used live by the engine, and by every reader."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import journal, records
from orchestrator.journal import Event
from orchestrator.records import Cell, Trial, better


@dataclass
class TrialHistory:
    """What is known of one trial."""

    trial: Trial
    asked: float
    status: str = records.ASKED
    attempts: int = 0
    worker: str = ""
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    reports: list[dict[str, Any]] = field(default_factory=list)
    stopped_at: int | None = None
    best_epoch: int | None = None
    value: float | None = None
    test: dict[str, float] = field(default_factory=dict)


class History:
    """Everything that the journal says, in the order in which it was said."""

    def __init__(self) -> None:
        self.plan: dict[str, Any] = {}
        self.cells: dict[str, Cell] = {}
        self.sessions: list[dict[str, Any]] = []
        self.trials: dict[str, TrialHistory] = {}
        self.closed: str | None = None
        self.reports = 0
        self.last_event: float = 0.0

    def apply(self, event: Event) -> None:
        content, self.last_event = event.content, event.time
        trial = self.trials.get(event.trial or "")
        if event.kind == "planned":
            self.plan = {**content, "time": event.time}
            self.cells = {cell.id: cell for cell in (Cell(**fields) for fields in content["cells"])}
        elif event.kind == "session":
            # What a driver had under way when it was killed waits to be taken up again.
            for other in self.trials.values():
                other.status = records.ASKED if other.status == records.RUNNING else other.status
            self.sessions.append({**content, "began": event.time})
            self.closed = None
        elif event.kind == "closed":
            self.closed = content["state"]
            self.sessions[-1]["left"] = event.time
        elif event.kind == "asked":
            self.trials[content["id"]] = TrialHistory(Trial(**content), asked=event.time)
        elif trial is None:
            raise ValueError(f"the journal holds {event.key!r} of a trial that was never asked")
        elif event.kind == "started":
            trial.status, trial.attempts, trial.worker = records.RUNNING, trial.attempts + 1, content["worker"]
            trial.started = trial.started or event.time
        elif event.kind == "reported":
            trial.reports.append(content)
            self.reports += 1
            self._note_best(trial, content)
        elif event.kind == "decided":
            trial.stopped_at = content["epoch"] if content["stop"] else trial.stopped_at
        elif event.kind == "ended":
            trial.status, trial.ended = content["status"], event.time
            trial.reason, trial.test = content.get("reason", ""), content.get("test", {})

    def _note_best(self, trial: TrialHistory, report: dict[str, Any]) -> None:
        value = report.get(self.metric)
        if value is None or not math.isfinite(value):
            return
        if trial.value is None or better(value, trial.value, self.direction):
            trial.value, trial.best_epoch = value, report["epoch"]

    @property
    def metric(self) -> str:
        """The validation metric that is optimized, such as `validation_loss`."""
        return str(self.plan["spec"]["metric"])

    @property
    def direction(self) -> str:
        return str(self.plan["direction"])

    @property
    def test_metric(self) -> str:
        return self.metric.replace("validation_", "test_", 1)

    def counts(self, cell: str | None = None) -> dict[str, int]:
        """`asked` counts every trial there ever was; the others, those in that state now."""
        chosen = [t for t in self.trials.values() if cell in (None, t.trial.cell)]
        by_status = Counter(t.status for t in chosen)
        rest = {status: by_status[status] for status in (records.RUNNING, *records.ENDED)}
        return {"asked": len(chosen), **rest}


def of(run_dir: Path) -> History:
    """The history that a run's journal tells.

    Raises:
        UserError: there is no journal in `run_dir`.
    """
    return fold(journal.events(run_dir))


def fold(events: Iterable[Event]) -> History:
    history = History()
    for event in events:
        history.apply(event)
    return history


def tables(history: History) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables `trials`, `reports` and `cells`, with the columns of `records`."""
    return {
        "trials": [_trial_row(history, trial) for trial in history.trials.values()],
        "reports": [{"trial": t.trial.id, **row} for t in history.trials.values() for row in t.reports],
        "cells": cell_rows(history),
    }


def header(history: History) -> dict[str, Any]:
    """What was planned, and by whom it was run."""
    return {**history.plan, "sessions": history.sessions, "state": history.closed, "ended": history.last_event}


def _trial_row(history: History, told: TrialHistory) -> dict[str, Any]:
    trial, cell = told.trial, history.cells[told.trial.cell]
    best = next((row for row in told.reports if row["epoch"] == told.best_epoch), {})
    last = told.reports[-1] if told.reports else {}
    return {
        "trial": trial.id,
        "cell": cell.id,
        "family": cell.family,
        "size": cell.size,
        "data_fraction": cell.data_fraction,
        "kind": trial.kind,
        "number": trial.number,
        "seed": trial.seed,
        "status": told.status,
        "reason": told.reason,
        "config": json.dumps(trial.config, sort_keys=True),
        "epochs": len(told.reports),
        "best_epoch": told.best_epoch,
        "value": told.value,
        "best_validation_loss": best.get("validation_loss"),
        "params": cell.params,
        "flops": last.get("flops", 0),
        "seconds": sum(row["seconds"] for row in told.reports),
        "samples": last.get("samples", 0),
        "started": told.started,
        "ended": told.ended,
        "worker": told.worker,
        **{f"config.{name}": value for name, value in trial.config.items()},
        **told.test,
    }


def cell_rows(history: History) -> list[dict[str, Any]]:
    """One row a cell: its counts, the best of its search, and its finalists' mean and spread on the test split."""
    members: dict[str, list[TrialHistory]] = {cell: [] for cell in history.cells}
    for told in history.trials.values():
        members[told.trial.cell].append(told)
    rows = []
    for cell in history.cells.values():
        mine = members[cell.id]
        statuses = Counter(told.status for told in mine)
        best = best_of_search(mine, history.direction)
        tests = [told.test.get(history.test_metric, math.nan) for told in mine if told.trial.kind == records.FINAL]
        tests = [value for value in tests if math.isfinite(value)]
        rows.append(
            {
                "cell": cell.id,
                "family": cell.family,
                "size": cell.size,
                "data_fraction": cell.data_fraction,
                "params": cell.params,
                "flops": cell.flops,
                "train_samples": cell.train_samples,
                "asked": len(mine),
                **{status: statuses[status] for status in records.ENDED},
                "best": best.value if best else None,
                "best_trial": best.trial.id if best else None,
                "test": statistics.fmean(tests) if tests else None,
                "test_sd": statistics.stdev(tests) if len(tests) > 1 else None,
                "finals": len(tests),
            }
        )
    return rows


def best_of_search(members: Iterable[TrialHistory], direction: str) -> TrialHistory | None:
    """The best search trial of a cell at its best epoch: of those that ran to their end, else of the pruned."""
    for status in (records.COMPLETE, records.PRUNED):
        best: TrialHistory | None = None
        for told in members:
            if told.trial.kind != records.SEARCH or told.status != status or told.value is None:
                continue
            if best is None or best.value is None or better(told.value, best.value, direction):
                best = told
        if best:
            return best
    return None
