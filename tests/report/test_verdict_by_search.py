"""Two copies of one family under different names, searched by the project's own engine: who wins is luck.

In simulated searches, on a made-up objective and on recorded learning curves, and once with real training. The
families have names that no model has, so a loop stands for the workers here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import history as histories
from orchestrator import records
from orchestrator.engine import Engine
from orchestrator.history import History
from orchestrator.journal import Event
from orchestrator.records import Cell, Trial
from orchestrator.report import frames, verdict
from orchestrator.space import Float, Space
from orchestrator.spec import Sweep
from orchestrator.training.divergence import Diverged

ROOT = Path(__file__).parents[2]
FAMILIES = ("one", "other")
# Larger ones are better, by as much as these say; a sweep of one size has the last.
SIZES = {"s": -0.02, "l": -0.01, "m": 0.0}
REPEATS = 200

# A worker: a trial and the epochs it may train for; yields its rows, returns its test metrics.
Train = Callable[[Trial], Iterator[dict[str, Any]]]


class Clock:
    """Stands in for the journal's writer: keeps nothing, counts seconds."""

    now = 0.0

    def append(self, *events: Any) -> float:
        self.now += 1
        return self.now


def searched(
    sweep: Sweep, space: Space, direction: str, train: Train, test: Callable[[Trial], float], sizes: int = 1
) -> History:
    """A whole sweep of both families, one worker, to the end."""
    cells = [Cell(name, size, 1.0, 1000, 6000, 100) for name in FAMILIES for size in list(SIZES)[-sizes:]]
    history = History()
    planned = {
        "name": sweep.name,
        "spec": sweep.model_dump(),
        "direction": direction,
        "cells": [asdict(cell) for cell in cells],
    }
    history.apply(Event(0, "planned", "planned", None, 0.0, planned))
    engine = Engine(sweep, cells, dict.fromkeys(FAMILIES, space), Clock(), history)  # type: ignore[arg-type]
    while not engine.finished:
        trial = engine.next()
        assert trial is not None
        engine.started(trial.id, "worker")
        status = work(engine, trial, train)
        final = status == records.COMPLETE and trial.kind == records.FINAL
        engine.end(
            trial.id, status, test={sweep.metric.replace("validation_", "test_", 1): test(trial)} if final else {}
        )
    return history


def work(engine: Engine, trial: Trial, train: Train) -> str:
    """Train until told to stop; rows are sent at the rungs and at the end, as a worker does."""
    rungs, rows = engine.rungs_ahead(trial.id), []
    try:
        for one in train(trial):
            rows.append(one)
            if one["epoch"] in rungs:
                if engine.report(trial.id, rows):
                    return records.PRUNED
                rows = []
    except Diverged:
        return records.DIVERGED
    if rows:
        engine.report(trial.id, rows)
    return records.COMPLETE


def judged(history: History, monkeypatch: pytest.MonkeyPatch) -> verdict.Verdict:
    told = histories.header(history) | {"card": {"fingerprint": "made up"}}, histories.tables(history)
    monkeypatch.setattr(frames, "read_run", lambda folder: told)
    return verdict.judge(frames.read([Path("made-up")]), 0.95)


def specified(seed: int, sampler: str, stopping: str, **changes: Any) -> Sweep:
    return Sweep.model_validate(
        {
            "name": "twins",
            "data": "digits",
            "families": list(FAMILIES),
            "metric": "validation_accuracy",
            "trials": 20,
            "finalists": 3,
            "max_epochs": 9,
            "seed": seed,
            "sampler": {"name": sampler},
            "early_stopping": {"name": stopping, "min_epochs": 1, "reduction_factor": 3.0},
            **changes,
        }
    )


def row(epoch: int, metric: str, value: float) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "train_loss": 1 - value,
        "validation_loss": 1 - value,
        metric: value,
        "learning_rate": 0.1,
        "seconds": 1.0,
        "samples_per_second": 100.0,
        "flops": epoch * 600_000,
        "samples": epoch * 100,
        "gradient_norm": 1.0,
    }


class MadeUp:
    """Accuracy falls with the squared distance from a best point of four hyperparameters; seeds make noise."""

    space = Space("twin", {f"x{place}": Float(0.0, 1.0) for place in range(4)})
    metric, epochs, noise = "validation_accuracy", 9, 0.01

    def values(self, config: dict[str, Any]) -> np.ndarray:
        """Noise-free accuracy after each epoch [epochs]."""
        away = sum((config[f"x{place}"] - 0.4) ** 2 for place in range(4))
        return 0.95 - 0.3 * away - 0.3 / np.arange(1, self.epochs + 1)


