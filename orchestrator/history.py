"""The state of a sweep as a fold over its journal: used live by the engine, and by every reader."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
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
    max_epochs: int
    status: str = records.ASKED
    attempts: int = 0
    worker: str = ""
    started: float | None = None
    ended: float | None = None
    reason: str = ""
    cause: str = ""
    last_finite: float | None = None
    reports: list[dict[str, Any]] = field(default_factory=list)
    paused_at: int | None = None
    best_epoch: int | None = None
    value: float | None = None
    test: dict[str, float] = field(default_factory=dict)
    # Workers that died under it: all of them, and since its last new epoch or retry.
    losses: int = 0
    losses_in_a_row: int = 0
    # How often it ran again after it had failed; of these, after the sweep had stopped for a bug.
    retries: int = 0
    second_chances: int = 0
    micro_batches: int = 1
    # For how long workers were busy with it, repeated work included; `busy_since`: the present one.
    worker_seconds: float = 0.0
    busy_since: float | None = None
    # Of all its epochs, and of those within which it ended.
    flops: int = 0


@dataclass
class Spent:
    """What the sweep has cost so far, kept as it grows: `seconds` are of training, by what the reports say."""

    flops: int = 0
    seconds: float = 0.0
    worker_seconds: float = 0.0
    session_seconds: float = 0.0
    session_since: float | None = None
    busy: dict[str, TrialHistory] = field(default_factory=dict)
    epochs_by_cell: Counter[str] = field(default_factory=Counter)
    seconds_by_cell: dict[str, float] = field(default_factory=dict)

    def note(self, trial: TrialHistory, report: Mapping[str, Any]) -> None:
        """An epoch; not yet among the trial's."""
        cell, before = trial.trial.cell, trial.reports[-1]["flops"] if trial.reports else 0
        self.note_flops(trial, report["flops"] - before)
        self.seconds += report["seconds"]
        self.epochs_by_cell[cell] += 1
        self.seconds_by_cell[cell] = self.seconds_by_cell.get(cell, 0.0) + report["seconds"]

    def note_flops(self, trial: TrialHistory, flops: int) -> None:
        trial.flops += flops
        self.flops += flops

    def worker_hours(self, now: float) -> float:
        """For how long workers were busy, whatever came of it; `now` in seconds since 1970."""
        busy = sum(now - trial.busy_since for trial in self.busy.values() if trial.busy_since is not None)
        return (self.worker_seconds + busy) / 3600

    def hours(self, now: float) -> float:
        """By the clock, while a driver was there."""
        return (self.session_seconds + (0 if self.session_since is None else now - self.session_since)) / 3600


