"""What to run next, whether it goes on, and what became of it: the mind of a sweep, without any framework.

Whoever runs trials (Ray's workers, or a plain loop in a test) calls `next`, `started`, `report`, `end` or `lost`.
Each writes to the journal before it returns; nothing else is stored. On a start after a kill the same object is
built again from the journal.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator import budget, records
from orchestrator.history import History, TrialHistory, best_of_search, is_former
from orchestrator.journal import Event, Writer
from orchestrator.records import Cell, Trial, better, seed_of, trial_id
from orchestrator.search import stopping
from orchestrator.search.study import Study
from orchestrator.space import Space
from orchestrator.spec import Sweep

# A trial under which this many workers died, without one new epoch between them, takes no more of them.
MAX_LOSSES = 5
# As many trials of a family that fail one after the other at the same place in the code end the sweep.
SAME_ERRORS = 3
# Halving the batch once is what helps; a trial that needs more is too large for its worker.
OUT_OF_MEMORY_RETRIES = 1

_Written = tuple[str, str, str | None, dict[str, Any]]


class _Rung:
    """What was seen at a rung: by trial, and all values rising."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.ranked: list[float] = []

    def add(self, trial: str, value: float) -> None:
        self.values[trial] = value
        insort(self.ranked, value)


class _CellSearch:
    """The search of one cell: its study, its members, and what was seen at each rung of each bracket."""

    def __init__(self, cell: Cell, study: Study) -> None:
        self.cell, self.study = cell, study
        self.members: list[TrialHistory] = []
        self.finalists: list[TrialHistory] = []
        self.rungs: dict[int, dict[int, _Rung]] = {}
        self.paused: dict[str, None] = {}
        self.ended = 0
        self._best: tuple[int, TrialHistory | None] = (-1, None)

    def best(self, direction: str) -> TrialHistory | None:
        """The best of the search, looked for again only when more of it has ended."""
        if self._best[0] != self.ended:
            self._best = self.ended, best_of_search(self.members, direction)
        return self._best[1]


