"""The search of one cell: its study, its trials, and who is compared with whom at which epoch."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator import records
from orchestrator.history import TrialHistory, best_of_search
from orchestrator.records import Cell, better
from orchestrator.search.stopping import Rule
from orchestrator.search.study import Study


class _Rung:
    """What was seen at a rung: by trial, and all values rising."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.ranked: list[float] = []


class CellSearch:
    """members: of the search, in the order in which they were asked; paused: of them, those that wait at a rung."""

    def __init__(self, cell: Cell, study: Study, rule: Rule, direction: str) -> None:
        self.cell, self.study = cell, study
        self.members: list[TrialHistory] = []
        self.finalists: list[TrialHistory] = []
        self.paused: dict[str, TrialHistory] = {}
        self.ended = 0
        self._rule, self._direction = rule, direction
        self._rungs: dict[int, dict[int, _Rung]] = {}
        self._best: tuple[int, TrialHistory | None] = (-1, None)

    def best(self) -> TrialHistory | None:
        """The best of the search, looked for again only when more of it has ended."""
        if self._best[0] != self.ended:
            self._best = self.ended, best_of_search(self.members, self._direction)
        return self._best[1]

    def rungs(self, told: TrialHistory) -> Sequence[int]:
        """The epochs at which this trial is compared with others; a finalist is at none."""
        if told.trial.kind != records.SEARCH:
            return ()
        return self._rule.rungs(told.max_epochs, self._bracket(told))

    def decide(self, told: TrialHistory, epoch: int, value: float) -> dict[str, Any]:
        """What a `decided` event says of a trial that came to a rung with `value`, the best that it has had."""
        seen = self._rung(told, epoch)
        decision: dict[str, Any] = {"epoch": epoch, "value": value, "among": len(seen.values) + 1, "stop": False}
        if self._rule.pauses:
            among = {**seen.values, told.trial.id: value}
            decision["pause"] = told.trial.id not in self._rule.promotes(among, self._direction, least=0)
        else:
            decision["stop"] = not self._rule.keeps(value, seen.ranked, self._direction)
        return decision

    def note(self, told: TrialHistory, epoch: int, value: float) -> None:
        """Later trials are compared with it; the sampler knows it too."""
        seen = self._rung(told, epoch)
        seen.values[told.trial.id] = value
        insort(seen.ranked, value)
        self.study.report(told.trial.number, epoch, value)

    def promotable(self, least: int) -> Iterator[tuple[str, int]]:
        """Paused trials that may go on, from the highest rung down, the best first; `least`: of each rung."""
        for rungs in self._rungs.values():
            for rung in sorted(rungs, reverse=True):
                for trial in self._rule.promotes(rungs[rung].values, self._direction, least):
                    if trial in self.paused and self.paused[trial].paused_at == rung:
                        yield trial, rung

    def _bracket(self, told: TrialHistory) -> int:
        return self._rule.bracket(told.trial.number, told.max_epochs)

    def _rung(self, told: TrialHistory, epoch: int) -> _Rung:
        return self._rungs.setdefault(self._bracket(told), {}).setdefault(epoch, _Rung())


def best_so_far(reports: Sequence[Mapping[str, Any]], epoch: int, metric: str, direction: str) -> float:
    """The best finite value up to `epoch`; without one, the worst there is."""
    best = -math.inf if direction == "max" else math.inf
    for row in reports:
        value = row[metric]
        if row["epoch"] <= epoch and math.isfinite(value) and better(value, best, direction):
            best = value
    return best
