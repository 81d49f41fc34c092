"""Optuna alone: `study.optimize` in one process, in memory, its default sampler, its successive-halving pruner."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import torch

from orchestrator.training.divergence import Diverged
from orchestrator.training.fit import fit
from ways.setting import DIRECTION, METRIC, Measured, Setting, draw, main, space


def run(setting: Setting) -> Measured:
    measured = Measured()
    study = optuna.create_study(
        direction="minimize" if DIRECTION == "min" else "maximize",
        sampler=optuna.samplers.TPESampler(seed=setting.seed),
        pruner=pruner(setting),
    )
    study.optimize(
        objective(setting, measured),
        n_trials=setting.trials,
        callbacks=[lambda _, trial: measured.end(trial.state.name.lower())],
    )
    return measured


def pruner(setting: Setting) -> optuna.pruners.BasePruner:
    if not setting.halving:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=setting.min_epochs, reduction_factor=setting.reduction_factor
    )


def objective(setting: Setting, measured: Measured) -> Callable[[optuna.Trial], float]:
    torch.set_num_threads(1)
    chosen, data = space(setting), setting.data()

    def train(trial: optuna.Trial) -> float:
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

    return train


if __name__ == "__main__":
    main(run)
