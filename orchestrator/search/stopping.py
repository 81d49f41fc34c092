"""Early stopping as plain rules over numbers: no framework, no state but what the caller keeps.

A rule names the rungs (epochs at which trials are compared) and says, for a value and the values that others had
at the same rung, whether the trial goes on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

# Multiples of it fill the unit interval evenly, however many are taken (Weyl's sequence).
GOLDEN_RATIO = 0.6180339887498949


class Rule(Protocol):
    # Whether a trial lets go of its worker at a rung until it is promoted; else it is stopped, or goes on at once.
    pauses: ClassVar[bool]

    @property
    def share(self) -> float:
        """Of the trials that reach a rung, how many go on, about."""
        ...

    def bracket(self, number: int, max_epochs: int) -> int:
        """Which competition trial `number` is in, from 0: only trials of one bracket are compared."""
        ...

    def rungs(self, max_epochs: int, bracket: int = 0) -> tuple[int, ...]:
        """The epochs below `max_epochs` at which the trials of a bracket are compared, rising."""
        ...

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        """Whether a trial with `value` goes on, given the rising values of others at its rung; of a rule that stops."""
        ...

    def promotes(self, values: Mapping[str, float], direction: str, least: int) -> list[str]:
        """The trials that may go on from a rung, best first, given what all had there; of rules that pause.

        At least `least` of them: once no other will come, the best one goes on all the same.
        """
        ...


class _Stopping:
    """A rule that decides when a trial arrives, and never again."""

    pauses: ClassVar[bool] = False

    def promotes(self, values: Mapping[str, float], direction: str, least: int) -> list[str]:
        return []


@dataclass(frozen=True)
class Never(_Stopping):
    """Every trial runs to its end."""

    share: ClassVar[float] = 1.0

    def bracket(self, number: int, max_epochs: int) -> int:
        return 0

    def rungs(self, max_epochs: int, bracket: int = 0) -> tuple[int, ...]:
        return ()

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        return True


@dataclass(frozen=True)
class Halving(_Stopping):
    """Successive halving, asynchronous: at each rung the best 1/reduction_factor so far go on.

    Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934), the variant that
    stops (their section 3.3 promotes). The first `reduction_factor` arrivals at a rung are judged as they come:
    the first always passes.
    """

    min_epochs: int
    reduction_factor: float

    @property
    def share(self) -> float:
        return 1 / self.reduction_factor

    def bracket(self, number: int, max_epochs: int) -> int:
        return 0

    def rungs(self, max_epochs: int, bracket: int = 0) -> tuple[int, ...]:
        epochs, epoch = [], float(self.min_epochs)
        while round(epoch) < max_epochs:
            epochs.append(round(epoch))
            epoch *= self.reduction_factor
        return tuple(sorted(set(epochs)))

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        above = len(others) - bisect_right(others, value) if direction == "max" else bisect_left(others, value)
        quota = max(1, int((len(others) + 1) / self.reduction_factor))
        return above < quota


@dataclass(frozen=True)
class Promotion(Halving):
    """Successive halving, asynchronous, that promotes: a trial waits at its rung until it is among its best
    1/reduction_factor (Li et al. 2020, Algorithm 2), and goes on from its checkpoint.

    Compared with stopping, nobody goes on just for having come first; every trial first gets the shortest training.
    """

    pauses: ClassVar[bool] = True

    def promotes(self, values: Mapping[str, float], direction: str, least: int) -> list[str]:
        sign = -1.0 if direction == "max" else 1.0
        # Of equal ones by name: a replay brings them in another order than they came in.
        ranked = sorted(values, key=lambda trial: (sign * values[trial], trial))
        return ranked[: max(least, int(len(values) / self.reduction_factor))]


@dataclass(frozen=True)
class Median(_Stopping):
    """A trial stops when it is worse than the median of the others at the same epoch (Golovin et al. 2017)."""

    min_epochs: int
    reduction_factor: float

    @property
    def share(self) -> float:
        return 0.5

    def bracket(self, number: int, max_epochs: int) -> int:
        return 0

    def rungs(self, max_epochs: int, bracket: int = 0) -> tuple[int, ...]:
        return tuple(range(self.min_epochs, max_epochs))

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        if len(others) < 3:
            return True
        middle = others[-1 - len(others) // 2] if direction == "max" else others[len(others) // 2]
        return value >= middle if direction == "max" else value <= middle


@dataclass(frozen=True)
class Hyperband(_Stopping):
    """Several halvings side by side, of which each begins to compare one rung later (Li et al. 2018, arXiv 1603.06560).

    A hedge against learning curves that cross: the last bracket stops nobody. Trials are dealt out so that the
    brackets stand in the proportions of the paper's Algorithm 1 at any moment, not only at the end.
    """

    min_epochs: int
    reduction_factor: float

    @property
    def share(self) -> float:
        return 1 / self.reduction_factor

    def bracket(self, number: int, max_epochs: int) -> int:
        count = len(Halving(self.min_epochs, self.reduction_factor).rungs(max_epochs)) + 1
        # Bracket b compares at count - 1 - b rungs; the more it stops, the more trials it is given.
        shares = [count / (stops + 1) * self.reduction_factor**stops for stops in reversed(range(count))]
        place = (number * GOLDEN_RATIO) % 1.0 * sum(shares)
        for bracket, share in enumerate(shares):
            place -= share
            if place < 0:
                return bracket
        return count - 1

    def rungs(self, max_epochs: int, bracket: int = 0) -> tuple[int, ...]:
        return Halving(self.min_epochs, self.reduction_factor).rungs(max_epochs)[bracket:]

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        return Halving(self.min_epochs, self.reduction_factor).keeps(value, others, direction)


RULES: Mapping[str, Callable[[int, float], Rule]] = {
    "none": lambda min_epochs, reduction_factor: Never(),
    "halving": Halving,
    "promotion": Promotion,
    "median": Median,
    "hyperband": Hyperband,
}


def make(name: str, min_epochs: int, reduction_factor: float) -> Rule:
    return RULES[name](min_epochs, reduction_factor)


def expected_epochs(rule: Rule, max_epochs: int) -> float:
    """Of a trial: it passes each rung of its bracket with the rule's share. The mean over a hundred trials."""
    brackets = Counter(rule.bracket(number, max_epochs) for number in range(100))
    return sum(count / 100 * _expected_in(rule, bracket, max_epochs) for bracket, count in brackets.items())


def _expected_in(rule: Rule, bracket: int, max_epochs: int) -> float:
    share, expected, before = 1.0, 0.0, 0
    for rung in (*rule.rungs(max_epochs, bracket), max_epochs):
        expected += share * (rung - before)
        before = rung
        share *= rule.share
    return expected
