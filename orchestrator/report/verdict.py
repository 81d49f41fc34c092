"""Which family is best? One of three answers for each pair of families, and for all of them. Numbers only.

Each family stands for its best cell, chosen by *validation* (choosing by test would favour luck), with the test
metric of that cell's finalists. The noise of its mean is that of fresh seeds, and that of the search, which might
have found another configuration (`luck`). Two families are compared by Welch's unequal-variances interval of the
difference of means (B. L. Welch, Biometrika 34, 1947), both parts of the noise added up by F. E. Satterthwaite's rule
(Biometrics Bulletin 2, 1946) and widened by Bonferroni's correction for all pairs, so that all intervals hold at once.
Finalists are not paired: a trial's seed comes from its cell too (`Engine`), so equal numbers share nothing.

A family that was searched by more trials than its rival gets no credit for that: its interval is widened, downwards,
by how much its best of all trials is expected to be above its best of as many as the rival had (`anytime`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from orchestrator.report import anytime, luck
from orchestrator.report.anytime import Search
from orchestrator.report.frames import Frames
from orchestrator.report.luck import Luck

BETTER, EQUAL, UNSETTLED = "better", "no difference", "cannot tell"

# Why nothing can be told: too few seeds to know their spread; seeds that agree to the last digit, which know none
# either; too few search trials; the luck of the searches; more seeds than anyone would run.
ONE_SEED, SAME_SEEDS, SHORT_SEARCH, LUCK, TOO_MANY = "one seed", "same seeds", "short search", "luck", "too many"

POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Standing:
    """One family's best cell. `values`, `trials`, `seeds` run in parallel, one entry a finalist.

    `search` is the cell's search; `luck` is None where it has too few trials to tell.
    """

    family: str
    cell: str
    size: str
    data_fraction: float
    values: tuple[float, ...]
    trials: tuple[str, ...]
    seeds: tuple[int, ...]
    search: Search
    luck: Luck | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with a single seed."""
        if len(self.values) < 2:
            return None
        return float(np.std(self.values, ddof=1)) if self.differ else 0.0

    @property
    def differ(self) -> bool:
        """Whether its seeds gave more than one number; by rounding, the deviation of equal ones need not be 0."""
        return max(self.values) > min(self.values)


@dataclass(frozen=True)
class Guess:
    """An estimate of luck on too little: `counted` trials of a family tell it; with `trials` a cell enough would."""

    counted: float
    trials: int


@dataclass(frozen=True)
class Comparison:
    """`first` is ahead of `second` by `difference` (never negative); the interval is None where it can't be had.

    `answer`: BETTER, EQUAL (the whole interval lies within ±δ), or UNSETTLED; then `more_seeds` a family would
    probably settle it, or it is None and `obstacle` says why. `unequal`: by how much the interval was widened below
    and above, since the families were searched by unequal numbers of trials. `guess`: where luck is the obstacle and is
    itself hardly known.
    """

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None
    answer: str = UNSETTLED
    more_seeds: int | None = None
    obstacle: str = ""
    unequal: tuple[float, float] = (0.0, 0.0)
    guess: Guess | None = None


@dataclass(frozen=True)
class Verdict:
    """`standings` best first. `delta`: a difference that does not matter; None where no spread is known."""

    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    untested: tuple[str, ...]
    confidence: float
    delta: float | None
    metric: str
    direction: str

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Expected best validation value of each family's cell against spend, with the columns of `anytime.curve`."""
        curves = [anytime.curve(one.search, one.family, one.cell, self.direction) for one in self.standings]
        return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=list(anytime.COLUMNS))

    @property
    def winner(self) -> str | None:
        """The family that is better than every other one."""
        return self.standings[0].family if self.answer == BETTER else None

    @property
    def answer(self) -> str:
        """Of the leader against all others: BETTER than each, or also EQUAL to some, or UNSETTLED against any."""
        answers = {pair.answer for pair in self.leading()}
        return UNSETTLED if not answers or UNSETTLED in answers else EQUAL if EQUAL in answers else BETTER

    def leading(self) -> tuple[Comparison, ...]:
        """The leader against each of the others."""
        return self.against(self.standings[0].family) if self.standings else ()

    def against(self, family: str) -> tuple[Comparison, ...]:
        return tuple(pair for pair in self.comparisons if pair.first == family)


def judge(frames: Frames, confidence: float, delta: float | None = None) -> Verdict:
    """Compare the families of a report on the test metric; `confidence` and `delta` as for `decide`."""
    finals, column = tested(frames), f"test_{frames.metric}"
    standings = [standing for family in frames.families if (standing := _standing(frames, finals, family, column))]
    known = {standing.family for standing in standings}
    untested = tuple(family for family in frames.families if family not in known)
    return replace(decide(standings, frames.metric, frames.direction, confidence, delta), untested=untested)


def decide(
    standings: Sequence[Standing], metric: str, direction: str, confidence: float, delta: float | None = None
) -> Verdict:
    """Compare every pair of families.

    Args:
        metric: its plain name, such as "accuracy"; `direction`: "max" or "min".
        confidence: that all intervals hold at once, such as 0.95.
        delta: a difference that does not matter, in the unit of the metric; by default half of the standard deviation
            that seeds make (pooled over families).
    """
    ordered = sorted(standings, key=lambda standing: standing.mean, reverse=direction == "max")
    delta = delta if delta is not None else default_delta(ordered)
    pairs = list(combinations(ordered, 2))
    level = 1 - (1 - confidence) / max(len(pairs), 1)
    comparisons = tuple(compare(ahead, behind, level, delta, direction) for ahead, behind in pairs)
    return Verdict(tuple(ordered), comparisons, (), confidence, delta, metric, direction)


