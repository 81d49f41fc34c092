"""Failures in a row: when they say that something is broken, and no longer that a configuration is bad.

Counted from the start of a session: what failed before it may have been mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator import records
from orchestrator.history import TrialHistory
from orchestrator.records import Cell

# As many trials that fail one after the other in the same way end the sweep: those of a family at one place in the
# code, or of all families those whose workers die.
SAME_ERRORS = 3
_FRAME = re.compile(r'^  File ".+", line \d+, in .+$', re.MULTILINE)


@dataclass
class _Streak:
    """Trials that failed one after the other at one place; `epochs`: the fewest that one of them had by then."""

    place: str
    count: int
    epochs: int
    reason: str


class Failures:
    """`fault`: why the sweep has to stop, if so: what is said of the last of several trials that failed in one way."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.fault: str | None = None
        self._families = {cell.id: cell.family for cell in cells}
        # By family; that of workers which die, whatever the family, under `LOST_WORKER`.
        self._streaks: dict[str, _Streak] = {}

    @property
    def fault_in_the_end(self) -> str | None:
        """The same, once nothing else is left to run.

        Trials that failed before, and run again, stop the sweep only then: a few configurations that cannot work must
        not stand in the way of all others, and a bug must not let the sweep call itself finished.
        """
        again = (streak.reason for streak in self._streaks.values() if streak.count >= SAME_ERRORS)
        return self.fault or next(again, None)

    def workers_live(self) -> None:
        """An epoch has arrived, or an end that is not a worker's death."""
        self._streaks.pop(records.LOST_WORKER, None)

    def ended(self, told: TrialHistory) -> None:
        if told.cause == records.LOST_WORKER:
            self._add(records.LOST_WORKER, "", told, f"workers die, whatever they take up: {told.reason}")
            return
        self.workers_live()
        if told.cause == records.ERROR:
            # Not the message, which may name the trial's own numbers; without a traceback there is nothing else.
            place = "\n".join(_FRAME.findall(told.reason)) or told.reason
            self._add(self._families[told.trial.cell], place, told, told.reason.strip())
        else:
            self.let_go(told)

    def let_go(self, told: TrialHistory) -> None:
        """A trial let go of its worker without an error: bad luck, then, and no bug, which would have ended it as well.

        One that early stopping took away before it came to where the others failed says nothing of that.
        """
        family = self._families[told.trial.cell]
        streak = self._streaks.get(family)
        taken_away = told.status == records.PRUNED or told.status not in records.ENDED
        if streak and not (taken_away and len(told.reports) <= streak.epochs):
            del self._streaks[family]

    def _add(self, whose: str, place: str, told: TrialHistory, reason: str) -> None:
        streak, before = _Streak(place, 1, len(told.reports), reason), self._streaks.get(whose)
        if before and before.place == place:
            streak.count, streak.epochs = before.count + 1, min(streak.epochs, before.epochs)
        self._streaks[whose] = streak
        if streak.count >= SAME_ERRORS and not told.second_chances:
            self.fault = self.fault or reason
