"""The samplers, one line each in `SAMPLERS`.

A sampler is made anew for each suggestion, seeded from the trial's identity: what it suggests depends on the
history and on that seed, never on how often the process was started. `study_seed` is for those that walk one
sequence through the whole study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler

Make = Callable[[int, int, int], BaseSampler]  # (trial seed, study seed, start-up trials)


def _random(seed: int, study_seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


def _qmc(seed: int, study_seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.QMCSampler(scramble=True, seed=study_seed, warn_independent_sampling=False)


def _tpe(seed: int, study_seed: int, startup: int) -> BaseSampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True)


SAMPLERS: Mapping[str, Make] = {
    "random": _random,
    "qmc": _qmc,
    "tpe": _tpe,
}