class History:
    """Everything that the journal says, in the order in which it was said."""

    def __init__(self) -> None:
        self.plan: dict[str, Any] = {}
        self.fingerprints: list[str] = []
        self.extensions: list[dict[str, Any]] = []
        self.cells: dict[str, Cell] = {}
        self.sessions: list[dict[str, Any]] = []
        self.trials: dict[str, TrialHistory] = {}
        self.closed: str | None = None
        self.exhausted: dict[str, Any] | None = None
        self.reports = 0
        self.last_event: float = 0.0
        self.spent = Spent()

    def apply(self, event: Event) -> None:
        content, kind = event.content, event.kind
        trial = self.trials.get(event.trial or "")
        if kind == "planned":
            self._take(content, event.time)
        elif kind == "extended":
            self._stop_clocks(self.last_event)  # not while nobody was there
            self.closed = None
            self._take({**content["plan"], "id": self.plan.get("id")}, self.plan["time"])
            self.extensions.append({"changes": content["changes"], "time": event.time})
            self.exhausted = None
        elif kind == "session":
            self._stop_clocks(self.last_event)  # a driver that was killed was there until its last event at least
            # What it had under way waits to be taken up again.
            for other in self.trials.values():
                other.status = records.ASKED if other.status == records.RUNNING else other.status
            self.sessions.append({**content, "began": event.time})
            self.spent.session_since = event.time
            self.closed = None
        elif kind == "closed":
            self._stop_clocks(event.time)
            self.closed = content["state"]
            self.sessions[-1] |= {"left": event.time, "state": content["state"]}
        elif kind == "exhausted":
            self.exhausted = content
        elif kind == "asked":
            self.trials[content["id"]] = TrialHistory(Trial(**content), event.time, self.max_epochs)
        elif trial is None:
            raise ValueError(f"the journal holds {event.key!r} of a trial that was never asked")
        else:
            self._apply_to(trial, kind, content, event.time)
        self.last_event = event.time

    def _apply_to(self, trial: TrialHistory, kind: str, content: dict[str, Any], time: float) -> None:
        if kind == "started":
            self._stop_clock(trial, time)
            trial.status, trial.attempts, trial.worker = records.RUNNING, trial.attempts + 1, content["worker"]
            trial.started, trial.busy_since = trial.started or time, time
            self.spent.busy[trial.trial.id] = trial
        elif kind == "reported":
            self.spent.note(trial, content)
            trial.reports.append(content)
            trial.losses_in_a_row = 0
            self.reports += 1
            self._note_best(trial, content)
        elif kind == "decided":
            if content.get("pause"):
                trial.paused_at = content["epoch"]
                self._put_back(trial, time)
        elif kind == "promoted":
            trial.paused_at = None
        elif kind == "lost":
            trial.losses += 1
            trial.losses_in_a_row += not content.get("by_node", False)
            self._put_back(trial, time)
        elif kind == "retried":
            trial.retries += 1
            trial.second_chances += content.get("cause") != records.OUT_OF_MEMORY
            trial.losses_in_a_row = 0
            trial.micro_batches = content.get("micro_batches", trial.micro_batches)
            trial.ended, trial.reason, trial.cause = None, "", ""
            self._put_back(trial, time)
        elif kind == "ended":
            self._put_back(trial, time)
            trial.status, trial.ended, trial.paused_at = content["status"], time, None
            trial.reason, trial.test = content.get("reason", ""), content.get("test", {})
            trial.cause, trial.last_finite = content.get("cause", ""), content.get("last_finite")
            if trial.status in (records.DIVERGED, records.FAILED):
                # It ended within an epoch that nobody reported: counted whole, or such trials would cost nothing.
                cell = self.cells[trial.trial.cell]
                self.spent.note_flops(trial, cell.flops * cell.train_samples)

    def _take(self, plan: dict[str, Any], time: float) -> None:
        self.plan = {**plan, "time": time}
        self.fingerprints.append(plan.get("fingerprint", ""))
        self.cells = {cell.id: cell for cell in (Cell(**fields) for fields in plan["cells"])}

    def _put_back(self, trial: TrialHistory, time: float) -> None:
        """No worker has it any more: it waits."""
        trial.status = records.ASKED
        self._stop_clock(trial, time)

    def _stop_clock(self, trial: TrialHistory, time: float) -> None:
        if self.spent.busy.pop(trial.trial.id, None) and trial.busy_since is not None:
            trial.worker_seconds += time - trial.busy_since
            self.spent.worker_seconds += time - trial.busy_since
            trial.busy_since = None

    def _stop_clocks(self, time: float) -> None:
        for trial in list(self.spent.busy.values()):
            self._stop_clock(trial, time)
        if self.spent.session_since is not None:
            self.spent.session_seconds += time - self.spent.session_since
            self.spent.session_since = None

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
    def max_epochs(self) -> int:
        return int(self.plan["spec"]["max_epochs"])

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
    best = best_of_cells(history)
    return {
        "trials": [_trial_row(history, trial, best[trial.trial.cell]) for trial in history.trials.values()],
        "reports": [{"trial": t.trial.id, **row} for t in history.trials.values() for row in t.reports],
        "cells": cell_rows(history),
    }


