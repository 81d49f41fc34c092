"""What the journal says, as MLflow will hold it: points, parameters, tags. Plain values; no MLflow here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator import records
from orchestrator.history import History, TrialHistory, best_of_search
from orchestrator.journal import Event
from orchestrator.records import Start

# MLflow has no word for a trial that was stopped early: it was killed. Ours is in the tag `orchestrator.status`.
STATUS: Mapping[str, str] = {
    records.ASKED: "SCHEDULED",
    records.RUNNING: "RUNNING",
    records.COMPLETE: "FINISHED",
    records.PRUNED: "KILLED",
    records.DIVERGED: "FAILED",
    records.FAILED: "FAILED",
}
RUN_TAG, TRIAL_TAG = "orchestrator.run", "orchestrator.trial"
STATUS_TAG, EPOCHS_TAG = "orchestrator.status", "orchestrator.epochs"
LONGEST_TAG = 5000


class Point(NamedTuple):
    """One metric value. `time` in milliseconds since 1970 is its event's: written twice, it is the same point."""

    key: str
    value: float
    time: int
    step: int


@dataclass
class Reading:
    """A history that also remembers when each epoch was reported, what came out at each end of a trial (one that is
    retried has several), and the sweep's summary at each close."""

    history: History
    times: dict[str, list[float]]
    finals: dict[str, list[Point]]
    summaries: list[Point]

    @classmethod
    def new(cls) -> Reading:
        return cls(History(), {}, {}, [])

    @classmethod
    def of(cls, events: Iterable[Event]) -> Reading:
        reading = cls.new()
        for event in events:
            reading.apply(event)
        return reading

    def apply(self, event: Event) -> None:
        self.history.apply(event)
        if event.kind == "reported" and event.trial:
            self.times.setdefault(event.trial, []).append(event.time)
        elif event.kind == "ended" and event.trial:
            self.finals.setdefault(event.trial, []).extend(_final(self.history.trials[event.trial], event.time))
        elif event.kind == "closed":
            self.summaries += _summary(self.history, event.time)

    @property
    def run(self) -> str:
        """The sweep's identity in MLflow; another start from scratch under the same name is another run."""
        plan = self.history.plan
        return str(plan.get("id") or f"{plan['spec']['name']}-{plan['time']:.6f}")

    @property
    def name(self) -> str:
        return str(self.history.plan["spec"]["name"])

    @property
    def experiment(self) -> str:
        """The data set's name: sweeps on the same data are what one compares."""
        data = self.history.plan["spec"]["data"]
        return str(data["name"] if isinstance(data, Mapping) else data)

    @property
    def card(self) -> dict[str, Any]:
        return dict(self.history.plan.get("card", {}))

    def epoch_points(self, told: TrialHistory, since: int = 0) -> list[list[Point]]:
        """Points of each epoch from number `since` (counted from 0) on: every numeric column but the epoch."""
        times = self.times.get(told.trial.id, [])
        return [_epoch(row, at) for row, at in zip(told.reports[since:], times[since:], strict=True)]

    def final_points(self, told: TrialHistory) -> list[Point]:
        """Best value, its epoch, and the test metrics, of each end that a trial has had."""
        return self.finals.get(told.trial.id, [])

    def params(self, told: TrialHistory) -> dict[str, str]:
        """Hyperparameters, and what the trial is; `params` and `flops_per_sample` are the cell's (`records.Cell`).

        Those of the trial's own configuration are the metrics `own_params` and `flops`.
        """
        trial, cell = told.trial, self.history.cells[told.trial.cell]
        about = {
            "family": cell.family,
            "size": cell.size,
            "data_fraction": cell.data_fraction,
            "kind": trial.kind,
            "number": trial.number,
            "seed": trial.seed,
            "params": cell.params,
            "flops_per_sample": cell.flops,
            "train_samples": cell.train_samples,
        }
        return {key: _text(value) for key, value in {**trial.config, **about}.items()}

    def tags(self, told: TrialHistory) -> dict[str, str]:
        """What a trial's run is found by, from its creation on."""
        return {
            **self.common_tags(),
            TRIAL_TAG: told.trial.id,
            "orchestrator.cell": told.trial.cell,
            "orchestrator.kind": told.trial.kind,
        }

    def end_tags(self, told: TrialHistory) -> dict[str, str]:
        """What became of a trial."""
        tags = {
            STATUS_TAG: told.status,
            EPOCHS_TAG: str(self.epochs(told)),
            "orchestrator.attempts": str(told.attempts),
            "orchestrator.worker": told.worker,
            "orchestrator.reason": told.reason[-LONGEST_TAG:],
        }
        # Of a second end, an empty reason takes the place of the first one's.
        return {key: value for key, value in tags.items() if value or told.attempts > 1}

    def epochs(self, told: TrialHistory) -> int:
        return len(self.times.get(told.trial.id, ()))

    def parent_params(self) -> dict[str, str]:
        """The specification, flat: `sampler.name`, `early_stopping.name`, …"""
        return {key: _text(value) for key, value in _flat(self.history.plan["spec"]).items()}

    def common_tags(self) -> dict[str, str]:
        """On the sweep's run and on every trial's."""
        plan, lineage = self.history.plan, self.history.plan.get("lineage") or {}
        git = lineage.get("git") or {}
        tags = {
            RUN_TAG: self.run,
            "orchestrator.sweep": self.name,
            "orchestrator.data_version": self.card.get("fingerprint"),
            "orchestrator.dvc_data_version": lineage.get("dvc"),
            "orchestrator.code": plan.get("code"),
            "orchestrator.starts": "; ".join(str(Start(**one)) for one in plan.get("starts", ())),
            "mlflow.source.git.commit": git.get("commit"),
            "orchestrator.git.dirty": _text(git["dirty"]) if "dirty" in git else None,
            "mlflow.source.name": lineage.get("command"),
            "mlflow.source.type": "JOB",
        }
        return {key: str(value) for key, value in tags.items() if value}


def _summary(history: History, at: float) -> list[Point]:
    """Counts, and the best of the search, whenever a driver left; the step counts sessions."""
    values: dict[str, float] = {f"trials_{word}": count for word, count in history.counts().items()}
    best = best_of_search(history.trials.values(), history.direction)
    if best is not None and best.value is not None:
        values["best_value"] = best.value
    step = len(history.sessions)
    return [Point(key, float(value), _milliseconds(at), step) for key, value in values.items()]


def _final(told: TrialHistory, at: float) -> list[Point]:
    values: dict[str, Any] = {**told.test}
    if told.value is not None:
        values |= {"best_value": told.value, "best_epoch": told.best_epoch}
    step = told.best_epoch or 0
    return [Point(key, float(value), _milliseconds(at), step) for key, value in values.items() if _is_number(value)]


def _epoch(row: Mapping[str, Any], at: float) -> list[Point]:
    step, time = int(row["epoch"]), _milliseconds(at)
    # The number of parameters stays as it is: once is enough.
    left_out = ("epoch",) if step == 1 else ("epoch", "own_params")
    told = {key: float(value) for key, value in row.items() if key not in left_out and _is_number(value)}
    return [Point(key, value, time, step) for key, value in told.items()]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
