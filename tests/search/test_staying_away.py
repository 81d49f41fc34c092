"""A search learns where trials diverge: through the engine, on a made-up loss whose best lies beside the danger."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from made_up import opened, spec

from orchestrator import history, records
from orchestrator.engine import Engine
from orchestrator.records import Cell, Trial
from orchestrator.search import study as studies
from orchestrator.space import Choice, Float, Int, Space

MODELS = ("tpe", "parzen", "gp", "cmaes")
CELL = Cell("mlp", "s", 1.0, 1000, 6000, 100)
SPACE = Space(
    "mlp",
    {
        "learning_rate": Float(1e-4, 1.0, log=True),
        "units": Int(1, 100, log=True),
        "optimizer": Choice(("sgd", "adam")),
        "momentum": Float(0.0, 0.9, when=(("optimizer", ("sgd",)),)),
        "dropout": Float(0.0, 0.5),
    },
)
EPOCHS = 4


def loss(config: dict[str, Any], epoch: int) -> float:
    """From the second epoch on nan in the upper two fifths of the learning rates; the best ones are just below.

    In the first epoch a larger rate is better: what diverges passes the first rung.
    """
    place = (math.log10(config["learning_rate"]) + 4) / 4
    if place > 0.6 and epoch > 1:
        return math.nan
    slower = 0.5 * abs(math.log10(config["units"]) - 1) + 0.2 * config["dropout"] + 0.1 * (config["optimizer"] == "sgd")
    return 2 * abs(place - (0.6 if epoch > 1 else 1.0)) + slower + 1 / epoch


def row(trial: Trial, epoch: int) -> dict[str, Any]:
    value = loss(trial.config, epoch)
    return {"epoch": epoch, "train_loss": value, "validation_loss": value, "flops": 600_000 * epoch, "seconds": 0.1}


def train(engine: Engine, trial: Trial) -> None:
    engine.started(trial.id, "worker")
    for epoch in range(1, EPOCHS + 1):
        if math.isnan(loss(trial.config, epoch)):
            engine.end(trial.id, records.DIVERGED, f"nan in epoch {epoch}")
            return
        if engine.report(trial.id, [row(trial, epoch)]):
            engine.end(trial.id, records.PRUNED)
            return
    engine.end(trial.id, records.COMPLETE)


def diverged(run_dir: Path, sampler: str, rule: str, seed: int) -> list[bool]:
    """Which of 90 trials diverged, in the order in which they were asked."""
    changes = {
        "sampler": {"name": sampler, "startup_trials": 10},
        "early_stopping": {"name": rule, "min_epochs": 1, "reduction_factor": 3.0},
    }
    sweep = spec(trials=90, finalists=0, max_epochs=EPOCHS, seed=seed, **changes)
    writer = opened(run_dir)
    content = {"name": "x", "spec": sweep.model_dump(), "direction": "min", "cells": [vars(CELL)], "fingerprint": "x"}
    writer.append(("planned", "planned", None, content))
    writer.append(("session/1", "session", None, {"workers": 1}))
    engine = Engine(sweep, [CELL], {"mlp": SPACE}, writer, history.of(run_dir))
    while (trial := engine.next()) is not None:
        train(engine, trial)
    writer.close()
    return [one.status == records.DIVERGED for one in engine.history.trials.values()]


def thirds(tmp_path: Path, sampler: str, rule: str) -> tuple[int, int]:
    """How many of the first and of the last third diverged, over three seeds."""
    first = last = 0
    for seed in range(3):
        fate = diverged(tmp_path / f"{seed}", sampler, rule, seed)
        assert len(fate) == 90
        first, last = first + sum(fate[:30]), last + sum(fate[60:])
    return first, last


@pytest.mark.parametrize("rule", ["none", "halving"])
@pytest.mark.parametrize("sampler", MODELS)
def test_the_last_third_of_a_search_diverges_less_than_half_as_often_as_the_first(
    tmp_path: Path, sampler: str, rule: str
) -> None:
    first, last = thirds(tmp_path, sampler, rule)
    assert first >= 6 and last < first / 2, f"{first} of the first 90 trials diverged, {last} of the last"


def test_a_search_that_is_not_told_of_divergence_does_not_learn_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the test above would prove nothing.
    tell = studies.Study.tell

    def forgetful(one: studies.Study, number: int, status: str, value: float | None) -> None:
        tell(one, number, records.FAILED if status == records.DIVERGED else status, value)

    monkeypatch.setattr(studies.Study, "tell", forgetful)
    first, last = thirds(tmp_path, "parzen", "none")
    assert last >= first / 2
