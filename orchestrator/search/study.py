"""One cell's search: an Optuna study in memory, rebuilt from the journal, never stored anywhere else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from orchestrator import records
from orchestrator.records import seed_of
from orchestrator.search.samplers import SAMPLERS
from orchestrator.space import Choice, Float, Parameter, Space, is_active

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {
    records.COMPLETE: TrialState.COMPLETE,
    records.PRUNED: TrialState.PRUNED,
    # Diverged is told as pruned without a value, which ranks below every trial that has one: the sampler learns
    # to stay away. Told as failed it would be forgotten.
    records.DIVERGED: TrialState.PRUNED,
    records.FAILED: TrialState.FAIL,
}


class Study:
    """Suggests configurations of one space and is told what became of them.

    Trials are numbered from 0 in the order in which they were asked; `seed` names the study's randomness.
    """

    def __init__(self, space: Space, direction: str, sampler: str, startup_trials: int, seed: int) -> None:
        self._space, self._seed, self._startup = space, seed, startup_trials
        self._make = SAMPLERS[sampler]
        self._study = optuna.create_study(
            direction="maximize" if direction == "max" else "minimize", sampler=self._sampler(0)
        )

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._make(seed_of(self._seed, number), self._seed, self._startup)

    def ask(self) -> dict[str, Any]:
        """The next configuration: only the parameters whose conditions hold."""
        self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
        trial = self._study.ask()
        drawn: dict[str, Any] = {}
        for name, parameter in self._space.parameters.items():
            if is_active(parameter, drawn):
                drawn[name] = _draw(trial, name, parameter)
        return drawn

    def report(self, number: int, epoch: int, value: float) -> None:
        """What trial `number` had reached at a rung: its best so far. It may still be running."""
        # The storage's own call: building an `optuna.Trial` would draw a suggestion anew.
        trial_id = self._study.get_trials(deepcopy=False)[number]._trial_id
        self._study._storage.set_trial_intermediate_value(trial_id, epoch, value)

    def tell(self, number: int, status: str, value: float | None) -> None:
        """What became of trial `number`, and its best `value` (None: it has none)."""
        state = STATES[status]
        if status == records.DIVERGED:
            trial_id = self._study.get_trials(deepcopy=False)[number]._trial_id
            self._study._storage.set_trial_system_attr(trial_id, "constraints:finite", 1.0)
        if state is TrialState.COMPLETE and (value is None or not math.isfinite(value)):
            state = TrialState.FAIL
        self._study.tell(number, value if state is TrialState.COMPLETE else None, state=state)

    def replay(self, config: Mapping[str, Any]) -> None:
        """Put back a trial that was asked before this process began; `tell` it afterwards if it has ended."""
        active = {name: _distribution(self._space.parameters[name]) for name in config}
        self._study.add_trial(
            optuna.trial.create_trial(state=TrialState.RUNNING, params=dict(config), distributions=active)
        )


def _draw(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return trial.suggest_categorical(name, parameter.values)
    if isinstance(parameter, Float):
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
