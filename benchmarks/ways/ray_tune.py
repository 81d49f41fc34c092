"""Ray Tune + OptunaSearch + ASHAScheduler + MLflowLoggerCallback, wired as Ray's documentation shows.

    docs.ray.io/en/latest/tune/examples/optuna_example.html     function trainable, define-by-run space, scheduler
    docs.ray.io/en/latest/tune/examples/tune-mlflow.html        the callback in the RunConfig
    docs.ray.io/en/latest/tune/api/schedulers.html              ASHA: max_t, grace_period, reduction_factor

Whatever those pages leave at its default is at its default here: the sampler, the loggers, the reuse of actors. The
callback's save_artifact stays off, its default, though the example turns it on: with it a trial costs still more.
The store is SQLite, since MLflow 3.13 refuses a folder. Only `Meter` is not in the documentation.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from ways.setting import DIRECTION, METRIC, Measured, Setting, draw, main, space


class Meter(tune.Callback):  # type: ignore[misc]  # Ray has no types
    """Notes what reaches Tune's event loop. First of the callbacks, so that none delays it."""

    def __init__(self) -> None:
        self.measured = Measured()
        self.pids: set[int] = set()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self.pids.add(result["pid"])
        self.measured.epoch(result["seconds"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.measured.end("ended")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.measured.end("failed")


def trainable(setting: Setting) -> Callable[[dict[str, Any]], None]:
    def train(config: dict[str, Any]) -> None:
        import torch

        from orchestrator.training.divergence import Diverged
        from orchestrator.training.fit import fit

        torch.set_num_threads(1)
        try:
            for row in fit(setting.job(config), setting.data()):
                tune.report(row)
        except Diverged:
            tune.report({METRIC: math.inf, "seconds": 0.0})

    return train


def run(setting: Setting) -> Measured:
    # A partial, since OptunaSearch pickles its space by name.
    drawn = partial(draw, chosen=space(setting))
    ray.init(address="local", num_cpus=setting.workers)
    meter = Meter()
    tuner = tune.Tuner(
        tune.with_resources(trainable(setting), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode=DIRECTION,
            search_alg=OptunaSearch(space=drawn, metric=METRIC, mode=DIRECTION, seed=setting.seed),
            scheduler=ASHAScheduler(
                max_t=setting.max_epochs,
                grace_period=setting.min_epochs,
                reduction_factor=setting.reduction_factor,
            )
            if setting.halving
            else None,
            num_samples=setting.trials,
            max_concurrent_trials=setting.workers,
        ),
        run_config=tune.RunConfig(
            name="overhead",
            storage_path=os.path.join(setting.folder, "ray_results"),
            callbacks=[
                meter,
                MLflowLoggerCallback(tracking_uri=setting.tracking_uri, experiment_name="overhead"),
            ],
        ),
    )
    tuner.fit()
    meter.measured.processes = len(meter.pids)
    return meter.measured


if __name__ == "__main__":
    main(run)
