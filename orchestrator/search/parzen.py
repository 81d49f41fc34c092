"""Parzen estimators over what halving left behind: the default sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from orchestrator.search.standings import Standings
from orchestrator.search.unit import from_unit

Points = npt.NDArray[np.float64]

RANDOM_SHARE = 0.3
GOOD_SHARE, FEWEST_GOOD, MOST_GOOD = 0.1, 5, 40
CANDIDATES = 24
WIDENING, NARROWEST = 2.0, 0.05
CHANGE = 0.2
# What a sampler is shown of the rest: the suggestion's time must not grow with the study.
MOST_BAD = 1000


class ParzenSampler(BaseSampler):
    """Draws near the good, away from the rest, and at random every third time or so."""

    def __init__(self, seed: int, startup: int, standings: Standings, space: Mapping[str, BaseDistribution]) -> None:
        self._random = np.random.default_rng(seed)
        self._names = list(space)
        # Number of choices, 0 for numbers.
        self._choices = np.array(
            [len(one.choices) if isinstance(one, CategoricalDistribution) else 0 for one in space.values()]
        )
        self._point = dict(zip(space, self._suggest(standings, startup).tolist(), strict=True))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return from_unit(param_distribution, self._point[param_name])

    def _suggest(self, standings: Standings, startup: int) -> Points:
        dimensions = len(self._names)
        ranking = standings.ranking()
        known = len(ranking) + len(standings.diverged)
        if known < startup or len(ranking) < 2 or self._random.random() < RANDOM_SHARE:
            return self._random.random(dimensions)
        count = min(max(int(GOOD_SHARE * known), FEWEST_GOOD), MOST_GOOD, len(ranking) // 2)
        good = np.array([standings.points[number] for number in ranking[:count]])
        # Running trials that have reported nothing count as bad: what is being tried need not be tried again.
        waiting = standings.running.keys() - set(ranking)
        rest = sorted({*ranking[count:], *standings.diverged, *waiting})[-MOST_BAD:]
        bad = np.array([standings.points[number] for number in rest])
        candidates = self._around(good)
        score = self._log_density(candidates, good, WIDENING) - self._log_density(candidates, bad, 1.0)
        return candidates[int(np.argmax(score))]

    def _around(self, good: Points) -> Points:
        """Candidates drawn from the density of the good."""
        shape = (CANDIDATES, good.shape[1])
        start = good[self._random.integers(len(good), size=CANDIDATES)]
        moved = start + self._random.normal(size=shape) * _bandwidth(good, WIDENING)
        # A coordinate that the parent lacks (its condition did not hold) comes from anywhere.
        elsewhere = np.isnan(start) | ((self._choices > 0) & (self._random.random(shape) < CHANGE))
        near = np.where(self._choices > 0, start, _reflected(moved))
        anywhere = self._random.random(shape)
        chosen: Points = np.where(elsewhere, anywhere, near)
        return chosen

    def _log_density(self, at: Points, points: Points, widening: float) -> Points:
        """Logarithm of the mixture's density at each row of `at`, relative to the uniform one, which has a share."""
        log_kernel = np.zeros((len(at), len(points)))
        width = _bandwidth(points, widening)
        for column, choices in enumerate(self._choices):
            here, there = at[:, column, None], points[None, :, column]
            if choices:
                same = np.floor(here * choices) == np.floor(there * choices)
                kernel = np.log(np.where(same, choices * (1 - CHANGE) + CHANGE, CHANGE))
            else:
                kernel = -0.5 * ((here - there) / width[column]) ** 2 - np.log(width[column] * np.sqrt(2 * np.pi))
            # Where the condition did not hold the point says nothing about this coordinate.
            log_kernel += np.where(np.isnan(there), 0.0, kernel)
        return np.log((np.exp(log_kernel).sum(axis=1) + 1.0) / (len(points) + 1))


def _bandwidth(points: Points, widening: float) -> Points:
    """Scott's rule by coordinate, over the trials that have it."""
    count = np.maximum((~np.isnan(points)).sum(axis=0), 1)
    mean = np.where(np.isnan(points), 0.0, points).sum(axis=0) / count
    spread = np.sqrt(np.where(np.isnan(points), 0.0, (points - mean) ** 2).sum(axis=0) / count)
    return np.maximum(NARROWEST, widening * 1.06 * spread * count ** (-1 / (points.shape[1] + 4)))


def _reflected(points: Points) -> Points:
    inside = np.abs(points)
    return np.clip(np.where(inside > 1, 2 - inside, inside), 0.0, 1.0)