def default_delta(standings: Sequence[Standing]) -> float | None:
    """Half of the standard deviation over seeds, pooled over families; None where no family has two seeds."""
    known = [(len(one.values) - 1, one.spread**2) for one in standings if one.spread is not None]
    freedom = sum(weight for weight, _ in known)
    pooled = sum(weight * variance for weight, variance in known) / freedom if freedom else 0.0
    return float(np.sqrt(pooled)) / 2 if pooled > 0 else None


def compare(ahead: Standing, behind: Standing, confidence: float, delta: float | None, direction: str) -> Comparison:
    """The interval of how far `ahead` leads, in the unit of the metric, and what follows from it."""
    difference = abs(ahead.mean - behind.mean)
    plain = Comparison(ahead.family, behind.family, difference, None)
    if min(len(ahead.values), len(behind.values)) < 2:
        return replace(plain, obstacle=ONE_SEED)
    # Seeds that give the very same number (a coarse metric, few test rows) say nothing about the spread.
    if not (ahead.differ and behind.differ):
        return replace(plain, obstacle=SAME_SEEDS)
    if ahead.luck is None or behind.luck is None:
        return replace(plain, obstacle=SHORT_SEARCH)
    fewest = min(ahead.search.count, behind.search.count)
    below, above = (anytime.gain(one.search, fewest, direction) for one in (ahead, behind))
    error, freedom = noise(ahead, behind)
    reach = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    low, high = difference - reach - below, difference + reach + above
    found = replace(plain, interval=(low, high), unequal=(below, above))
    if delta is not None and -delta < low and high < delta:
        return replace(found, answer=EQUAL)
    if low > 0:
        return replace(found, answer=BETTER)
    more, obstacle = _more_seeds(ahead, behind, confidence, difference - below, (delta or 0) - difference - above)
    guess = _guess(ahead, behind) if obstacle == LUCK and freedom < luck.ENOUGH else None
    return replace(found, more_seeds=more, obstacle=obstacle, guess=guess)


def _guess(ahead: Standing, behind: Standing) -> Guess | None:
    """What would make the luck of both known, where it is not."""
    hardly = [
        (one.luck, one.luck.trials_to_know(one.search.count))
        for one in (ahead, behind)
        if one.luck is not None and one.luck.freedom < luck.ENOUGH
    ]
    if not hardly:
        return None
    return Guess(min(told.counted for told, _ in hardly), max(trials for _, trials in hardly))


def noise(a: Standing, b: Standing, more: int = 0, with_luck: bool = True) -> tuple[float, float]:
    """Standard error of the difference of two families' means, and its degrees of freedom (Satterthwaite).

    `more`: seeds that each family would have beside its own, with the same spread.
    """
    parts = []
    for one in (a, b):
        seeds = len(one.values) + more
        parts.append((float(np.var(one.values, ddof=1)) / seeds, seeds - 1.0))
        if with_luck and one.luck is not None and one.luck.variance > 0:
            parts.append((one.luck.variance, one.luck.freedom))
    total = sum(variance for variance, _ in parts)
    return float(np.sqrt(total)), total**2 / sum(variance**2 / freedom for variance, freedom in parts)


def _more_seeds(
    ahead: Standing, behind: Standing, confidence: float, lead: float, room: float
) -> tuple[int | None, str]:
    """How many more seeds a family would settle it in four of five cases, should the difference be what was seen.

    `lead`: what is to be told from nothing; `room`: what lies between the difference and δ. Either way settles it.
    """

    def settled(more: int, with_luck: bool = True) -> bool:
        error, freedom = noise(ahead, behind, more, with_luck)
        reach = stdtrit(freedom, 0.5 + confidence / 2)
        # That there is no difference can fail on both sides.
        either = (lead, POWER), (room, 0.5 + POWER / 2)
        return any(share >= (reach + stdtrit(freedom, power)) * error for share, power in either)

    if settled(MOST_SEEDS):
        return _first(settled), ""
    return None, LUCK if settled(MOST_SEEDS, with_luck=False) else TOO_MANY


def _first(settled: Callable[[int], bool]) -> int:
    """The smallest number from 1 to MOST_SEEDS that settles it, by bisection."""
    low, high = 0, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high


def tested(frames: Frames) -> pd.DataFrame:
    """The finalists that have a value of the metric on both splits, in order of their number."""
    column = f"test_{frames.metric}"
    if column not in frames.finals:
        return frames.finals.iloc[:0]
    finals = frames.finals
    return finals[finals[column].notna() & finals["value"].notna()].sort_values("number")


def best_cell(finals: pd.DataFrame, direction: str) -> str:
    """Of the cells of these finalists, that whose mean validation value is best: choosing by test would favour luck."""
    by_validation = finals.groupby("cell", sort=True)["value"].mean()
    return str(by_validation.idxmax() if direction == "max" else by_validation.idxmin())


def _standing(frames: Frames, finals: pd.DataFrame, family: str, column: str) -> Standing | None:
    finals = finals[finals["family"] == family]
    if finals.empty:
        return None
    best = best_cell(finals, frames.direction)
    rows: pd.DataFrame = finals[finals["cell"] == best]
    first = rows.iloc[0]
    search = anytime.search_of(frames, best)
    return Standing(
        family,
        best,
        str(first["size"]),
        float(first["data_fraction"]),
        tuple(rows[column].astype(float)),
        tuple(rows["trial"]),
        tuple(int(seed) for seed in rows["seed"]),
        search,
        luck.of_family(frames, family).get(best),
    )
