"""The luck of a search: how far another search of the same family, by as many trials, would have come out elsewhere.

All finalists of a family share one configuration, which one search happened to find. Their seeds say nothing of what
another search would have found, so that part of the noise is estimated from the search's own trials.

A trial's validation value is taken as quality plus noise, v = q + e, the trials as drawn alike. S² is the variance of
v near the top: the squared slope of the better half of the values against the expected order statistics of a normal
sample (the better half, since bad configurations have a long tail that no winner comes from). `kept`, ρ, is how much
of the best trial's lead over the median trial its configuration kept on fresh seeds, as its finalists' validation
says: 1 where the lead was quality, 0 where it was noise. Were q and e normal, ρ would be q's share of S², and

    Var(quality of the winner) = S² (ρ² c + ρ (1 − ρ)),    c: variance of the largest of K standard normal draws;

what the winner's value tells of its quality, and what it leaves open. ρ is an estimate, and the formula is concave in
it, so the second part is raised by 1 + ρ; and the whole counts as known on half as many degrees of freedom as spacings
went into S. Chosen by simulation against the bootstrap of the best of K (too small: it rarely leaves the largest
value) and A. Rényi's normalized spacings (up to a hundred times too large where there is a best value to come near to).

All of that in logarithms where the metric has an end to come near to: of a loss above 0, or of what an accuracy leaves
to 1. One search is a poor witness of its own luck; the others of its family, at other sizes and amounts of data, drew
from the same space. So a cell's luck is the mean of its family's, unless its own is more, and known on the degrees of
freedom of all. A trial that was stopped counts with what it had, bettered by as much as those that went on bettered
themselves from the same epoch, and as half a trial in the degrees of freedom.

Assumed: a sampler that learns from its trials is as lucky as one that draws them alike; no long tail of rare, far
better configurations; test ranks the configurations as validation does. Fewer than 8 trials are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from orchestrator.records import COMPLETE, ENDED, PRUNED, SEARCH
from orchestrator.report.frames import Frames

Values = NDArray[np.float64]

# With two values there is a slope, and nothing that says how wrong it is.
FEWEST = 3
# Degrees of freedom from which Student's quantile is no longer far from the normal one: at 95 % it is 2.8 of 4 degrees,
# 4.3 of 2 and 12.7 of 1, and 2.0 of many. An interval on fewer is mostly that of the estimate, not of the luck.
ENOUGH = 4.0


@dataclass(frozen=True)
class Luck:
    """`variance` of a family's result over searches, in the squared unit of the metric, on `freedom` degrees.

    `kept`: the share of the winner's lead that fresh seeds confirmed, from 0 to 1. `spread`: the standard deviation of
    the search's values near the top, noise included. `counted`: how many trials tell all that, stopped ones by half, in
    the family's `searches` together.
    """

    variance: float
    freedom: float
    kept: float
    spread: float
    counted: float = 0.0
    searches: int = 1

    @property
    def deviation(self) -> float:
        return float(np.sqrt(self.variance))

    def trials_to_know(self, trials: int) -> int:
        """How many trials a search would take to know the luck on ENOUGH degrees of freedom; `trials`: each has now.

        Should as large a share of them count as now: a search has half as many degrees as trials that count, less one.
        """
        each = max(self.counted, 1.0) / self.searches
        return math.ceil(trials * (2 * ENOUGH / self.searches + 1) / each)


def of_family(frames: Frames, family: str) -> dict[str, Luck]:
    """The luck of each cell's search, in the unit of the metric; without the cells whose search is too short to tell.

    Each is the family's mean, weighted by degrees of freedom, or the cell's own where that is more.
    """
    trials = frames.trials[(frames.trials["family"] == family) & frames.trials["status"].isin(ENDED)]
    valued = trials[trials["value"].notna()]
    up, slope = _scale(valued["value"].to_numpy(float), frames.direction)
    finals = frames.finals[frames.finals["value"].notna()]
    own, slopes = {}, {}
    for cell, rows in trials[trials["kind"] == SEARCH].groupby("cell", sort=False):
        again = finals.loc[finals["cell"] == cell, "value"].to_numpy(float)
        finished, stopped = _ends(frames, rows, up)
        ranked, others = (finished, stopped) if len(finished) else (stopped, finished)
        told = of_search(list(ranked), list(others), len(rows), list(up(again)))
        if told is not None:
            own[str(cell)], slopes[str(cell)] = told, slope(float(again.mean()))
    freedom = sum(told.freedom for told in own.values())
    counted = sum(told.counted for told in own.values())
    mean = sum(told.freedom * told.variance for told in own.values()) / freedom if freedom else 0.0
    return {
        cell: replace(
            told,
            variance=max(told.variance, mean) * slopes[cell] ** 2,
            freedom=freedom,
            spread=told.spread * slopes[cell],
            counted=counted,
            searches=len(own),
        )
        for cell, told in own.items()
    }


def _scale(values: Values, direction: str) -> tuple[Callable[[Values], Values], Callable[[float], float]]:
    """A scale on which larger is better, and at a value the unit of the metric in units of that scale."""
    if direction == "min" and len(values) and values.min() > 0:
        return lambda losses: -np.log(losses), lambda loss: loss
    if direction == "max" and len(values) and values.max() < 1:
        return lambda parts: -np.log1p(-parts), lambda part: 1 - part
    sign = 1.0 if direction == "max" else -1.0
    return lambda plain: sign * plain, lambda _: 1.0


def _ends(frames: Frames, rows: pd.DataFrame, up: Callable[[Values], Values]) -> tuple[Values, Values]:
    """Of one search, what those that ran to their end came to, and what those that were stopped would have come to."""
    known = rows[rows["value"].notna()]
    finished, stopped = known[known["status"] == COMPLETE], known[known["status"] == PRUNED]
    ends, had = up(finished["value"].to_numpy(float)), up(stopped["value"].to_numpy(float))
    if not len(ends) or not len(had):
        return ends, had
    reports = frames.reports[frames.reports["trial"].isin(finished["trial"])]
    curves = reports.pivot(index="trial", columns="epoch", values=f"validation_{frames.metric}")
    best = (curves.cummax if frames.direction == "max" else curves.cummin)(axis=1).loc[finished["trial"]]
    bettered = {epoch: float(np.nanmean(ends - up(best[epoch].to_numpy(float)))) for epoch in best}
    return ends, had + [bettered.get(epoch, 0.0) for epoch in stopped["epochs"]]


def of_search(ranked: Sequence[float], others: Sequence[float], count: int, again: Sequence[float]) -> Luck | None:
    """The luck of one search of `count` trials; values that are better are larger.

    Args:
        ranked: values of the trials that a winner was chosen from: those that ran to their end.
        others: values of those that were stopped before, as far as they can be told: the better half may have some.
        count: trials in all, those that diverged or failed included.
        again: validation values of the winner's configuration on fresh seeds.

    Returns:
        None where fewer than three trials have a value, or no finalist has.
    """
    if len(ranked) + len(others) < FEWEST or not len(ranked) or not len(again):
        return None
    better = np.sort([*ranked, *others])[::-1][: max(-(-count // 2), FEWEST)]
    scores = expected_order(count)[: len(better)]
    centred = scores - scores.mean()
    spread = max(float(better @ centred / (centred @ centred)), 0.0)
    middle = float(np.median([*ranked, *others]))
    lead = max(ranked) - middle
    kept = float(np.clip((np.mean(again) - middle) / lead, 0, 1)) if lead > 0 else 0.0
    share = kept**2 * variance_of_best(count) + kept * (1 - kept) * (1 + kept)
    # What was stopped is known by half.
    weights = np.repeat([1.0, 0.5], [len(ranked), len(others)])
    counted = float(weights[np.argsort([*ranked, *others])[::-1]][: len(better)].sum())
    return Luck(spread**2 * share, max(counted - 1, 1) / 2, kept, spread, counted)


def expected_order(count: int) -> np.ndarray:
    """Expected values of a standard normal sample, the largest first [count] (G. Blom's approximation, 1958)."""
    scores: np.ndarray = stats.norm.ppf((count - np.arange(count) - 0.375) / (count + 0.25))
    return scores


@cache
def variance_of_best(count: int) -> float:
    """Variance of the largest of `count` independent standard normal draws, integrated numerically."""
    x = np.linspace(-9, 9, 4001)
    density = count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1) * (x[1] - x[0])
    mean = float(density @ x)
    return float(density @ x**2) - mean**2
