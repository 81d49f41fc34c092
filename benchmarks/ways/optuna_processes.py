"""Optuna in as many processes as there are workers, on one study in a journal file.

optuna.readthedocs.io/en/stable/tutorial/10_key_features/004_distributed.html    the same script, n times
optuna.readthedocs.io/en/stable/reference/generated/optuna.storages.JournalStorage.html    one host: a journal file
"""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState

from ways import optuna_alone
from ways.setting import DIRECTION, Measured, Setting, main, side_by_side

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def one_process(setting: Setting, number: int) -> Measured:
    measured = Measured()
    study = optuna.create_study(
        study_name="overhead",
        storage=JournalStorage(JournalFileBackend(str(Path(setting.folder) / "journal.log"))),
        load_if_exists=True,
        direction="minimize" if DIRECTION == "min" else "maximize",
        # One seed in all processes would have them all suggest the same.
        sampler=optuna.samplers.TPESampler(seed=setting.seed * 1000 + number),
        pruner=optuna_alone.pruner(setting),
    )
    study.optimize(
        optuna_alone.objective(setting, measured),
        callbacks=[
            lambda _, trial: measured.end(trial.state.name.lower()),
            MaxTrialsCallback(setting.trials, states=ENDED),
        ],
    )
    return measured


def run(setting: Setting) -> Measured:
    return side_by_side(one_process, setting)


if __name__ == "__main__":
    main(run)
