"""The samplers, one line each in `SAMPLERS`.

A sampler is made anew for each suggestion, seeded from the trial's identity: what it suggests depends on the
history and on that seed, never on how often the process was started. `study_seed` is for those that walk one
sequence through the whole study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

Make = Callable[[int, int, int], BaseSampler]  # (trial seed, study seed, start-up trials)


class _Sequence(optuna.samplers.QMCSampler):
    """Trial n gets point n of the sequence. Optuna's own count lies in its storage, which begins anew with every start
    of the command: after an interruption the sequence would be suggested a second time."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._number = trial.number
        return super().sample_relative(study, trial, search_space)

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._number


def _random(seed: int, study_seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def _qmc(seed: int, study_seed: int, startup: int) -> BaseSampler:
    # The independent sampler draws what the sequence lacks (conditional parameters): with the trial's own seed, or
    # every trial would get the same.
    independent = optuna.samplers.RandomSampler(seed=seed)
    return _Sequence(scramble=True, seed=study_seed, independent_sampler=independent, warn_independent_sampling=False)


def _tpe(seed: int, study_seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True)


SAMPLERS: Mapping[str, Make] = {
    "random": _random,
    "qmc": _qmc,
    "tpe": _tpe,
}
