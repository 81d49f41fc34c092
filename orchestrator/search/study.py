"""One cell's search: an Optuna study in memory, rebuilt from the journal, never stored anywhere else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from orchestrator import records
from orchestrator.records import seed_of
from orchestrator.search.samplers import SAMPLERS
from orchestrator.search.standings import END, Standings
from orchestrator.search.suggestion import Circumstances
from orchestrator.search.unit import distribution_of, to_unit
from orchestrator.space import Space, is_active

optuna.logging.set_verbosity(optuna.logging.WARNING)

STATES = {
    records.COMPLETE: TrialState.COMPLETE,
    records.PRUNED: TrialState.PRUNED,
    # Diverged is told as infeasible, which ranks below every trial that has a value, whatever rung it reached: the
    # sampler learns to stay away. Told as failed it would be forgotten.
    records.DIVERGED: TrialState.PRUNED,
    records.FAILED: TrialState.FAIL,
}
INFEASIBLE = "constraints:finite"

# How many trials a sampler of Optuna's is shown: the best, the latest, and all that run. Its time to suggest grows
# with what it sees; tests/search/test_speed.py holds it under 50 ms at 10,000 trials.
SHOWN_BEST, SHOWN_LATEST = 30, 60


class _Shown(optuna.Study):
    """The study as its sampler sees it: all trials while there are few, then a choice of them."""

    standings: Standings
    chosen: list[int] | None = None

    def _get_trials(
        self, deepcopy: bool = True, states: Sequence[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        # Every sampler of Optuna 5 reads the history here; the public get_trials comes here as well.
        trials: list[FrozenTrial] = self._storage.get_all_trials(self._study_id, deepcopy=False)
        if len(trials) > SHOWN_BEST + SHOWN_LATEST and states != (TrialState.WAITING,):
            if self.chosen is None:
                best = self.standings.ranking()[:SHOWN_BEST]
                latest = range(len(trials) - SHOWN_LATEST, len(trials))
                self.chosen = sorted({*best, *self.standings.running, *latest})
            trials = [trials[number] for number in self.chosen]
        return trials if states is None else [trial for trial in trials if trial.state in states]


class Study:
    """Suggests configurations of one space and is told what became of them.

    Trials are numbered from 0 in the order in which they were asked; `seed` names the study's randomness.
    """

    def __init__(
        self, space: Space, direction: str, sampler: str, startup_trials: int, seed: int, grid_points: int = 1
    ) -> None:
        self._space, self._seed, self._startup, self._grid_points = space, seed, startup_trials, grid_points
        self._make = SAMPLERS[sampler]
        self._distributions = {name: distribution_of(one) for name, one in space.parameters.items()}
        self._standings = Standings(direction)
        self._kept: dict[str, Any] = {}
        plain = optuna.create_study(direction="maximize" if direction == "max" else "minimize")
        self._study = _Shown(plain.study_name, plain._storage, sampler=self._sampler(0))
        self._study.standings = self._standings

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        circumstances = Circumstances(
            seed_of(self._seed, number),
            self._seed,
            number,
            self._startup,
            self._grid_points,
            self._space,
            self._distributions,
            self._standings,
            self._kept,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self._make(circumstances)

    def ask(self) -> dict[str, Any]:
        """The next configuration: only the parameters whose conditions hold."""
        self._study.sampler = self._sampler(len(self._standings.points))
        self._study.chosen = None
        trial = self._study.ask()
        drawn: dict[str, Any] = {}
        for name, parameter in self._space.parameters.items():
            if is_active(parameter, drawn):
                drawn[name] = trial._suggest(name, self._distributions[name])
        self._begin(drawn)
        return drawn

    def report(self, number: int, epoch: int, value: float) -> None:
        """What trial `number` had reached at a rung: its best so far. It may still be running."""
        # The storage's own call: building an `optuna.Trial` would draw a suggestion anew.
        self._study._storage.set_trial_intermediate_value(self._id(number), epoch, value)
        self._standings.reach(number, epoch, value)

    def tell(self, number: int, status: str, value: float | None) -> None:
        """What became of trial `number`, and its best `value` (None: it has none)."""
        state = STATES[status]
        if state is TrialState.COMPLETE and (value is None or not math.isfinite(value)):
            state = TrialState.FAIL
        if status == records.DIVERGED:
            self._study._storage.set_trial_system_attr(self._id(number), INFEASIBLE, 1.0)
        values = [value] if state is TrialState.COMPLETE else None
        self._study._storage.set_trial_state_values(self._id(number), state=state, values=values)
        if value is not None and state is TrialState.COMPLETE:
            self._standings.reach(number, END, value)
        self._standings.end(number, diverged=status == records.DIVERGED, forgotten=state is TrialState.FAIL)

    def replay(self, config: Mapping[str, Any]) -> None:
        """Put back a trial that was asked before this process began; `report` and `tell` follow as they did then."""
        active = {name: self._distributions[name] for name in config}
        self._study.add_trial(
            optuna.trial.create_trial(state=TrialState.RUNNING, params=dict(config), distributions=active)
        )
        self._begin(config)

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._standings.begin(
            np.array(
                [
                    to_unit(distribution, config[name]) if name in config else math.nan
                    for name, distribution in self._distributions.items()
                ]
            )
        )

    def _id(self, number: int) -> int:
        return int(self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number))
