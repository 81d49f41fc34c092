"""Early stopping as plain rules over numbers: no framework, no state but what the caller keeps.

A rule names the rungs (epochs at which trials are compared) and says, for a value and the values that others had
at the same rung, whether the trial goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Rule(Protocol):
    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        """The epochs below `max_epochs` at which trials are compared, rising."""
        ...

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        """Whether a trial with `value` goes on, given what others had at this rung."""
        ...


@dataclass(frozen=True)
class Never:
    """Every trial runs to its end."""

    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        return ()

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        return True


@dataclass(frozen=True)
class Halving:
    """Successive halving, asynchronous: at each rung the best 1/reduction_factor so far go on.

    Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (arXiv 1810.05934), the variant that
    stops (their section 3.3 promotes). The first `reduction_factor` arrivals at a rung are judged as they come:
    the first always passes.
    """

    min_epochs: int
    reduction_factor: float

    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        epochs, epoch = [], float(self.min_epochs)
        while round(epoch) < max_epochs:
            epochs.append(round(epoch))
            epoch *= self.reduction_factor
        return tuple(sorted(set(epochs)))

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        above = sum(other > value if direction == "max" else other < value for other in others)
        quota = max(1, int((len(others) + 1) / self.reduction_factor))
        return above < quota


@dataclass(frozen=True)
class Median:
    """A trial stops when it is worse than the median of the others at the same epoch (Golovin et al. 2017)."""

    min_epochs: int
    reduction_factor: float

    def rungs(self, max_epochs: int) -> tuple[int, ...]:
        return tuple(range(self.min_epochs, max_epochs))

    def keeps(self, value: float, others: Sequence[float], direction: str) -> bool:
        if len(others) < 3:
            return True
        middle = sorted(others, reverse=direction == "max")[len(others) // 2]
        return value >= middle if direction == "max" else value <= middle


RULES: Mapping[str, type[Halving] | type[Median] | type[Never]] = {
    "none": Never,
    "halving": Halving,
    "median": Median,
}


def make(name: str, min_epochs: int, reduction_factor: float) -> Rule:
    rule = RULES[name]
    return rule() if rule is Never else rule(min_epochs, reduction_factor)
