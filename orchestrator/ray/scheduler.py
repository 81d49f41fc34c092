"""Tune's `TrialScheduler` over the engine: every message of a worker passes here, is recorded, and is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import ActorUnavailableError
from ray.tune import Callback
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from orchestrator import records
from orchestrator.engine import Engine
from orchestrator.errors import UserError
from orchestrator.ray import places
from orchestrator.ray.places import checkpoint_file

# The words of Ray's core for it; there is no class of its own.
NODE_DIED = "its node has died"


class EngineScheduler(TrialScheduler):
    """Records what a worker reports and answers whether the trial goes on."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self.engine: Engine | None = engine
        # For what the sweep has to end, if so: Tune would wrap it in a traceback.
        self.trouble: UserError | None = None
        self._slots = slots
        self._tune_adjusted = False

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        if not self._tune_adjusted:
            # Tune keeps at most one idle worker when nothing is pending, and kills the rest. Slots that wait for
            # the last results of a cell would be paid for again, seconds each. tests/test_sweep.py counts.
            tune_controller._actor_cache.increase_max(trial.placement_group_factory, by=self._slots)
            # Its snapshots hold every trial, as text, at once. This project never reads one.
            tune_controller.checkpoint = _no_snapshot
            self._tune_adjusted = True

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        assert self.engine is not None
        name = trial.config["trial"]
        let_go = self.engine.report(name, result["rows"])
        if result["ended"]:
            if result["ended"] == records.COMPLETE and trial.config["kind"] == records.FINAL:
                try:
                    places.bring_model(trial.config["storage"], trial.config["run_dir"], name)
                except UserError as error:  # not this trial's fault: it ends when the sweep goes on
                    self.trouble = error
                    tune_controller.request_stop_experiment()
                    return str(self.STOP)
            test = {key.removeprefix("test/"): value for key, value in result.items() if key.startswith("test/")}
            about = {key: result[key] for key in ("reason", "cause", "last_finite")}
            self.engine.end(name, result["ended"], test=test, **about)
            let_go = True
        if self.engine.history.trials[name].status in records.ENDED:
            _forget_checkpoint(trial)
        if self.engine.fault:
            tune_controller.request_stop_experiment()
        return str(self.STOP if let_go else self.CONTINUE)

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """None: Tune then starts what is pending, oldest first, without a walk over all trials."""
        return None

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """A worker or its node is gone. Of a node that vanished Ray says at first only that it can't be reached."""
        assert self.engine is not None
        error = _error(trial)
        node = isinstance(error, ActorUnavailableError) or NODE_DIED in str(error)
        said = str(error or "Ray lost the worker").strip().rpartition("\n")[2]
        self.engine.lost(trial.config["trial"], "its node went away" if node else said, by_node=node)
        if self.engine.fault:
            tune_controller.request_stop_experiment()

    def on_trial_complete(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> None:
        """Tune would keep its last message, and statistics of every number in any, of each trial until the end."""
        kept = trial.run_metadata
        kept.metric_analysis, kept.metric_n_steps = {}, {}
        kept.last_result = {key: value for key, value in kept.last_result.items() if key != "rows"}

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial) -> None:
        pass

    def debug_string(self) -> str:
        return "decisions are the engine's"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "engine": None}


def _no_snapshot(force: bool = False, wait: bool = False) -> None:
    """In place of `TuneController.checkpoint`."""


def _error(trial: Trial) -> Exception | None:
    """Why Tune gave a trial up. (`Trial.get_pickled_error` looks where the file will be once Tune has copied it.)"""
    file = trial.pickled_error_file
    if file is None or not Path(file).is_file():
        return None
    error: Exception = cloudpickle.loads(Path(file).read_bytes())
    return error


def _forget_checkpoint(trial: Trial) -> None:
    """Once the journal has the end; the worker writes no more, it waits for this answer."""
    places.forget(checkpoint_file(trial.config["storage"], trial.config["trial"]))


class StartNotice(Callback):
    """Tells the engine when a worker takes up a trial."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine | None = engine

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        assert self.engine is not None
        actor = trial.temporary_state.ray_actor
        self.engine.started(trial.config["trial"], actor._actor_id.hex()[:12])

    def __getstate__(self) -> dict[str, Any]:
        return {"engine": None}
