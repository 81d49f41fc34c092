"""A bare loop: exactly the trials that a run of this project trained, each for as many epochs, one after another in
one process on one thread. Nothing is suggested, decided or kept.
"""

from __future__ import annotations

import contextlib
from itertools import islice
from pathlib import Path

import torch

from orchestrator import history, records
from orchestrator.data.load import load
from orchestrator.training.divergence import Diverged
from orchestrator.training.fit import fit
from ways.setting import METRIC, Measured, Setting, main


def run(setting: Setting) -> Measured:
    torch.set_num_threads(1)
    told = history.of(Path(setting.replay))
    data = load(setting.data)
    measured = Measured(same_epochs=0)
    same = 0
    for trial in told.trials.values():
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
