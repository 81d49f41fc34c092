"""What to run next, whether it goes on, and what became of it: the mind of a sweep, without any framework.

Whoever runs trials (Ray's workers, or a plain loop in a test) calls `next`, `started`, `report`, `end` or `lost`.
Each writes to the journal before it returns; nothing else is stored. On a start after a kill the same object is
built again from the journal.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator import budget, records, transfer
from orchestrator.cell_search import CellSearch, best_so_far
from orchestrator.failures import Failures
from orchestrator.history import History, TrialHistory, is_former
from orchestrator.journal import Event, Writer
from orchestrator.records import Cell, Trial, seed_of, trial_id
from orchestrator.search import stopping
from orchestrator.search.study import Study
from orchestrator.space import Space
from orchestrator.spec import Sweep

# A trial under which this many workers died, without one new epoch between them, takes no more of them.
MAX_LOSSES = 5

_Written = tuple[str, str, str | None, dict[str, Any]]


class Engine:
    """Asks, records, decides. `history` is what the journal held when this process began."""

    def __init__(
        self, spec: Sweep, cells: Sequence[Cell], spaces: Mapping[str, Space], writer: Writer, history: History
    ) -> None:
        self.spec, self.history = spec, history
        self.cells = {cell.id: cell for cell in cells}
        self._writer, self._limits, self._spaces = writer, spec.budget.limits(), spaces
        self._rules = {cell.id: stopping.make(**spec.stopping_of(cell, cells).model_dump()) for cell in cells}
        self._cells = {
            cell.id: CellSearch(cell, self._study(cell, spaces[cell.family]), self._rules[cell.id], history.direction)
            for cell in cells
        }
        self._trials = {cell.id: spec.trials_of(cell, cells) for cell in cells}
        self._waiting: deque[str] = deque()
        self._open: set[str] = set()
        self._failures = Failures(cells)
        self._replay()

    # ---- what a runner calls -------------------------------------------------------------------------------

    def next(self) -> Trial | None:
        """The next trial to run, or None: either all is done, or what comes next waits for one that runs."""
        if self.fault:
            return None
        while self._waiting:
            waiting = self.history.trials[self._waiting.popleft()]
            if waiting.status not in records.ENDED:
                chosen = waiting.trial
                break
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
    def fault(self) -> str | None:
        """Why the sweep has to stop, if so."""
        return self._failures.fault_in_the_end if self._is_over else self._failures.fault

    @property
    def finished(self) -> bool:
        """Whether there is nothing to run and nothing to wait for."""
        return not self._open and (self.fault is not None or self._is_over)

    @property
    def _is_over(self) -> bool:
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
        decision = {}
        if fresh and epoch in search.rungs(told):
            value = best_so_far([*told.reports, *fresh], epoch, self.history.metric, self.history.direction)
            decision = search.decide(told, epoch, value)
            events.append((f"decided/{trial}/{epoch}", "decided", trial, decision))
            if decision["stop"]:
                # In the same write, so that no kill comes between a decision and its being carried out.
                events.append(self._ending(told, records.PRUNED))
            search.note(told, epoch, value)
        self._write_all(events)
        if fresh:
            self._failures.workers_live()
        if decision.get("pause"):
            search.paused[trial] = told
            self._failures.let_go(told)
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
        if cause == records.OUT_OF_MEMORY and told.micro_batches == 1:
            # Half the rows at a time is what helps; a trial that needs more is too large for its worker.
            again = {"cause": cause, "micro_batches": 2}
            self._write(f"retried/{trial}/{told.retries + 1}", "retried", trial, again)
            self._waiting.append(trial)
            return
        about = {"cause": cause, "last_finite": last_finite} if cause else {}
        self._write_all([self._ending(told, status, reason=reason, test=dict(test or {}), **about)])
        self._note_end(told)

    def lost(self, trial: str, reason: str, by_node: bool = False) -> None:
        """A worker died under a trial: it runs again from its last checkpoint, unless it keeps killing workers.

        by_node: the whole machine went away, which is not held against the trial.
        """
        if trial not in self._open:
            return  # it has ended, or waits already
        told = self.history.trials[trial]
        self._open.discard(trial)
        loss: _Written = (f"lost/{trial}/{told.losses + 1}", "lost", trial, {"reason": reason, "by_node": by_node})
        in_a_row = told.losses_in_a_row + (not by_node)
        if in_a_row < MAX_LOSSES:
            self._write_all([loss])
            self._waiting.append(trial)
            return
        said = f"its worker died {in_a_row} times: {reason}"
        self._write_all([loss, self._ending(told, records.FAILED, reason=said, cause=records.LOST_WORKER)])
        self._note_end(told)

    def rungs_ahead(self, trial: str) -> list[int]:
        """The epochs at which the trial must wait for a decision; none for a finalist."""
        told = self.history.trials[trial]
        return [rung for rung in self._cells[told.trial.cell].rungs(told) if rung > len(told.reports)]

    def orders(self, trial: str) -> dict[str, Any]:
        """What a worker is told beside the trial itself."""
        told, rungs = self.history.trials[trial], self.rungs_ahead(trial)
        return {
            "rungs": rungs,
            "checkpoint_epochs": rungs if self._rules[told.trial.cell].pauses else [],
            "micro_batches": told.micro_batches,
            "max_epochs": told.max_epochs,
        }

    # ---- what comes next -------------------------------------------------------------------------------------

    def _suggestion(self) -> Trial | None:
        """From the cell that has asked least, so that each suggestion knows as many results as it can."""
        ready = [one for one in self._cells.values() if not self._asked_all(one) and self._may_begin(one)]
        search = min(ready, key=lambda one: len(one.members), default=None)
        if search is None or not self._affords(1, {search.cell.id: self.spec.max_epochs}):
            return None
        number = len(search.members)
        expected = self._expected(search)[number:]
        if not expected:
            return self._ask(search.cell, records.SEARCH, number, search.study.ask())
        origin, config = expected[0]
        search.study.replay(config)
        return self._ask(search.cell, records.SEARCH, number, config, origin)

    def _may_begin(self, search: CellSearch) -> bool:
        return all(map(self._searched, self._smaller(search)))

    def _expected(self, search: CellSearch) -> list[tuple[str, dict[str, Any]]]:
        if not self.spec.transfer or len(search.members) >= transfer.MOST:
            return []
        space = self._spaces[search.cell.family]
        return transfer.expectations(search.cell, self._smaller(search), space, self.history.direction)

    def _smaller(self, search: CellSearch) -> list[CellSearch]:
        """Those whose results it begins with."""
        if not self.spec.transfer:
            return []
        return [one for one in self._cells.values() if one.cell.is_smaller(than=search.cell)]

    def _promotion(self) -> Trial | None:
        """A paused trial that is by now among the best of its rung; those of a search that is over are pruned."""
        for search in self._cells.values():
            if not search.paused:
                continue
            idle = self._asked_all(search) and len(search.members) == search.ended + len(search.paused)
            for trial, rung in search.promotable(least=int(idle)):
                told = self.history.trials[trial]
                if self._affords(0, {told.trial.cell: told.max_epochs - rung}):
                    self._write(f"promoted/{trial}/{rung}", "promoted", trial, {"epoch": rung})
                    del search.paused[trial]
                    return told.trial
            if idle:
                for told in search.paused.values():
                    self._write_all([self._ending(told, records.PRUNED)])
                    self._note_end(told)
                search.paused.clear()
        return None

    def _finalist(self) -> Trial | None:
        for search in self._cells.values():
            best = search.best() if self._searched(search) else None
            if best is not None and self._finals(search, best) < self.spec.finalists_of(search.cell):
                return self._ask(search.cell, records.FINAL, len(search.finalists), best.trial.config)
        return None

    def _ask(
        self, cell: Cell, kind: str, number: int, config: Mapping[str, Any], origin: str = records.SAMPLED
    ) -> Trial:
        seed = seed_of(self.spec.seed, cell.id, kind, number)
        trial = Trial(trial_id(cell.id, kind, number), cell.id, kind, number, seed, dict(config), origin)
        self._write(f"asked/{trial.id}", "asked", None, asdict(trial))
        self._adopt(self.history.trials[trial.id])
        return trial

    def _asked_all(self, search: CellSearch) -> bool:
        return len(search.members) >= self._trials[search.cell.id] or self.history.exhausted is not None

    def _searched(self, search: CellSearch) -> bool:
        return self._asked_all(search) and search.ended == len(search.members)

    def _finals(self, search: CellSearch, best: TrialHistory) -> int:
        return sum(not is_former(told, best, self.spec.max_epochs) for told in search.finalists)

    def _is_done(self, search: CellSearch) -> bool:
        if not self._searched(search):
            return False
        best = search.best()
        return best is None or self._finals(search, best) >= self.spec.finalists_of(search.cell)

    def _affords(self, trials: int, epochs: dict[str, float]) -> bool:
        """Whether the budget allows more search, with the finalists set aside; says so once it is exhausted."""
        if not self._limits:
            return True
        if self.history.exhausted:
            return False
        longest = dict(epochs)
        for name in [*self._open, *self._waiting]:
            told = self.history.trials[name]
            cell, left = told.trial.cell, told.max_epochs - len(told.reports)
            epochs[cell], longest[cell] = epochs.get(cell, 0) + left, max(longest.get(cell, 0), left)
        for search in self._cells.values():
            finals, cell = self.spec.finalists_of(search.cell), search.cell.id
            if self._searched(search):
                best = search.best()
                finals = max(finals - self._finals(search, best), 0) if best else 0
            epochs[cell] = epochs.get(cell, 0) + finals * self.spec.max_epochs
            longest[cell] = longest.get(cell, 0) + min(finals, 1) * self.spec.max_epochs
            trials += finals
        limit = budget.exceeded(self._limits, self.history, time.time(), trials, epochs, longest)
        if limit and not self._open and not self._waiting:
            # Before that, one that runs may yet cost less than was set aside for it.
            about = {"limit": limit, "spent": budget.spent(self.history, time.time())}
            self._write(f"exhausted/{len(self.history.extensions)}", "exhausted", None, about)
        return limit is None

    # ---- what became of it ------------------------------------------------------------------------------------

    def _ending(self, told: TrialHistory, status: str, **content: Any) -> _Written:
        # A trial that ended before, and was retried, ends under another key.
        again = f"/{told.retries}" if told.retries else ""
        return f"ended/{told.trial.id}{again}", "ended", told.trial.id, {"status": status, **content}

    def _note_end(self, told: TrialHistory) -> None:
        self._tell(told)
        self._failures.ended(told)

    def _tell(self, told: TrialHistory) -> None:
        if told.trial.kind == records.FINAL:
            return
        search = self._cells[told.trial.cell]
        search.ended += 1
        search.study.tell(told.trial.number, told.status, told.value)

    # ---- a start after a kill ---------------------------------------------------------------------------------

    def _adopt(self, told: TrialHistory) -> None:
        search = self._cells[told.trial.cell]
        (search.finalists if told.trial.kind == records.FINAL else search.members).append(told)

    def _replay(self) -> None:
        """Studies and rungs as they were: the trials in the order in which they were asked."""
        self._retry_failures()
        for told in self.history.trials.values():
            self._adopt(told)
            search = self._cells[told.trial.cell]
            if told.trial.kind == records.SEARCH:
                search.study.replay(told.trial.config)
                for rung in search.rungs(told):
                    if rung <= len(told.reports):
                        value = best_so_far(told.reports, rung, self.history.metric, self.history.direction)
                        search.note(told, rung, value)
            if told.status in records.ENDED:
                self._tell(told)
            elif told.paused_at is not None:
                search.paused[told.trial.id] = told
            else:
                self._waiting.append(told.trial.id)

    def _retry_failures(self) -> None:
        """After a stop for a bug: what failed by an error, or lost all its workers, runs again, as things are now.

        Epochs that were reported before the error stay as they were. Sessions that were interrupted since, or killed,
        decide nothing.
        """
        states = [session.get("state", records.INTERRUPTED) for session in self.history.sessions[:-1]]
        if [state for state in states if state != records.INTERRUPTED][-1:] != [records.STOPPED]:
            return
        causes = (records.ERROR, records.LOST_WORKER)
        broken = [told for told in self.history.trials.values() if told.cause in causes]
        self._write_all(
            [
                (f"retried/{told.trial.id}/{told.retries + 1}", "retried", told.trial.id, {"cause": told.cause})
                for told in broken
            ]
        )

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
