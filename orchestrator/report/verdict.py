"""Which family is best, and do the finalists' seeds separate them? Numbers only.

Each family stands for its best cell, chosen by *validation* (choosing by test would favour luck), with the test
metric of that cell's finalists. Two families are compared by Welch's unequal-variances interval of the difference
of means (B. L. Welch, Biometrika 34, 1947), widened by Bonferroni's correction for all pairs of families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.report.frames import Frames


@dataclass(frozen=True)
class Standing:
    """One family's best cell. `values`, `trials`, `seeds` run in parallel, one entry a finalist."""

    family: str
    cell: str
    size: str
    data_fraction: float
    values: tuple[float, ...]
    trials: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; None with a single seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Comparison:
    """`first` is ahead of `second` by `difference` (never negative); the interval is None where it can't be had."""

    first: str
    second: str
    difference: float
    interval: tuple[float, float] | None

    @property
    def separated(self) -> bool:
        return self.interval is not None and self.interval[0] > 0


@dataclass(frozen=True)
class Verdict:
    """`standings` best first. `winner` only where the leader is separated from every other family."""

    standings: tuple[Standing, ...]
    comparisons: tuple[Comparison, ...]
    untested: tuple[str, ...]
    confidence: float

    @property
    def winner(self) -> str | None:
        if len(self.standings) < 2:
            return None
        leader = self.standings[0].family
        return leader if all(pair.separated for pair in self.against(leader)) else None

    def against(self, family: str) -> tuple[Comparison, ...]:
        return tuple(pair for pair in self.comparisons if pair.first == family)


def judge(frames: Frames, confidence: float) -> Verdict:
    """Compare the families of a report on the test metric, at a family-wise `confidence` (such as 0.95)."""
    column = f"test_{frames.metric}"
    standings = [standing for family in frames.families if (standing := _standing(frames, family, column))]
    standings.sort(key=lambda standing: standing.mean, reverse=frames.direction == "max")
    pairs = list(combinations(standings, 2))
    comparisons = [compare(ahead, behind, 1 - (1 - confidence) / len(pairs)) for ahead, behind in pairs]
    tested = {standing.family for standing in standings}
    untested = tuple(family for family in frames.families if family not in tested)
    return Verdict(tuple(standings), tuple(comparisons), untested, confidence)


def compare(ahead: Standing, behind: Standing, confidence: float) -> Comparison:
    """Welch's interval of how far `ahead` leads, in the unit of the metric, sign turned so that a lead is positive."""
    sign = np.sign(ahead.mean - behind.mean) or 1.0
    difference = float(abs(ahead.mean - behind.mean))
    interval = welch(sign * np.array(ahead.values), sign * np.array(behind.values), confidence)
    return Comparison(ahead.family, behind.family, difference, interval)


def welch(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, confidence: float
) -> tuple[float, float] | None:
    """Interval of mean(a) − mean(b). None where a spread is unknown: one seed, or seeds that all agree to the bit."""
    if min(len(a), len(b)) < 2:
        return None
    squared = [float(np.var(values, ddof=1)) / len(values) for values in (a, b)]
    # Seeds that give the very same number (a coarse metric, few test rows) say nothing about the spread.
    if min(squared) <= 0:
        return None
    freedom = sum(squared) ** 2 / sum(s**2 / (len(v) - 1) for s, v in zip(squared, (a, b), strict=True))
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * float(np.sqrt(sum(squared)))
    difference = float(np.mean(a) - np.mean(b))
    return difference - reach, difference + reach


def _standing(frames: Frames, family: str, column: str) -> Standing | None:
    finals = frames.finals
    if column not in finals:
        return None
    finals = finals[(finals["family"] == family) & finals[column].notna() & finals["value"].notna()]
    if finals.empty:
        return None
    by_validation = finals.groupby("cell", sort=True)["value"].mean()
    best = str(by_validation.idxmax() if frames.direction == "max" else by_validation.idxmin())
    rows: pd.DataFrame = finals[finals["cell"] == best].sort_values("number")
    first = rows.iloc[0]
    return Standing(
        family,
        best,
        str(first["size"]),
        float(first["data_fraction"]),
        tuple(rows[column].astype(float)),
        tuple(rows["trial"]),
        tuple(int(seed) for seed in rows["seed"]),
    )