def header(history: History) -> dict[str, Any]:
    """What was planned, and by whom it was run."""
    return {
        **history.plan,
        "sessions": history.sessions,
        "extensions": history.extensions,
        "exhausted": history.exhausted,
        "state": history.closed,
        "ended": history.last_event,
    }


def is_former(told: TrialHistory, best: TrialHistory | None, max_epochs: int) -> bool:
    """Whether a finalist no longer stands for its cell: the sweep was extended since, and another is the best."""
    return best is not None and (told.trial.config != best.trial.config or told.max_epochs != max_epochs)


def _trial_row(history: History, told: TrialHistory, best_of_cell: TrialHistory | None) -> dict[str, Any]:
    trial, cell = told.trial, history.cells[told.trial.cell]
    former = trial.kind == records.FINAL and is_former(told, best_of_cell, history.max_epochs)
    best = next((row for row in told.reports if row["epoch"] == told.best_epoch), {})
    last = told.reports[-1] if told.reports else {}
    return {
        "trial": trial.id,
        "cell": cell.id,
        "family": cell.family,
        "size": cell.size,
        "data_fraction": cell.data_fraction,
        "kind": records.FORMER if former else trial.kind,
        "number": trial.number,
        "seed": trial.seed,
        "status": told.status,
        "reason": told.reason,
        "cause": told.cause,
        "last_finite": told.last_finite,
        "config": json.dumps(trial.config, sort_keys=True),
        "epochs": len(told.reports),
        "best_epoch": told.best_epoch,
        "value": told.value,
        "best_validation_loss": best.get("validation_loss"),
        "params": cell.params,
        "own_params": _own_params(told),
        "flops": last.get("flops", 0),
        "seconds": sum(row["seconds"] for row in told.reports),
        "samples": last.get("samples", 0),
        "started": told.started,
        "ended": told.ended,
        "worker": told.worker,
        "worker_seconds": told.worker_seconds,
        "origin": trial.origin,
        **{f"config.{name}": value for name, value in trial.config.items()},
        **told.test,
    }


def _own_params(told: TrialHistory) -> int | None:
    """None before the first epoch, and in journals of sweeps that began before it was counted."""
    return told.reports[-1].get("own_params") if told.reports else None


def cell_rows(history: History) -> list[dict[str, Any]]:
    """One row a cell: its counts, the best of its search, and its finalists' mean and spread on the test split."""
    members, bests = _members(history), best_of_cells(history)
    rows = []
    for cell in history.cells.values():
        mine, best = members[cell.id], bests[cell.id]
        statuses = Counter(told.status for told in mine)
        finals = [one for one in mine if one.trial.kind == records.FINAL]
        tests = [
            one.test.get(history.test_metric, math.nan)
            for one in finals
            if not is_former(one, best, history.max_epochs)
        ]
        tests = [value for value in tests if math.isfinite(value)]
        rows.append(
            {
                "cell": cell.id,
                "family": cell.family,
                "size": cell.size,
                "data_fraction": cell.data_fraction,
                "params": cell.params,
                "params_without_embeddings": cell.params_without_embeddings,
                "flops": cell.flops,
                "train_samples": cell.train_samples,
                "asked": len(mine),
                **{status: statuses[status] for status in records.ENDED},
                "best": best.value if best else None,
                "best_trial": best.trial.id if best else None,
                "best_params": _own_params(best) if best else None,
                "test": statistics.fmean(tests) if tests else None,
                "test_sd": statistics.stdev(tests) if len(tests) > 1 else None,
                "finals": len(tests),
            }
        )
    return rows


def _members(history: History) -> dict[str, list[TrialHistory]]:
    members: dict[str, list[TrialHistory]] = {cell: [] for cell in history.cells}
    for told in history.trials.values():
        members[told.trial.cell].append(told)
    return members


def best_of_cells(history: History) -> dict[str, TrialHistory | None]:
    """Cell → the best trial of its search."""
    return {cell: best_of_search(mine, history.direction) for cell, mine in _members(history).items()}


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
