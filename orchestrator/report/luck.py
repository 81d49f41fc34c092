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

Assumed: a sampler that learns from its trials is as lucky as one that draws them alike; no long tail of rare, far
better configurations; test ranks the configurations as validation does. Fewer than 8 trials are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

# With two values there is a slope, and nothing that says how wrong it is.
FEWEST = 3


@dataclass(frozen=True)
class Luck:
    """`variance` of a family's result over searches, in the squared unit of the metric, on `freedom` degrees.

    `kept`: the share of the winner's lead that fresh seeds confirmed, from 0 to 1. `spread`: the standard deviation of
    the search's values near the top, noise included.
    """

    variance: float
    freedom: float
    kept: float
    spread: float

    @property
    def deviation(self) -> float:
        return float(np.sqrt(self.variance))


def of_search(ranked: Sequence[float], others: Sequence[float], count: int, again: Sequence[float]) -> Luck | None:
    """The luck of one search of `count` trials; values that are better are larger.

    Args:
        ranked: values of the trials that a winner was chosen from: those that ran to their end.
        others: values of those that were stopped before. They say where the middle lies, and the best of them fill up
            where fewer than three ran to their end: they would have gone on, so the spread is then too wide.
        count: trials in all, those that diverged or failed included.
        again: validation values of the winner's configuration on fresh seeds.

    Returns:
        None where fewer than three trials have a value, or no finalist has.
    """
    if len(ranked) + len(others) < FEWEST or not len(ranked) or not len(again):
        return None
    filled = sorted(others, reverse=True)[: max(FEWEST - len(ranked), 0)]
    better = np.sort([*ranked, *filled])[::-1][: max(-(-count // 2), FEWEST)]
    scores = expected_order(count)[: len(better)]
    centred = scores - scores.mean()
    spread = max(float(better @ centred / (centred @ centred)), 0.0)
    middle = float(np.median([*ranked, *others]))
    lead = max(ranked) - middle
    kept = float(np.clip((np.mean(again) - middle) / lead, 0, 1)) if lead > 0 else 0.0
    share = kept**2 * variance_of_best(count) + kept * (1 - kept) * (1 + kept)
    return Luck(spread**2 * share, (len(better) - 1) / 2, kept, spread)


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
