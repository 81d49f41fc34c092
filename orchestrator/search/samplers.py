"""The samplers, one line each in `SAMPLERS`.

A sampler is made anew for each suggestion, seeded from the trial's identity: what it suggests depends on the
history and on that seed, never on how often the process was started.

Not in the table, for that reason or for time: Optuna's own CMA-ES, whose distribution lives in attributes of trials
that no journal holds (`evolution.py` computes it from the history); Optuna's own Gaussian processes, which see only
trials that ran in full and take 0.15 s and more for a suggestion (`gaussian_process.py` is what fits in 50 ms).

Population-based training would be a sampler whose suggestion also names the trial to copy weights from: a pure
function of the standings as well, plus one field of the event "asked" that a worker reads before it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler

from orchestrator.search.evolution import evolved_points
from orchestrator.search.gaussian_process import gaussian_points
from orchestrator.search.grid import Grid
from orchestrator.search.parzen import Parzen
from orchestrator.search.sobol import sobol_point
from orchestrator.search.suggestion import Circumstances, Suggestion, first_new
from orchestrator.search.tpe import WaryTPE


def _random(known: Circumstances) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=known.seed)


def _qmc(known: Circumstances) -> BaseSampler:
    return first_new(known, [sobol_point(known.study_seed, known.number, len(known.distributions))])


def _grid(known: Circumstances) -> BaseSampler:
    if "grid" not in known.kept:
        known.kept["grid"] = Grid(known.space, known.grid_points)
    return Suggestion(known.kept["grid"].config(known.study_seed, known.number))


def _tpe(known: Circumstances) -> BaseSampler:
    return WaryTPE(known)


def _parzen(known: Circumstances) -> BaseSampler:
    return first_new(known, Parzen(known).suggest())


def _gp(known: Circumstances) -> BaseSampler:
    return first_new(known, gaussian_points(known))


def _cmaes(known: Circumstances) -> BaseSampler:
    return first_new(known, evolved_points(known))


SAMPLERS: Mapping[str, Callable[[Circumstances], BaseSampler]] = {
    "random": _random,
    "qmc": _qmc,
    "grid": _grid,
    "tpe": _tpe,
    "parzen": _parzen,
    "gp": _gp,
    "cmaes": _cmaes,
}
