"""Where in the space trials diverge, learned from those that did."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution
from scipy.linalg import cho_solve, cholesky
from scipy.special import expit

from orchestrator.search.suggestion import Circumstances, Points

# A draw that diverges with a higher probability is not made, unless nine draws in ten do.
MOST_RISK, LEAST_KEPT = 0.05, 0.1
# How many trials of either kind, the latest, are learned from: the time to suggest must not grow with the study.
SHOWN = 60
# Prior variances: of the constant, and of a slope over half a range.
CONSTANT, SLOPE = 4.0, 100.0
STEPS = 8


class Divergence:
    """Logistic regression of the second degree on the coordinates: their slopes, squares and products.

    Most divergence is a matter of one or two numbers that are too large, perhaps for one choice only. A model of this
    form tells it from ten trials on; nearness in all coordinates at once tells little in a space of twenty. A trial
    that was stopped counts by the share of the divergences that it outlived, plus one of one: stopped at the first rung
    it says little where trials diverge later. (Told nothing of these the model sees danger everywhere.)

    The coefficients have a normal prior (a ridge) and are never written out: this is the kernel form, at the most
    likely function (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", algorithm 3.1).
    """

    def __init__(self, known: Circumstances) -> None:
        standings = known.standings
        self._choices = [
            len(one.choices) if isinstance(one, CategoricalDistribution) else 0 for one in known.distributions.values()
        ]
        diverged = sorted(standings.diverged)[-SHOWN:]
        self._any = bool(diverged)
        if not diverged:
            return
        ends = sorted(standings.diverged.values())
        others = (one for one in reversed(range(len(standings.points))) if one not in standings.diverged)
        reached = ((one, standings.last_rung(one)) for one in others)
        finite = {one: bisect_left(ends, rung) for one, rung in islice((one for one in reached if one[1]), SHOWN)}
        self._features = self._of(np.array([standings.points[number] for number in (*diverged, *finite)]))
        self._weights = self._fit(
            np.array([1.0] * len(diverged) + [0.0] * len(finite)),
            np.array([1.0] * len(diverged) + [(count + 1) / (len(ends) + 1) for count in finite.values()]),
        )

    def risk(self, points: Points) -> Points:
        """The probability that a trial there diverges, [points]; 0 while none has."""
        if not self._any:
            return np.zeros(len(points))
        probability: Points = expit(self._kernel(self._of(points)) @ self._weights)
        return probability

    def is_small(self, points: Points, most: float = MOST_RISK) -> npt.NDArray[np.bool_]:
        """Which of the points have little risk, [points]; where hardly any has, those of the least."""
        risk = self.risk(points)
        small: npt.NDArray[np.bool_] = risk <= max(most, np.quantile(risk, LEAST_KEPT, method="lower"))
        return small

    def avoid(self, points: Points, most: float = MOST_RISK) -> Points:
        """The points of little risk, in their order."""
        return points[self.is_small(points, most)]

    def _fit(self, truth: Points, counts: Points) -> Points:
        """Newton's method; `counts` is how much each trial counts."""
        kernel, latent = self._kernel(self._features), np.zeros(len(truth))
        for _ in range(STEPS):
            likely = expit(latent)
            root = np.sqrt(counts * likely * (1 - likely))
            factor = cholesky(np.eye(len(truth)) + root[:, None] * kernel * root, lower=True)
            ahead = root**2 * latent + counts * (truth - likely)
            weights: Points = ahead - root * cho_solve((factor, True), root * (kernel @ ahead))
            latent = kernel @ weights
        return weights

    def _of(self, points: Points) -> Points:
        """Features: a number from -1 to 1, a choice by one feature a value; 0 where a condition does not hold."""
        columns = []
        for column, choices in enumerate(self._choices):
            place = points[:, column]
            if choices:
                taken = np.minimum(np.floor(place * choices), choices - 1)
                columns.append((taken[:, None] == np.arange(choices)).astype(float))
            else:
                columns.append(np.nan_to_num(2 * place - 1)[:, None])
        return np.hstack(columns)

    def _kernel(self, features: Points) -> Points:
        linear = features @ self._features.T
        kernel: Points = CONSTANT + SLOPE * (linear + linear**2 / len(self._choices))
        return kernel
