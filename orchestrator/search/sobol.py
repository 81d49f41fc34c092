"""A scrambled Sobol sequence that conditional spaces cannot disturb and a restart cannot lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from orchestrator.search.unit import from_unit


def sobol_point(seed: int, number: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Point `number` of the scrambled Sobol sequence that `seed` names."""
    sequence = qmc.Sobol(dimensions, scramble=True, rng=seed)
    if number:
        sequence.fast_forward(number)
    point: npt.NDArray[np.float64] = sequence.random(1)[0]
    return point


class SobolSampler(BaseSampler):
    """Trial n takes point n of one scrambled Sobol sequence (Bergstra and Bengio 2012, section 3.3; Owen 1998).

    Every parameter of the space has a dimension of its own, used where its condition holds. Optuna's `QMCSampler`
    draws conditional parameters at random, and keeps its place in the sequence in the study's storage, which is
    not rebuilt from a journal: after a restart it would begin the sequence again.
    """

    def __init__(self, seed: int, number: int, names: Sequence[str]) -> None:
        self._point = dict(zip(names, sobol_point(seed, number, len(names)).tolist(), strict=True))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return from_unit(param_distribution, self._point[param_name])
