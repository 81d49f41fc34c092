"""A sweep without training: a plain loop stands for Ray's workers, a formula for the epochs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator import history, journal, records
from orchestrator.engine import Engine
from orchestrator.journal import Event, Writer
from orchestrator.records import Cell, Trial
from orchestrator.space import Choice, Float, Int, Space
from orchestrator.spec import Sweep

CELLS = (Cell("mlp", "s", 0.25, 1000, 6000, 100), Cell("mlp", "m", 1.0, 2000, 12000, 400))
OWN_PARAMS = 1234  # of every trial, whatever its cell
FLOPS_AN_EPOCH = {cell.id: cell.flops * cell.train_samples for cell in CELLS}
SPACE = Space(
    "mlp",
    {
        "learning_rate": Float(1e-4, 1.0, log=True),
        "batch_size": Int(16, 64, step=16),
        "optimizer": Choice(("sgd", "adam")),
        "momentum": Float(0.0, 0.9, when=(("optimizer", ("sgd",)),)),
    },
)


def spec(**changes: Any) -> Sweep:
    return Sweep.model_validate(
        {
            "name": "made-up",
            "data": "digits",
            "families": ["mlp"],
            "trials": 5,
            "finalists": 2,
            "max_epochs": 8,
            "sampler": {"name": "tpe", "startup_trials": 2},
            "early_stopping": {"name": "halving", "min_epochs": 1, "reduction_factor": 2.0},
            **changes,
        }
    )


def planned(sweep: Sweep, direction: str = "min") -> dict[str, Any]:
    """What the journal's first event says."""
    return {
        "name": sweep.name,
        "spec": sweep.model_dump(),
        "direction": direction,
        "cells": [asdict(cell) for cell in CELLS],
        "fingerprint": "made up",
    }


def opened(run_dir: Path, kind: Any = Writer) -> Any:
    """A writer that does not wait for the disk: the kills of these tests are of processes, not of machines."""
    writer = kind(run_dir)
    writer._connection.execute("PRAGMA synchronous=OFF")
    return writer


def begin(writer: Writer, run_dir: Path, sweep: Sweep, direction: str = "min", space: Space = SPACE) -> Engine:
    """A session of the sweep, new or gone on with, as `sweep.run` opens it."""
    writer.append(("planned", "planned", None, planned(sweep, direction)))
    session = len(history.of(run_dir).sessions) + 1
    writer.append((f"session/{session}", "session", None, {"workers": 1}))
    return Engine(sweep, CELLS, {"mlp": space}, writer, history.of(run_dir))


def row(trial: Trial, epoch: int) -> dict[str, Any]:
    """One epoch; nan from the second on where the momentum is high."""
    rate, noise = trial.config["learning_rate"], random.Random(trial.seed + epoch).random()
    loss = abs(math.log10(rate) + 2) + 0.1 * noise + 2 / epoch
    loss = math.nan if trial.config.get("momentum", 0) > 0.6 and epoch >= 2 else loss
    return {
        "epoch": epoch,
        "train_loss": loss,
        "validation_loss": loss,
        # Coarse, as on few validation rows: equal values are common.
        "validation_accuracy": round(1 / (1 + loss), 1),
        "learning_rate": rate,
        "seconds": 0.1,
        "samples_per_second": 1000.0,
        "flops": epoch * FLOPS_AN_EPOCH[trial.cell],
        "samples": epoch * 100,
        "own_params": OWN_PARAMS,
        "gradient_norm": 1.0,
    }


def work(engine: Engine, trial: Trial, max_epochs: int, message: int = 3) -> Iterator[None]:
    """A worker with one trial; it yields between its calls of the engine.

    As `fit` does from a checkpoint, it sends every epoch from the first again, `message` rows at a time at most.
    """
    engine.started(trial.id, "worker")
    rungs, rows = engine.rungs_ahead(trial.id), []
    yield
    for epoch in range(1, max_epochs + 1):
        rows.append(row(trial, epoch))
        if math.isnan(rows[-1]["train_loss"]):
            engine.report(trial.id, rows[:-1])
            engine.end(trial.id, records.DIVERGED, f"nan in epoch {epoch}")
            return
        if epoch in rungs or len(rows) == message or epoch == max_epochs:
            stop = engine.report(trial.id, rows)
            rows = []
            yield
            if stop:
                engine.end(trial.id, records.PRUNED)
                return
    test = {"test_loss": row(trial, max_epochs)["validation_loss"]} if trial.kind == records.FINAL else {}
    engine.end(trial.id, records.COMPLETE, test=test)


def run(engine: Engine) -> None:
    """One worker, to the end."""
    while not engine.finished:
        trial = engine.next()
        if engine.finished:
            return  # the budget did not allow another one
        assert trial is not None, "nothing runs, nothing is to be run, and the engine has not finished: a deadlock"
        for _ in work(engine, trial, engine.spec.max_epochs):
            pass


def finished_run(run_dir: Path, sweep: Sweep | None = None, direction: str = "min") -> Path:
    """A folder with the journal of a whole sweep."""
    writer = opened(run_dir)
    run(begin(writer, run_dir, sweep or spec(), direction))
    writer.append(("closed/1", "closed", None, {"state": "finished"}))
    writer.close()
    return run_dir


def copied(events: list[Event], run_dir: Path) -> Path:
    """A new run folder whose journal holds just `events`."""
    writer = opened(run_dir)
    writer.append(*((event.key, event.kind, event.trial, event.content) for event in events))
    writer.close()
    return run_dir


def outcome(run_dir: Path) -> dict[str, Any]:
    """All of a sweep that must not depend on interruptions: no times, no attempts."""
    told = {}
    for name, one in history.fold(journal.events(run_dir)).trials.items():
        told[name] = (one.trial, one.status, one.reason, one.reports, one.best_epoch, one.value, one.test)
    return told
