"""Syne Tune's local backend, as its README shows: a script of its own for each trial, reports on its standard output.

    github.com/syne-tune/syne-tune, README, "Running Syne Tune on your python script"
    syne-tune.readthedocs.io/en/latest/faq.html    Tuner, LocalBackend, StoppingCriterion

What it leaves at its default is at its default here (the loop looks every 5 s). Random search, or ASHA where hopeless
trials are stopped. Run with the interpreter of a virtual environment that has `syne-tune`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ways.setting import METRIC, Measured, Setting, main, space


def domains(setting: Setting) -> dict[str, Any]:
    """The search space in Syne Tune's words. Conditions are not among them: everything is drawn always."""
    from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform

    from orchestrator.space import Choice, Float

    drawn: dict[str, Any] = {}
    for name, parameter in space(setting).parameters.items():
        if isinstance(parameter, Choice):
            # One value is a constant; true and false travel as words, since the script's arguments are text.
            values = [json.dumps(value) for value in parameter.values]
            drawn[name] = choice(values) if len(values) > 1 else values[0]
        elif isinstance(parameter, Float):
            drawn[name] = (loguniform if parameter.log else uniform)(parameter.low, parameter.high)
        else:
            drawn[name] = (lograndint if parameter.log else randint)(parameter.low, parameter.high)
    return drawn


def run(setting: Setting) -> Measured:
    os.environ["SYNETUNE_FOLDER"] = str(Path(setting.folder) / "syne-tune")
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.optimizer.baselines import ASHA, RandomSearch
    from syne_tune.tuner_callback import TunerCallback

    measured = Measured()

    class Meter(TunerCallback):  # type: ignore[misc]  # not installed where types are checked
        """Notes what reaches Syne Tune's loop."""

        def on_trial_result(self, trial: Any, status: str, result: dict[str, Any], decision: str) -> None:
            measured.epoch(result["seconds"])
            if decision == "STOP":
                measured.end("stopped")

        def on_trial_complete(self, trial: Any, result: dict[str, Any]) -> None:
            measured.end("completed")

    told = {**domains(setting), "setting": str(Path(setting.folder) / "setting.json")}
    if setting.halving:
        scheduler = ASHA(
            told,
            metric=METRIC,
            time_attr="epoch",
            max_t=setting.max_epochs,
            grace_period=setting.min_epochs,
            reduction_factor=setting.reduction_factor,
            random_seed=setting.seed,
        )
    else:
        scheduler = RandomSearch(told, metrics=[METRIC], random_seed=setting.seed)
    Tuner(
        trial_backend=LocalBackend(entry_point=__file__),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_num_trials_started=setting.trials),
        wait_trial_completion_when_stopping=True,
        n_workers=setting.workers,
        callbacks=[Meter()],
    ).run()
    measured.processes = len(measured.ends)
    return measured


def trial() -> None:
    """The script of one trial: hyperparameters are its arguments."""
    from argparse import ArgumentParser

    import torch
    from syne_tune import Reporter

    from orchestrator.space import is_active
    from orchestrator.training.divergence import Diverged
    from orchestrator.training.fit import fit

    parser = ArgumentParser()
    parser.add_argument("--setting")
    arguments, rest = parser.parse_known_args()
    setting = Setting(**json.loads(Path(arguments.setting).read_text(encoding="utf-8")))
    chosen = space(setting).parameters
    for name in chosen:
        parser.add_argument(f"--{name}", type=json.loads)
    config: dict[str, Any] = {}
    given = vars(parser.parse_known_args(rest)[0])
    for name, parameter in chosen.items():
        if is_active(parameter, config):
            config[name] = given[name]
    report = Reporter()
    torch.set_num_threads(1)
    try:
        for row in fit(setting.job(config), setting.data()):
            report(**{"epoch": row["epoch"], "seconds": row["seconds"], METRIC: row[METRIC]})
    except Diverged:
        report(**{"epoch": setting.max_epochs, "seconds": 0.0, METRIC: sys.float_info.max})


if __name__ == "__main__":
    # The tuner starts this file anew for each trial.
    if "--setting" in sys.argv:
        trial()
    else:
        main(run)