class Recorded:
    """Learning curves of LCBench, through benchmarks/search.py; one data set a repeat in turn."""

    def __init__(self) -> None:
        pytest.importorskip("onnxruntime")
        spec = importlib.util.spec_from_file_location("search_benchmark", ROOT / "benchmarks" / "search.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        # Its dataclasses look their module up.
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        place = Path(os.environ.get("ORCHESTRATOR_SEARCH_TABLES") or ROOT.parent / "shared" / "search")
        if not (place / "lcbench.onnx").is_file():
            pytest.skip("no recorded learning curves")
        names = list(json.loads((place / "lcbench.json").read_text())["score_on"])
        module.Surrogate._median_of_random = lambda self: 0.0  # not needed here, and slow
        self.surrogates = [module.Surrogate(place, name) for name in names]
        self.space, self.noise, self.place = module.SPACE, module.NOISE, 0
        self.metric, self.epochs = "validation_accuracy", 27

    def values(self, config: dict[str, Any]) -> np.ndarray:
        values: np.ndarray = self.surrogates[self.place % len(self.surrogates)].curve(config, 0, self.epochs)[0]
        return values


def false_winners(
    objective: MadeUp | Recorded,
    sampler: str,
    stopping: str,
    finalists: int,
    monkeypatch: pytest.MonkeyPatch,
    sizes: int = 1,
    ahead: float = 0.0,
) -> float:
    """Share of the repeats in which one of the twins wins; `ahead` makes them unequal, and winners true."""

    def values(trial: Trial) -> np.ndarray:
        family, size, _ = trial.cell.split("-")
        return objective.values(trial.config) + SIZES[size] + ahead * (family == FAMILIES[0])

    def noisy(trial: Trial, salt: int) -> np.random.Generator:
        return np.random.default_rng([trial.seed, salt])

    def train(trial: Trial) -> Iterator[dict[str, Any]]:
        # A run is good or bad as a whole, and wavers a little from epoch to epoch.
        random = noisy(trial, 0)
        whole, wavering = random.normal(0, objective.noise), random.normal(0, objective.noise / 3, objective.epochs)
        for epoch, value in enumerate(values(trial) + whole + wavering, start=1):
            yield row(epoch, objective.metric, float(value))

    def test(trial: Trial) -> float:
        return float(values(trial).max() + noisy(trial, 1).normal(0, objective.noise))

    wrong = 0
    for repeat in range(REPEATS):
        if isinstance(objective, Recorded):
            objective.place = repeat
        sweep = specified(repeat, sampler, stopping, finalists=finalists, max_epochs=objective.epochs)
        history = searched(sweep, objective.space, "max", train, test, sizes)
        wrong += judged(history, monkeypatch).winner is not None
    return wrong / REPEATS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "stopping", "finalists"),
    [("random", "none", 8), ("random", "halving", 3), ("parzen", "halving", 8), ("tpe", "none", 3)],
)
def test_twins_on_a_made_up_objective(
    sampler: str, stopping: str, finalists: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert false_winners(MadeUp(), sampler, stopping, finalists, monkeypatch) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "stopping"), [("random", "none"), ("parzen", "halving")])
def test_twins_on_recorded_learning_curves(sampler: str, stopping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert false_winners(Recorded(), sampler, stopping, 8, monkeypatch) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "stopping"), [("random", "none"), ("parzen", "halving")])
@pytest.mark.parametrize("objective", [MadeUp, Recorded])
def test_twins_of_three_sizes(
    objective: type[MadeUp | Recorded], sampler: str, stopping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The luck of a cell is told by the searches of all sizes, and must not be told too small."""
    assert false_winners(objective(), sampler, stopping, 3, monkeypatch, sizes=3) <= 0.05


@pytest.mark.slow
def test_twins_that_are_really_trained(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are the smallest multilayer perceptron on handwritten digits, searched and trained as any family is."""
    from orchestrator import space
    from orchestrator.data import CATALOG
    from orchestrator.data.load import load
    from orchestrator.data.prepare import prepare
    from orchestrator.training.fit import Job, fit

    data = load(prepare(CATALOG["digits"], data_root))
    mlp = space.load(ROOT / "search_spaces" / "mlp.yaml")
    tested: dict[str, float] = {}

    def train(trial: Trial) -> Iterator[dict[str, Any]]:
        final = trial.kind == records.FINAL
        job = Job(
            family="mlp",
            size="xs",
            config=trial.config,
            seed=trial.seed,
            max_epochs=5,
            metric="validation_loss",
            direction="min",
            patience=None,
            test=final,
        )
        outcome = yield from fit(job, data)
        if final:
            tested[trial.id] = outcome.test["test_loss"]

    sweep = specified(0, "random", "none", metric="validation_loss", trials=8, max_epochs=5)
    history = searched(sweep, mlp.given(task="classification"), "min", train, lambda trial: tested[trial.id])
    found = judged(history, monkeypatch)
    assert len(found.standings) == 2 and all(len(one.values) == 3 for one in found.standings)
    assert found.answer in (verdict.UNSETTLED, verdict.EQUAL)
