"""Optuna alone: `study.optimize` in one process, in memory, its default sampler, its successive-halving pruner."""

from __future__ import annotations

import optuna
import torch

from orchestrator.data.load import load
from orchestrator.training.divergence import Diverged
from orchestrator.training.fit import fit
from ways.setting import DIRECTION, METRIC, Measured, Setting, draw, main, space


def run(setting: Setting) -> Measured:
    torch.set_num_threads(1)
    measured, chosen, data = Measured(), space(setting), load(setting.data)

    def objective(trial: optuna.Trial) -> float:
        best = float("inf")
        try:
            for row in fit(setting.job(draw(trial, chosen)), data):
                measured.epoch(row["seconds"])
                trial.report(row[METRIC], row["epoch"])
                best = min(best, row[METRIC])
                if trial.should_prune():
                    raise optuna.TrialPruned
        except Diverged:
            raise optuna.TrialPruned from None
        return best

    study = optuna.create_study(
        direction="minimize" if DIRECTION == "min" else "maximize",
        sampler=optuna.samplers.TPESampler(seed=setting.seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=setting.min_epochs, reduction_factor=setting.reduction_factor
        ),
    )
    study.optimize(
        objective,
        n_trials=setting.trials,
        callbacks=[lambda _, trial: measured.end(trial.state.name.lower())],
    )
    return measured


if __name__ == "__main__":
    main(run)