class Engine:
    """Asks, records, decides. `history` is what the journal held when this process began.

    fault: the traceback for which the sweep ends, once one and the same error has ended several trials.
    """

    def __init__(
        self, spec: Sweep, cells: Sequence[Cell], spaces: Mapping[str, Space], writer: Writer, history: History
    ) -> None:
        self.spec, self.history = spec, history
        self.cells = {cell.id: cell for cell in cells}
        self.fault: str | None = None
        self._writer, self._limits = writer, spec.budget.limits()
        early = spec.early_stopping
        self._rule = stopping.make(early.name, early.min_epochs, early.reduction_factor)
        self._cells = {cell.id: _CellSearch(cell, self._study(cell, spaces[cell.family])) for cell in cells}
        self._waiting: deque[str] = deque()
        self._open: set[str] = set()
        # Of each family, the place of the last error and how often it came in a row.
        self._errors: dict[str, tuple[str, int]] = {}
        self._replay()

    # ---- what a runner calls -------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """The next trial to run, or None: either all is done, or what comes next waits for one that runs."""
        if self.fault:
            return None
        if self._waiting:
            chosen = self.history.trials[self._waiting.popleft()].trial
        else:
            exhausted = self.history.exhausted
            made = self._promotion() or self._finalist() or self._suggestion()
            if made is None and self.history.exhausted is not exhausted:
                made = self._promotion() or self._finalist()  # the search is over as of now
            if made is None:
                return None
            chosen = made
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
        """Record epochs (several rows in one message are fine, at most one rung, last).

        True: the worker lets go of the trial. It has been stopped, or waits at its rung until it is promoted.
        """
        told = self.history.trials[trial]
        if told.status in records.ENDED or told.paused_at is not None:
            return True  # a message that came late
        search = self._cells[told.trial.cell]
        known = len(told.reports)
        fresh = [dict(row) for row in rows if row["epoch"] > known]
        events: list[_Written] = [(f"reported/{trial}/{row['epoch']}", "reported", trial, row) for row in fresh]
        epoch = rows[-1]["epoch"] if rows else 0
        rungs = self._rungs(told)
        decision = {}
        if epoch in rungs and fresh:
            value = self._best_so_far([*told.reports, *fresh], epoch)
            decision = self._decide(trial, value, rungs[epoch], epoch)
            events.append((f"decided/{trial}/{epoch}", "decided", trial, decision))
            if decision["stop"]:
                # In the same write, so that no kill comes between a decision and its being carried out.
                events.append(self._ending(told, records.PRUNED))
            rungs[epoch].add(trial, value)
            search.study.report(told.trial.number, epoch, value)
        self._write_all(events)
        if decision.get("pause"):
            search.paused[trial] = None
        elif decision.get("stop"):
            self._note_end(told)
        else:
            return False
        self._open.discard(trial)
        return True

    def end(
        self,
        trial: str,
        status: str,
        reason: str = "",
        test: Mapping[str, float] | None = None,
        cause: str = "",
        last_finite: float | None = None,
    ) -> None:
        """Record what became of a trial and tell the study. Ending a trial twice changes nothing.

        A trial that ran out of memory runs again first, from its last checkpoint, in smaller pieces.
        """
        told = self.history.trials[trial]
        self._open.discard(trial)
        if told.status in records.ENDED or told.paused_at is not None:
            return
        if cause == records.OUT_OF_MEMORY and told.micro_batches <= OUT_OF_MEMORY_RETRIES:
            again = {"cause": cause, "micro_batches": 2 * told.micro_batches}
            self._write(f"retried/{trial}/{told.retries + 1}", "retried", trial, again)
            self._waiting.append(trial)
            return
        about = {"cause": cause, "last_finite": last_finite} if cause else {}
        self._write_all([self._ending(told, status, reason=reason, test=dict(test or {}), **about)])
        self._note_end(told)
        self._note_error(told)

    def lost(self, trial: str, reason: str, by_node: bool = False) -> None:
        """A worker died under a trial: it runs again from its last checkpoint, unless it keeps killing workers.

        by_node: the whole machine went away, which is not held against the trial.
        """
        if trial not in self._open:
            return  # it has ended, or waits already
        told = self.history.trials[trial]
        self._write(f"lost/{trial}/{told.losses + 1}", "lost", trial, {"reason": reason, "by_node": by_node})
        if told.losses_in_a_row >= MAX_LOSSES:
            said = f"its worker died {told.losses_in_a_row} times: {reason}"
            self.end(trial, records.FAILED, said, cause=records.LOST_WORKER)
        else:
            self._open.discard(trial)
            self._waiting.append(trial)

    def rungs_ahead(self, trial: str) -> list[int]:
        """The epochs at which the trial must wait for a decision; none for a finalist."""
        told = self.history.trials[trial]
        return [rung for rung in self._rungs(told) if rung > len(told.reports)]

    def orders(self, trial: str) -> dict[str, Any]:
        """What a worker is told beside the trial itself."""
        told, rungs = self.history.trials[trial], self.rungs_ahead(trial)
        return {
            "rungs": rungs,
            "checkpoint_epochs": rungs if self._rule.pauses else [],
            "micro_batches": told.micro_batches,
            "max_epochs": told.max_epochs,
        }

    # ---- what comes next -------------------------------------------------------------------------------------

    def _suggestion(self) -> Trial | None:
        """From the cell that has asked least, so that each suggestion knows as many results as it can."""
        search = min(self._cells.values(), key=lambda one: len(one.members))
        if self._asked_all(search) or not self._affords(1, {search.cell.id: self.spec.max_epochs}):
            return None
        return self._ask(search.cell, records.SEARCH, len(search.members), search.study.ask())

    def _promotion(self) -> Trial | None:
        """A paused trial that is by now among the best of its rung; those of a search that is over are pruned."""
        for search in self._cells.values():
            if not search.paused:
                continue
            idle = self._asked_all(search) and len(search.members) == search.ended + len(search.paused)
            for trial, rung in self._promotable(search, least=int(idle)):
                told = self.history.trials[trial]
                if self._affords(0, {told.trial.cell: told.max_epochs - rung}):
                    self._write(f"promoted/{trial}/{rung}", "promoted", trial, {"epoch": rung})
                    del search.paused[trial]
                    return told.trial
            if idle:
                for told in [self.history.trials[trial] for trial in search.paused]:
                    self._write_all([self._ending(told, records.PRUNED)])
                    self._note_end(told)
                search.paused.clear()
        return None

    def _promotable(self, search: _CellSearch, least: int) -> Iterator[tuple[str, int]]:
        """Paused trials that may go on, from the highest rung down, the best first; `least`: of each rung."""
        for rungs in search.rungs.values():
            for rung in sorted(rungs, reverse=True):
                for trial in self._rule.promotes(rungs[rung].values, self.history.direction, least):
                    if trial in search.paused and self.history.trials[trial].paused_at == rung:
                        yield trial, rung

    def _finalist(self) -> Trial | None:
        for search in self._cells.values():
            best = search.best(self.history.direction) if self._searched(search) else None
            if best is not None and self._finals(search, best) < self.spec.finalists:
                return self._ask(search.cell, records.FINAL, len(search.finalists), best.trial.config)
        return None

    def _ask(self, cell: Cell, kind: str, number: int, config: Mapping[str, Any]) -> Trial:
        seed = seed_of(self.spec.seed, cell.id, kind, number)
        trial = Trial(trial_id(cell.id, kind, number), cell.id, kind, number, seed, dict(config))
        self._write(f"asked/{trial.id}", "asked", None, asdict(trial))
        self._adopt(self.history.trials[trial.id])
        return trial

    def _asked_all(self, search: _CellSearch) -> bool:
        return len(search.members) >= self.spec.trials or self.history.exhausted is not None

    def _searched(self, search: _CellSearch) -> bool:
        return self._asked_all(search) and search.ended == len(search.members)

    def _finals(self, search: _CellSearch, best: TrialHistory) -> int:
        return sum(not is_former(told, best, self.spec.max_epochs) for told in search.finalists)

    def _is_done(self, search: _CellSearch) -> bool:
        if not self._searched(search):
            return False
        best = search.best(self.history.direction)
        return best is None or self._finals(search, best) >= self.spec.finalists

    def _affords(self, trials: int, epochs: dict[str, float]) -> bool:
        """Whether the budget allows more search, with the finalists set aside; says so once it is exhausted."""
        if not self._limits:
            return True
        if self.history.exhausted:
            return False
        for name in [*self._open, *self._waiting]:
            told = self.history.trials[name]
            epochs[told.trial.cell] = epochs.get(told.trial.cell, 0) + told.max_epochs - len(told.reports)
        for search in self._cells.values():
            best = search.best(self.history.direction) if self._searched(search) else None
            finals = self.spec.finalists - (self._finals(search, best) if best else 0)
            epochs[search.cell.id] = epochs.get(search.cell.id, 0) + finals * self.spec.max_epochs
            trials += finals
        limit = budget.exceeded(self._limits, self.history, time.time(), trials, epochs)
        if limit and not self._open and not self._waiting:
            # Before that, one that runs may yet cost less than was set aside for it.
            about = {"limit": limit, "spent": budget.spent(self.history, time.time())}
            self._write(f"exhausted/{len(self.history.extensions)}", "exhausted", None, about)
        return limit is None

    # ---- rungs -----------------------------------------------------------------------------------------------

    def _rungs(self, told: TrialHistory) -> dict[int, _Rung]:
        """What was seen at each rung at which this trial is compared; a finalist is compared at none."""
        if told.trial.kind != records.SEARCH:
            return {}
        bracket = self._rule.bracket(told.trial.number, told.max_epochs)
        seen = self._cells[told.trial.cell].rungs.setdefault(bracket, {})
        for rung in self._rule.rungs(told.max_epochs, bracket):
            seen.setdefault(rung, _Rung())
        return seen

    def _decide(self, trial: str, value: float, seen: _Rung, epoch: int) -> dict[str, Any]:
        direction = self.history.direction
        decision: dict[str, Any] = {"epoch": epoch, "value": value, "among": len(seen.values) + 1, "stop": False}
        if self._rule.pauses:
            decision["pause"] = trial not in self._rule.promotes({**seen.values, trial: value}, direction, least=0)
        else:
            decision["stop"] = not self._rule.keeps(value, seen.ranked, direction)
        return decision

    def _best_so_far(self, reports: Sequence[Mapping[str, Any]], epoch: int) -> float:
        worst = -math.inf if self.history.direction == "max" else math.inf
        best = worst
        for row in reports:
            value = row[self.history.metric]
            if row["epoch"] <= epoch and math.isfinite(value) and better(value, best, self.history.direction):
                best = value
        return best

    # ---- what became of it ------------------------------------------------------------------------------------

    def _ending(self, told: TrialHistory, status: str, **content: Any) -> _Written:
        # A trial that ended before, and was retried, ends under another key.
        again = f"/{told.retries}" if told.retries else ""
        return f"ended/{told.trial.id}{again}", "ended", told.trial.id, {"status": status, **content}

    def _note_end(self, told: TrialHistory) -> None:
        if told.trial.kind == records.FINAL:
            return
        search = self._cells[told.trial.cell]
        search.ended += 1
        search.study.tell(told.trial.number, told.status, told.value)

    def _note_error(self, told: TrialHistory) -> None:
        """A bug, unlike bad luck, ends one trial after the other at the same place."""
        family = self.cells[told.trial.cell].family
        if told.cause != records.ERROR:
            self._errors.pop(family, None)
            return
        traceback, _, message = told.reason.strip().rpartition("\n")
        place = traceback or message  # the last line of a traceback may name the trial's own numbers
        known, count = self._errors.get(family, (place, 0))
        count = count + 1 if known == place else 1
        self._errors[family] = place, count
        if count >= SAME_ERRORS:
            self.fault = told.reason.strip()

    # ---- a start after a kill ---------------------------------------------------------------------------------

    def _adopt(self, told: TrialHistory) -> None:
        search = self._cells[told.trial.cell]
        (search.finalists if told.trial.kind == records.FINAL else search.members).append(told)

    def _replay(self) -> None:
        """Studies and rungs as they were: the trials in the order in which they were asked."""
        self._retry_errors()
        for told in self.history.trials.values():
            self._adopt(told)
            search = self._cells[told.trial.cell]
            if told.trial.kind == records.SEARCH:
                search.study.replay(told.trial.config)
                for rung, seen in self._rungs(told).items():
                    if rung <= len(told.reports):
                        seen.add(told.trial.id, self._best_so_far(told.reports, rung))
                        search.study.report(told.trial.number, rung, seen.values[told.trial.id])
            if told.status in records.ENDED:
                self._note_end(told)
            elif told.paused_at is not None:
                search.paused[told.trial.id] = None
            else:
                self._waiting.append(told.trial.id)

    def _retry_errors(self) -> None:
        """After a stop for a bug: what failed by an error runs again, with the code as it is now."""
        before = self.history.sessions[-2] if len(self.history.sessions) > 1 else {}
        if before.get("state") != records.STOPPED:
            return
        for told in self.history.trials.values():
            if told.cause == records.ERROR:
                key = f"retried/{told.trial.id}/{told.retries + 1}"
                self._write(key, "retried", told.trial.id, {"cause": told.cause})

    def _write(self, key: str, kind: str, trial: str | None, content: dict[str, Any]) -> None:
        self._write_all([(key, kind, trial, content)])

    def _write_all(self, events: Sequence[_Written]) -> None:
        if not events:
            return
        now = self._writer.append(*events)
        for key, kind, trial, content in events:
            self.history.apply(Event(0, key, kind, trial, now, content))

    def _study(self, cell: Cell, space: Space) -> Study:
        sampler = self.spec.sampler
        seed = seed_of(self.spec.seed, cell.id)
        return Study(space, self.history.direction, sampler.name, sampler.startup_trials, seed, sampler.points)
