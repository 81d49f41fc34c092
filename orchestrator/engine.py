"""What to run next, whether it goes on, and what became of it: the mind of a sweep, without any framework.

Whoever runs trials (Ray's workers, or a plain loop in a test) calls `next`, `started`, `report`, `end` or `lost`.
Each writes to the journal before it returns; nothing else is stored. On a start after a kill the same object is
built again from the journal.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator import records
from orchestrator.history import History, TrialHistory, best_of_search
from orchestrator.journal import Event, Writer
from orchestrator.records import Cell, Trial, better, seed_of, trial_id
from orchestrator.search import stopping
from orchestrator.search.study import Study
from orchestrator.space import Space
from orchestrator.spec import Sweep

# A trial under which this many workers died, since the command was started, takes no more of them.
MAX_LOSSES = 5


class _CellSearch:
    """The search of one cell: its study, and what was seen at each rung of each bracket."""

    def __init__(self, cell: Cell, study: Study) -> None:
        self.cell, self.study = cell, study
        self.members: list[TrialHistory] = []
        self.brackets: dict[int, dict[int, list[float]]] = {}
        self.asked = self.ended = self.finals = 0


class Engine:
    """Asks, records, decides. `history` is what the journal held when this process began."""

    def __init__(
        self, spec: Sweep, cells: Sequence[Cell], spaces: Mapping[str, Space], writer: Writer, history: History
    ) -> None:
        self.spec, self.history = spec, history
        self.cells = {cell.id: cell for cell in cells}
        self._writer = writer
        self._rule = stopping.make(
            spec.early_stopping.name, spec.early_stopping.min_epochs, spec.early_stopping.reduction_factor
        )
        self._cells = {
            cell.id: _CellSearch(
                cell,
                Study(
                    spaces[cell.family],
                    history.direction,
                    spec.sampler.name,
                    spec.sampler.startup_trials,
                    seed_of(spec.seed, cell.id),
                ),
            )
            for cell in cells
        }
        self._waiting: deque[str] = deque()
        self._open: set[str] = set()
        # Not from the journal's attempts: those count as well every time that the whole sweep was interrupted.
        self._losses: Counter[str] = Counter()
        self._replay()

    # ---- what a runner calls -------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """The next trial to run, or None: either all is done, or what comes next waits for one that runs."""
        if self._waiting:
            chosen = self.history.trials[self._waiting.popleft()].trial
        else:
            made = self._finalist() or self._suggestion()
            if made is None:
                return None
            chosen = made
            self._write(f"asked/{chosen.id}", "asked", None, asdict(chosen))
            self._adopt(self.history.trials[chosen.id])
        self._open.add(chosen.id)
        return chosen

    @property
    def finished(self) -> bool:
        """Whether there is nothing to run and nothing to wait for."""
        return not self._open and not self._waiting and all(map(self._is_done, self._cells.values()))

    def started(self, trial: str, worker: str) -> None:
        attempt = self.history.trials[trial].attempts + 1
        self._write(f"started/{trial}/{attempt}", "started", trial, {"worker": worker, "attempt": attempt})

    def report(self, trial: str, rows: Sequence[Mapping[str, Any]]) -> bool:
        """Record epochs (several rows in one message are fine, at most one rung, last); True: stop the trial."""
        told = self.history.trials[trial]
        if told.status in records.ENDED:
            return True  # a message that came late
        search = self._cells[told.trial.cell]
        known = len(told.reports)
        fresh = [dict(row) for row in rows if row["epoch"] > known]
        events = [(f"reported/{trial}/{row['epoch']}", "reported", trial, row) for row in fresh]
        epoch = rows[-1]["epoch"] if rows else 0
        rungs = self._rungs(told)
        if told.stopped_at is None and epoch in rungs and fresh:
            value = self._best_so_far([*told.reports, *fresh], epoch)
            others = rungs[epoch]
            stop = not self._rule.keeps(value, others, self.history.direction)
            others.append(value)
            decision = {"epoch": epoch, "value": value, "among": len(others), "stop": stop}
            events.append((f"decided/{trial}/{epoch}", "decided", trial, decision))
            search.study.report(told.trial.number, epoch, value)
        self._write_all(events)
        return told.stopped_at is not None and epoch >= told.stopped_at

    def end(self, trial: str, status: str, reason: str = "", test: Mapping[str, float] | None = None) -> None:
        """Record what became of a trial and tell the study. Ending a trial twice changes nothing."""
        told = self.history.trials[trial]
        self._open.discard(trial)
        if told.status in records.ENDED:
            return
        content = {"status": status, "reason": reason, "value": told.value, "test": dict(test or {})}
        self._write(f"ended/{trial}", "ended", trial, content)
        self._note_end(told)

    def lost(self, trial: str, reason: str) -> None:
        """A worker died under a trial: it runs again from its last checkpoint, unless it keeps killing workers."""
        if trial not in self._open:
            return  # it has ended, or waits already
        self._losses[trial] += 1
        if self._losses[trial] >= MAX_LOSSES:
            self.end(trial, records.FAILED, f"its worker died {self._losses[trial]} times: {reason}")
        else:
            self._open.discard(trial)
            self._waiting.append(trial)

    def rungs_ahead(self, trial: str) -> list[int]:
        """The epochs at which the trial must wait for a decision; none for a finalist."""
        told = self.history.trials[trial]
        return [rung for rung in self._rungs(told) if rung > len(told.reports)]

    # ---- inside --------------------------------------------------------------------------------------------

    def _suggestion(self) -> Trial | None:
        """From the cell that has asked least, so that each suggestion knows as many results as it can."""
        search = min(self._cells.values(), key=lambda one: one.asked)
        if search.asked >= self.spec.trials:
            return None
        return self._trial(search.cell, records.SEARCH, search.asked, search.study.ask())

    def _finalist(self) -> Trial | None:
        for search in self._cells.values():
            if self._searched(search) and search.finals < self.spec.finalists:
                best = best_of_search(search.members, self.history.direction)
                if best is not None:
                    return self._trial(search.cell, records.FINAL, search.finals, best.trial.config)
        return None

    def _trial(self, cell: Cell, kind: str, number: int, config: Mapping[str, Any]) -> Trial:
        seed = seed_of(self.spec.seed, cell.id, kind, number)
        return Trial(trial_id(cell.id, kind, number), cell.id, kind, number, seed, dict(config))

    def _searched(self, search: _CellSearch) -> bool:
        return search.ended >= self.spec.trials

    def _is_done(self, search: _CellSearch) -> bool:
        if not self._searched(search):
            return False
        return search.finals >= self.spec.finalists or not best_of_search(search.members, self.history.direction)

    def _rungs(self, told: TrialHistory) -> dict[int, list[float]]:
        """What was seen at each rung at which this trial is compared; a finalist is compared at none."""
        if told.trial.kind != records.SEARCH:
            return {}
        bracket = self._rule.bracket(told.trial.number, self.spec.max_epochs)
        seen = self._cells[told.trial.cell].brackets
        if bracket not in seen:
            seen[bracket] = {rung: [] for rung in self._rule.rungs(self.spec.max_epochs, bracket)}
        return seen[bracket]

    def _best_so_far(self, reports: Sequence[Mapping[str, Any]], epoch: int) -> float:
        worst = -math.inf if self.history.direction == "max" else math.inf
        best = worst
        for row in reports:
            value = row[self.history.metric]
            if row["epoch"] <= epoch and math.isfinite(value) and better(value, best, self.history.direction):
                best = value
        return best

    def _adopt(self, told: TrialHistory) -> None:
        search = self._cells[told.trial.cell]
        if told.trial.kind == records.FINAL:
            search.finals += 1
        else:
            search.members.append(told)
            search.asked += 1

    def _note_end(self, told: TrialHistory) -> None:
        if told.trial.kind == records.FINAL:
            return
        search = self._cells[told.trial.cell]
        search.ended += 1
        search.study.tell(told.trial.number, told.status, told.value)

    def _replay(self) -> None:
        """Studies and rungs as they were: the trials in the order in which they were asked."""
        for told in self.history.trials.values():
            self._adopt(told)
            if told.trial.kind == records.SEARCH:
                self._cells[told.trial.cell].study.replay(told.trial.config)
                for rung, values in self._rungs(told).items():
                    if rung <= len(told.reports):
                        values.append(self._best_so_far(told.reports, rung))
                        self._cells[told.trial.cell].study.report(told.trial.number, rung, values[-1])
            if told.status in records.ENDED:
                self._note_end(told)
            elif told.stopped_at is not None:
                # The decision was written, its carrying out was not.
                self.end(told.trial.id, records.PRUNED)
            else:
                self._waiting.append(told.trial.id)

    def _write(self, key: str, kind: str, trial: str | None, content: dict[str, Any]) -> None:
        self._write_all([(key, kind, trial, content)])

    def _write_all(self, events: Sequence[tuple[str, str, str | None, dict[str, Any]]]) -> None:
        if not events:
            return
        now = self._writer.append(*events)
        for key, kind, trial, content in events:
            self.history.apply(Event(0, key, kind, trial, now, content))
