"""What a study knows, in a form that costs little to read: where each trial lies, how it did, who is ahead."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

# Above every epoch: the last rung is the end of a trial that ran its full length.
END = 2**62


class Standings:
    """Trials by number. Values are turned so that more is better, whatever the study's direction.

    `points` holds each trial's place in the unit cube, one coordinate a parameter of the space, NaN where the
    parameter's condition did not hold.
    """

    def __init__(self, direction: str) -> None:
        self._sign = 1.0 if direction == "max" else -1.0
        self._at: dict[int, dict[int, float]] = {}
        self.points: list[npt.NDArray[np.float64]] = []
        self.running: dict[int, None] = {}
        # With the last rung that each had reached, 0 for none.
        self.diverged: dict[int, int] = {}

    def begin(self, point: npt.NDArray[np.float64]) -> None:
        self.running[len(self.points)] = None
        self.points.append(point)

    def reach(self, number: int, epoch: int, value: float) -> None:
        """Trial `number` had `value` at a rung (`END`: in the end). A value that is not finite counts as diverged."""
        self._at.setdefault(epoch, {})[number] = self._sign * value if math.isfinite(value) else -math.inf

    def end(self, number: int, diverged: bool, forgotten: bool) -> None:
        del self.running[number]
        if diverged:
            self.diverged[number] = self.last_rung(number)
        if diverged or forgotten:
            for reached in self._at.values():
                reached.pop(number, None)

    def heard(self) -> set[int]:
        """Trials that have a value or diverged."""
        return set(self.diverged).union(*self._at.values())

    def last_rung(self, number: int) -> int:
        """The last rung (`END`: the end) at which the trial has a value, 0 for none."""
        return max((epoch for epoch, reached in self._at.items() if number in reached), default=0)

    def ranking(self, reduction_factor: float = 3.0, among: Collection[int] | None = None) -> list[int]:
        """Trials that have a value, best first: the order that halving gives with all that is known now.

        With `among`, as if these trials were all there are.

        Of those who reached a rung, the best 1/reduction_factor stand above the rest and are compared again at the
        next; a value at a later rung does not help a trial that was let through because it came early, when the
        others were bad. Those that the next rung has not seen (running, or stopped) stand below those that it has.
        Ties go to the older trial.
        """
        at = self._at
        if among is not None:
            few = {epoch: {one: values[one] for one in among if one in values} for epoch, values in at.items()}
            at = {epoch: values for epoch, values in few.items() if values}
        ended = at.get(END, {})
        contenders = sorted(set().union(*at.values()))
        ranked: list[int] = []
        for epoch in sorted(at):
            # One that ended of its own accord before this rung keeps the value it ended with.
            values = {**ended, **at[epoch]}
            ranked = [number for number in contenders if number not in values] + ranked
            contenders = [
                number for _, number in sorted((-values[number], number) for number in contenders if number in values)
            ]
            pass_on = math.ceil(len(contenders) / reduction_factor)
            if epoch < max(at):
                ranked, contenders = contenders[pass_on:] + ranked, contenders[:pass_on]
        return contenders + ranked
