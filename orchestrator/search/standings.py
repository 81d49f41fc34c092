"""What a study knows, in a form that costs little to read: where each trial lies, how it did, who is ahead."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

# Above every epoch: the last rung is the end of a trial that ran its full length.
END = 2**62
# Of those who reached a rung, one in so many is compared again at the next.
REDUCTION_FACTOR = 3.0


class Standings:
    """Trials by number. Values are turned so that more is better, whatever the study's direction.

    `points` holds each trial's place in the unit cube, one coordinate a parameter of the space, NaN where the
    parameter's condition did not hold.
    """

    def __init__(self, direction: str) -> None:
        self._sign = 1.0 if direction == "max" else -1.0
        # For each rung the value of every trial, NaN where there is none: arrays, that are longer than needed.
        self._at: dict[int, npt.NDArray[np.float64]] = {}
        self._room = 256
        self.points: list[npt.NDArray[np.float64]] = []
        self.running: dict[int, None] = {}
        # With the last rung that each had reached, 0 for none.
        self.diverged: dict[int, int] = {}

    def begin(self, point: npt.NDArray[np.float64]) -> None:
        self.running[len(self.points)] = None
        self.points.append(point)
        if len(self.points) > self._room:
            nothing = np.full(self._room, np.nan)
            self._at = {epoch: np.concatenate([values, nothing]) for epoch, values in self._at.items()}
            self._room *= 2

    def reach(self, number: int, epoch: int, value: float) -> None:
        """Trial `number` had `value` at a rung (`END`: in the end). A value that is not finite counts as diverged."""
        if epoch not in self._at:
            self._at[epoch] = np.full(self._room, np.nan)
        self._at[epoch][number] = self._sign * value if math.isfinite(value) else -math.inf

    def end(self, number: int, diverged: bool, forgotten: bool) -> None:
        del self.running[number]
        if diverged:
            self.diverged[number] = self.last_rung(number)
        if diverged or forgotten:
            for values in self._at.values():
                values[number] = np.nan

    def heard(self) -> set[int]:
        """Trials that have a value or diverged."""
        return {*self.diverged, *np.flatnonzero(self._have(self._at)).tolist()}

    def last_rung(self, number: int) -> int:
        """The last rung (`END`: the end) at which the trial has a value, 0 for none."""
        return max((epoch for epoch, values in self._at.items() if not math.isnan(values[number])), default=0)

    def _have(self, at: Mapping[int, npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
        """Who has a value at any of the rungs."""
        have = np.zeros(len(self.points), dtype=bool)
        for values in at.values():
            have |= ~np.isnan(values[: len(have)])
        return have

    def ranking(self, among: Collection[int] | None = None) -> list[int]:
        """Trials that have a value, best first: the order that halving gives with all that is known now.

        With `among`, as if these trials were all there are.

        Of those who reached a rung, the best 1/REDUCTION_FACTOR stand above the rest and are compared again at the
        next; a value at a later rung does not help a trial that was let through because it came early, when the
        others were bad. Those that the next rung has not seen (running, or stopped) stand below those that it has.
        Ties go to the older trial.
        """
        at = {epoch: values[: len(self.points)] for epoch, values in self._at.items()}
        if among is not None:
            others = np.ones(len(self.points), dtype=bool)
            others[list(among)] = False
            at = {epoch: np.where(others, np.nan, values) for epoch, values in at.items()}
        at = {epoch: at[epoch] for epoch in sorted(at) if not np.isnan(at[epoch]).all()}
        contenders = np.flatnonzero(self._have(at))
        last = max(at, default=0)
        below: list[npt.NDArray[np.intp]] = []
        for epoch, column in at.items():
            values = column[contenders]
            if END in at:
                # One that ended of its own accord before this rung keeps the value it ended with.
                values = np.where(np.isnan(values), at[END][contenders], values)
            absent = np.isnan(values)
            below.append(contenders[absent])
            contenders, values = contenders[~absent], values[~absent]
            contenders = contenders[np.lexsort((contenders, -values))]
            if epoch < last:
                pass_on = math.ceil(len(contenders) / REDUCTION_FACTOR)
                below.append(contenders[pass_on:])
                contenders = contenders[:pass_on]
        ranked: list[int] = np.concatenate([contenders, *reversed(below)]).tolist()
        return ranked
