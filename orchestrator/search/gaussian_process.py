"""A Gaussian process over the ranks of the trials, small enough to be fitted for every suggestion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtri
from threadpoolctl import ThreadpoolController

from orchestrator.search.divergence import Divergence
from orchestrator.search.sobol import sobol_point
from orchestrator.search.suggestion import Circumstances, Points
from orchestrator.search.unit import from_unit

# What it is shown of a long study: the best, the latest, some from all ranks; and of the running ones the latest.
SHOWN_BEST, SHOWN_LATEST, SHOWN_ELSE, SHOWN_RUNNING = 30, 20, 20, 20
# Steps of the fit; more change the length scales little.
STEPS = 15
# Candidates drawn anywhere, then near the best of them and of the trials, in closer and closer circles.
ANYWHERE, NEAR, CENTRES = 200, 100, 5
CIRCLES = (0.2, 0.07, 0.02)
# Below that of the other samplers: the best of 500 candidates is one whose risk is underrated.
MOST_RISK = 0.02
LEAST_NOISE = 1e-4


# Matrices of 70 × 70 are too small to share: on two threads a suggestion takes three times as long.
@ThreadpoolController().wrap(limits=1, user_api="blas")
def gaussian_points(known: Circumstances) -> Points:
    """Candidates by expected improvement, [candidates, parameters], best first.

    A Gaussian process with a Matérn 5/2 kernel, a length scale for each parameter and noise, all fitted anew under the
    prior of Hvarfner et al. 2024 ("Vanilla Bayesian Optimization Performs Great in High Dimensions", arXiv
    2402.02229). What is there because of early stopping and of time:

    * it learns normal scores of `Standings.ranking` (Salinas et al. 2020, arXiv 1909.13595), not values: a pruned
      trial counts by the rungs that it reached, running ones too, and diverged ones share the last ranks, so that a
      loss of 10⁶ does not flatten the rest;
    * a running trial that has reported nothing narrows the uncertainty around it and leaves the mean alone (the
      "kriging believer" of Ginsbourger et al. 2010);
    * of more than 70 trials it is shown the best 30, the latest 20, and 20 from all ranks;
    * expected improvement is compared at 500 candidates, drawn anywhere and then around the best.

    The first trials are a Sobol sequence.
    """
    standings, width = known.standings, len(known.distributions)
    order = [*standings.ranking(), *sorted(standings.diverged)]
    ranked = len(order) - len(standings.diverged)
    if len(order) < known.startup_trials or ranked < 2:
        return sobol_point(known.study_seed, known.number, width)[None]
    # From 0, the best, to 1; the diverged share the middle of their ranks.
    position = (np.arange(len(order)) + 0.5) / len(order)
    position[ranked:] = (ranked + len(order)) / 2 / len(order)
    shown = _shown(order)
    model = _Model(known, [order[index] for index in shown], -ndtri(position[shown]))
    chance, divergence = np.random.default_rng(known.seed), Divergence(known)
    centres = np.array([standings.points[order[index]] for index in shown[:CENTRES]])
    candidates: Points = chance.random((ANYWHERE, width))
    for circle in CIRCLES:
        near = _around(centres, circle, chance, model.is_choice)
        candidates = divergence.avoid(np.vstack([near, candidates]), MOST_RISK)
        candidates = candidates[np.argsort(-model.log_improvement(candidates), kind="stable")][:NEAR]
        centres = candidates[:CENTRES]
    return candidates


def _shown(order: Sequence[int]) -> list[int]:
    """Indices into `order`, rising: the best, the latest, and some from all ranks."""
    if len(order) <= SHOWN_BEST + SHOWN_LATEST + SHOWN_ELSE:
        return list(range(len(order)))
    latest = np.argsort(order)[-SHOWN_LATEST:].tolist()
    others = np.linspace(SHOWN_BEST, len(order) - 1, SHOWN_ELSE).astype(int).tolist()
    return sorted({*range(SHOWN_BEST), *latest, *others})


def _around(centres: Points, circle: float, chance: np.random.Generator, is_choice: npt.NDArray[np.bool_]) -> Points:
    """Points near the centres: about a third of the coordinates moved, at least one; missing ones from anywhere."""
    start = centres[chance.integers(len(centres), size=NEAR)]
    moved = np.abs(start + chance.normal(scale=circle, size=start.shape))
    moved = np.clip(np.where(moved > 1, 2 - moved, moved), 0.0, 1.0)
    anywhere = chance.random(start.shape)
    changes = chance.random(start.shape) < 1 / 3
    changes[np.arange(NEAR), chance.integers(start.shape[1], size=NEAR)] = True
    near = np.where(changes, np.where(is_choice, anywhere, moved), start)
    complete: Points = np.where(np.isnan(near), anywhere, near)
    return complete


class _Model:
    """The process given `scores` (more is better) of `trials`."""

    def __init__(self, known: Circumstances, trials: Sequence[int], scores: Points) -> None:
        self._known = known
        self._choices = [
            len(one.choices) if isinstance(one, CategoricalDistribution) else 0 for one in known.distributions.values()
        ]
        self.is_choice = np.array(self._choices) > 0
        # Features of a point: a number is one, a choice has one a value. Two choices are near or not, nothing between.
        self._owner = np.repeat(np.arange(len(self._choices)), np.maximum(self._choices, 1))
        points = known.standings.points
        heard = self._features(np.array([points[number] for number in trials]))
        self._mean, centred = scores.mean(), scores - scores.mean()
        self._length, self._noise = self._fit(heard, centred)
        factor = cholesky(self._kernel(heard, heard) + self._noise * np.eye(len(heard)), lower=True)
        self._heard, self._weights = heard, cho_solve((factor, True), centred)
        self._variance = float(centred @ self._weights) / len(heard)
        unheard = sorted(known.standings.running.keys() - known.standings.heard())[-SHOWN_RUNNING:]
        believed = self._features(np.array([points[number] for number in unheard]).reshape(-1, len(self._choices)))
        self._seen = np.vstack([heard, believed])
        kernel = self._kernel(self._seen, self._seen)
        self._factor = cholesky(kernel + self._noise * np.eye(len(self._seen)), lower=True)
        self._best = float((self._kernel(heard, heard) @ self._weights).max())

    def log_improvement(self, points: Points) -> Points:
        """Logarithm of the expected improvement over the best mean at a trial, [points]."""
        features = self._features(self._conditioned(points))
        mean = self._kernel(features, self._heard) @ self._weights
        explained = solve_triangular(self._factor, self._kernel(self._seen, features), lower=True)
        deviation = np.sqrt(self._variance * np.maximum(1 - (explained**2).sum(axis=0), 1e-10))
        # Far below the best the density cancels to nothing against its tail: the ends are where doubles still tell.
        ahead = np.clip((mean - self._best) / deviation, -1e3, 30)
        log_density = -0.5 * ahead**2 - 0.5 * math.log(2 * math.pi)
        improvement: Points = np.log(deviation) + log_density + np.log1p(ahead * np.exp(log_ndtr(ahead) - log_density))
        return improvement

    def _fit(self, features: Points, scores: Points) -> tuple[Points, float]:
        """The length scales [parameters] and the share of noise that are most likely after prior and scores."""
        width, count = len(self._choices), len(features)
        squares = (features[:, None] - features[None]) ** 2
        squares = np.stack([squares[:, :, self._owner == column].sum(axis=2) for column in range(width)])
        # Log-normal priors: of lengths, growing with the square root of the dimension; of the noise, about a tenth.
        centre = np.append(np.full(width, math.sqrt(2) + 0.5 * math.log(width)), math.log(0.1))
        spread = np.append(np.full(width, math.sqrt(3)), 1.5)

        def loss(logarithms: Points) -> tuple[float, Points]:
            scaled = squares * np.exp(-2 * logarithms[:width])[:, None, None]
            distance = np.sqrt(5 * scaled.sum(axis=0))
            decay = np.exp(-distance)
            noise = math.exp(logarithms[width])
            covariance = (1 + distance + distance**2 / 3) * decay + (noise + LEAST_NOISE) * np.eye(count)
            factor = cholesky(covariance, lower=True)
            inverse = cho_solve((factor, True), np.eye(count))
            weights = inverse @ scores
            variance = float(scores @ weights) / count  # of the process: the most likely one, in closed form
            likelihood = 0.5 * count * math.log(variance) + np.log(np.diag(factor)).sum()
            outer = 0.5 * (inverse - np.outer(weights, weights) / variance)
            slope = outer * (5 / 3 * (1 + distance) * decay)
            gradient = np.append(np.einsum("kij,ij->k", scaled, slope), noise * np.trace(outer))
            away = (logarithms - centre) / spread
            return float(likelihood + 0.5 * away @ away), gradient + away / spread

        bounds = [*[(math.log(0.05), math.log(1e3))] * width, (math.log(LEAST_NOISE), math.log(3.0))]
        start = np.append(np.full(width, 0.5 * math.log(width)), math.log(0.1))
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}).x
        return np.exp(found[:width]), math.exp(found[width]) + LEAST_NOISE

    def _kernel(self, left: Points, right: Points) -> Points:
        """Matérn 5/2 of variance 1, [left, right]."""
        left, right = left / self._length[self._owner], right / self._length[self._owner]
        squared = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None] - 2 * left @ right.T
        distance = np.sqrt(5 * np.maximum(squared, 0.0))
        kernel: Points = (1 + distance + distance**2 / 3) * np.exp(-distance)
        return kernel

    def _features(self, points: Points) -> Points:
        """[points, features]; where a condition does not hold a number is in the middle, a choice between all."""
        columns = []
        for column, choices in enumerate(self._choices):
            place = points[:, column]
            if choices:
                taken = np.minimum(np.floor(place * choices), choices - 1)
                columns.append((taken[:, None] == np.arange(choices)) / math.sqrt(2))
            else:
                columns.append(np.where(np.isnan(place), 0.5, place)[:, None])
        return np.hstack(columns)

    def _conditioned(self, points: Points) -> Points:
        """The points without the coordinates whose conditions do not hold, as `Standings.points` has them."""
        names, conditioned = list(self._known.distributions), points.copy()
        for column, name in enumerate(names):
            for key, values in self._known.space.parameters[name].when:
                asked = conditioned[:, names.index(key)]
                distribution = self._known.distributions[key]
                holds = [not math.isnan(one) and from_unit(distribution, one) in values for one in asked.tolist()]
                conditioned[~np.array(holds), column] = math.nan
        return conditioned
