"""The samplers, one line each in `SAMPLERS`.

A sampler is made anew for each suggestion, seeded from the trial's identity: what it suggests depends on the
history and on that seed, never on how often the process was started.

Not in the table: CMA-ES, whose distribution Optuna keeps in attributes of trials that no journal holds, so that a
study rebuilt would start over; Gaussian processes, which see only trials that ran in full and take 0.1 s and more for
a suggestion after 50 of them; a grid, which counts points twice where a condition does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from orchestrator.search.parzen import ParzenSampler
from orchestrator.search.sobol import SobolSampler, sobol_point
from orchestrator.search.standings import Standings


@dataclass(frozen=True)
class Circumstances:
    """What a sampler may know when it is made: for which trial, in which space, after what history.

    `seed` is the trial's own, `study_seed` the same for all trials of the study.
    """

    seed: int
    study_seed: int
    number: int
    startup_trials: int
    space: Mapping[str, BaseDistribution]
    standings: Standings


def _random(known: Circumstances) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=known.seed)


def _qmc(known: Circumstances) -> BaseSampler:
    return SobolSampler(known.study_seed, known.number, list(known.space))


def _tpe(known: Circumstances) -> BaseSampler:
    return optuna.samplers.TPESampler(
        seed=known.seed, n_startup_trials=known.startup_trials, multivariate=True, constant_liar=True
    )


def _parzen(known: Circumstances) -> BaseSampler:
    elsewhere = sobol_point(known.study_seed, known.number, len(known.space))
    return ParzenSampler(known.seed, known.startup_trials, known.standings, known.space, elsewhere)


SAMPLERS: Mapping[str, Callable[[Circumstances], BaseSampler]] = {
    "random": _random,
    "qmc": _qmc,
    "tpe": _tpe,
    "parzen": _parzen,
}
