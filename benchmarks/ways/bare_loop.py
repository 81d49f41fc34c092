"""A bare loop: exactly the trials that a run of this project trained, each for as many epochs, one after another in
one process on one thread. Nothing is suggested, decided or kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from orchestrator import history, records
from orchestrator.history import TrialHistory
from orchestrator.training.divergence import Diverged
from orchestrator.training.fit import fit
from ways.setting import METRIC, Measured, Setting, main


def run(setting: Setting) -> Measured:
    return train(setting, trials(setting))


def trials(setting: Setting) -> list[TrialHistory]:
    """The first of those that this project ran."""
    return list(history.of(Path(setting.replay)).trials.values())[: setting.trials]


def train(setting: Setting, chosen: Sequence[TrialHistory]) -> Measured:
    torch.set_num_threads(1)
    data = setting.data()
    measured = Measured()
    same = 0
    for trial in chosen:
        # One that was not stopped from outside goes to its own end, whatever that is.
        epochs = len(trial.reports) if trial.status == records.PRUNED else None
        with contextlib.suppress(Diverged):
            for row in islice(fit(setting.job(trial.trial.config, trial.trial.seed), data), epochs):
                measured.epoch(row["seconds"])
                before = trial.reports[row["epoch"] - 1]
                same += all(row[key] == before[key] for key in ("train_loss", METRIC))
        measured.end(trial.status)
    measured.same_epochs = same
    return measured


if __name__ == "__main__":
    main(run)
