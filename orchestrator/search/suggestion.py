"""What a sampler may know, and a suggestion made of all its coordinates at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from orchestrator.search.standings import Standings
from orchestrator.search.unit import from_unit, to_unit
from orchestrator.space import Space

# How often chance looks for a configuration that is not being tried.
TRIES = 50

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Circumstances:
    """What a sampler may know when it is made: for which trial, in which space, after what history.

    `seed` is the trial's own, `study_seed` the same for all trials of the study. `distributions` are those of the
    space's parameters, in its order: the columns of `standings.points`. `kept` outlives the suggestion: for what a
    sampler would otherwise compute again from the same history, never for anything else.
    """

    seed: int
    study_seed: int
    number: int
    startup_trials: int
    grid_points: int
    space: Space
    distributions: Mapping[str, BaseDistribution]
    standings: Standings
    kept: dict[str, Any] = field(default_factory=dict)


class Suggestion(BaseSampler):
    """A configuration chosen as a whole, handed to Optuna parameter by parameter as their conditions hold."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._values[param_name]


def first_new(known: Circumstances, candidates: Iterable[Points]) -> Suggestion:
    """The first of `candidates` (points of the unit cube, best first) that no running trial tries just now.

    Where all are being tried a point from anywhere is suggested, and in a space of a few configurations, where chance
    finds no other, the first.
    """
    running = np.array([known.standings.points[number] for number in known.standings.running])
    first: Suggestion | None = None
    elsewhere = np.random.default_rng(known.seed).random((TRIES, len(known.distributions)))
    for point in chain(candidates, elsewhere):
        values = {
            name: from_unit(one, float(place))
            for (name, one), place in zip(known.distributions.items(), point, strict=True)
        }
        suggestion = Suggestion(values)
        if not len(running):
            return suggestion
        first = first or suggestion
        place = np.array([to_unit(one, values[name]) for name, one in known.distributions.items()])
        # A coordinate that the running trial lacks is no difference: that it is lacking follows from the others.
        if not (np.isnan(running) | (np.abs(running - place) < 1e-9)).all(axis=1).any():
            return suggestion
    assert first is not None
    return first
