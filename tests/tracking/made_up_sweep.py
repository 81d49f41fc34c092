"""A sweep without Ray or training: the real engine, driven by a plain loop with made-up epochs."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import history, journal, records
from orchestrator.engine import Engine
from orchestrator.records import Cell, Trial
from orchestrator.space import Choice, Float, Space
from orchestrator.spec import Sweep

CARD = {
    "name": "digits",
    "task": "classification",
    "input_shape": [1, 8, 8],
    "outputs": 10,
    "classes": [str(digit) for digit in range(10)],
    "sizes": {"train": 1000, "validation": 300, "test": 300},
    "licence": "CC BY 4.0",
    "source": {"digits.csv": "0" * 64},
    "fingerprint": "f" * 64,
    "normalization": {"mean": [0.5], "scale": [0.3]},
}
SPACE = Space("mlp", {"learning_rate": Float(1e-4, 1e-1, log=True), "activation": Choice(("relu", "tanh"))})
COLUMNS = 8  # numeric columns of a report, without the epoch


def row(trial: Trial, epoch: int) -> dict[str, Any]:
    """One epoch of a made-up training: better with a larger learning rate, and numbered by the trial's seed."""
    loss = 2.0 / epoch / (1 + 100 * trial.config["learning_rate"]) + trial.seed / 2**40
    return {
        "epoch": epoch,
        "train_loss": loss,
        "validation_loss": loss * 1.1,
        "validation_accuracy": 1 - loss / 3,
        "learning_rate": trial.config["learning_rate"],
        "seconds": 0.01,
        "flops": 1000 * epoch,
        "samples": 100 * epoch,
        # The first epoch's norm was never measured.
        "gradient_norm": math.nan if epoch == 1 else 1.0,
    }


@dataclass
class MadeUpSweep:
    """Writes a journal as a driver would. `trials` search trials a cell, two cells; one finalist each."""

    run_dir: Path
    trials: int = 6
    max_epochs: int = 5
    diverged: tuple[str, ...] = ()
    tracking: bool = True
    spec: Sweep = field(init=False)

    def __post_init__(self) -> None:
        self.spec = Sweep(
            name=self.run_dir.name,
            data="digits",
            families=["mlp"],
            sizes=["xs", "s"],
            trials=self.trials,
            finalists=1,
            max_epochs=self.max_epochs,
            tracking=self.tracking,
        )
        self.cells = [Cell("mlp", size, 1.0, 1000, 6000, 1000) for size in ("xs", "s")]
        self.writer = journal.Writer(self.run_dir)
        plan = {
            "id": uuid.uuid4().hex,
            "spec": self.spec.model_dump(),
            "spaces": {"mlp": SPACE.as_dict()},
            "direction": "min",
            "cells": [asdict(cell) for cell in self.cells],
            "card": CARD,
            "lineage": {"git": {"commit": "c" * 40, "branch": "main", "dirty": False}, "command": "orchestrate sweep"},
        }
        self.writer.append(("planned", "planned", None, plan))

    def begin(self) -> None:
        self.session = len(history.of(self.run_dir).sessions) + 1
        self.writer.append((f"session/{self.session}", "session", None, {"pid": os.getpid()}))
        past = history.of(self.run_dir)
        self.engine = Engine(self.spec, self.cells, {"mlp": SPACE}, self.writer, past)

    def steps(self) -> Iterator[str]:
        """Run trial after trial, each to its end; yields after every event that a reader could see."""
        while (trial := self.engine.next()) is not None:
            self.engine.started(trial.id, "worker-1")
            yield trial.id
            stopped = False
            first = len(self.engine.history.trials[trial.id].reports) + 1
            for epoch in range(first, self.max_epochs + 1):
                if trial.id in self.diverged and epoch == 3:
                    break
                stopped = self.engine.report(trial.id, [row(trial, epoch)])
                yield trial.id
                if stopped:
                    break
            if trial.id in self.diverged:
                self.engine.end(trial.id, records.DIVERGED, "loss is NaN at epoch 3")
            elif stopped:
                self.engine.end(trial.id, records.PRUNED)
            else:
                final = trial.kind == records.FINAL
                self.engine.end(trial.id, records.COMPLETE, test={"test_accuracy": 0.9} if final else None)
            yield trial.id

    def close(self, state: str = "finished") -> None:
        self.writer.append((f"closed/{self.session}", "closed", None, {"state": state}))

    def leave(self) -> None:
        """As the end of the driver's process: the lock is free."""
        self.writer.close()

    def run(self) -> None:
        self.begin()
        for _ in self.steps():
            pass
        self.close()
        self.leave()
