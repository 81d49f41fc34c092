"""Runs as tables, from a journal as the engine writes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import journal
from orchestrator.errors import UserError
from orchestrator.report import frames, render

SPEC = {
    "name": "small",
    "data": "digits",
    "metric": "validation_accuracy",
    "families": ["mlp"],
    "sizes": ["s", "xs"],
    "data_fractions": [1.0],
    "trials": 2,
    "finalists": 2,
    "max_epochs": 2,
    "sampler": {"name": "random"},
    "early_stopping": {"name": "none"},
}
CARD = {
    "name": "digits",
    "task": "classification",
    "input_shape": [1, 8, 8],
    "outputs": 10,
    "classes": ["0", "1"],
    "sizes": {"train": 80, "validation": 10, "test": 10},
    "licence": "CC BY 4.0",
    "source": {},
    "fingerprint": "ab" * 32,
    "normalization": {},
}


def write_journal(run_dir: Path) -> None:
    """Two cells; in each one search trial ends, one diverges, and two finalists are tested."""
    writer = journal.Writer(run_dir)
    cells = [
        {
            "family": "mlp",
            "size": size,
            "data_fraction": 1.0,
            "params": params,
            "flops": 6 * params,
            "train_samples": 80,
        }
        for size, params in (("s", 4000), ("xs", 1000))
    ]
    space = {"learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "log": True}}
    plan = {
        "name": "small",
        "fingerprint": "f",
        "spec": SPEC,
        "spaces": {"mlp": space},
        "direction": "max",
        "cells": cells,
        "card": CARD,
        "lineage": {},
    }
    writer.append(("planned", "planned", None, plan))
    writer.append(("session/1", "session", None, {"pid": 1, "host": "h", "workers": 2, "cpus": 1, "gpus": 0}))
    for size in ("s", "xs"):
        for place, (kind, end) in enumerate(
            [("search", "complete"), ("search", "diverged"), *[("final", "complete")] * 2]
        ):
            name = f"mlp-{size}-1-{kind[0]}{place:03d}"
            trial = {
                "id": name,
                "cell": f"mlp-{size}-1",
                "kind": kind,
                "number": place,
                "seed": place,
                # A finalist repeats the best of the search.
                "config": {"learning_rate": 0.01 * (1 + place * (kind == "search")), "optimizer": "sgd"},
            }
            writer.append((f"asked/{name}", "asked", name, trial))
            writer.append((f"started/{name}/1", "started", name, {"worker": "w"}))
            for epoch in (1, 2):
                loss = math.nan if end == "diverged" else 1.0 / epoch + 0.01 * place
                row = {
                    "epoch": epoch,
                    "train_loss": loss,
                    "validation_loss": loss,
                    "validation_accuracy": 1 - loss / 4,
                    "learning_rate": 0.01,
                    "seconds": 0.5,
                    "samples_per_second": 160.0,
                    "flops": 480_000 * epoch,
                    "samples": 80 * epoch,
                    "gradient_norm": 1.0,
                }
                writer.append((f"reported/{name}/{epoch}", "reported", name, row))
            test = {"test_loss": 0.6 + 0.01 * place, "test_accuracy": 0.8 + 0.01 * place} if kind == "final" else {}
            writer.append((f"ended/{name}", "ended", name, {"status": end, "reason": "", "test": test}))
    writer.append(("closed/1", "closed", None, {"state": "finished"}))
    writer.close()


def test_a_journal_becomes_tables_with_the_numbers_that_it_holds(tmp_path: Path) -> None:
    write_journal(tmp_path / "small")
    read = frames.read([tmp_path / "small"])
    assert (read.metric, read.direction, read.families, read.sizes) == ("accuracy", "max", ("mlp",), ("xs", "s"))
    assert read.hyperparameters == ("learning_rate",)
    assert read.is_log("learning_rate")
    assert len(read.trials) == 8 and len(read.finals) == 4 and len(read.reports) == 16
    assert sorted(read.finals["test_accuracy"].round(4)) == [0.82, 0.82, 0.83, 0.83]


def test_a_journal_becomes_a_page(tmp_path: Path) -> None:
    write_journal(tmp_path / "runs" / "small")
    spec = tmp_path / "small.yaml"
    spec.write_text("sweeps: [small]\n", encoding="utf-8")
    page = render.build(spec, tmp_path / "runs").read_text(encoding="utf-8")
    assert "mean test accuracy is 0.8250 over 2 seeds" in page
    assert 'id="trial-mlp-s-1-f003"' in page


def test_sweeps_on_other_data_are_not_mixed(made_up: Callable[..., Path], recipe: Any, monkeypatch: Any) -> None:
    path = made_up("sweeps: [demo, other]\n", recipe(), recipe(name="other"))
    runs = path.parents[1] / "runs"
    first = frames.read_run

    def with_other_data(folder: Path) -> Any:
        header, tables = first(folder)
        return {**header, "card": {**header["card"], "fingerprint": folder.name}}, tables

    monkeypatch.setattr(frames, "read_run", with_other_data)
    with pytest.raises(UserError, match="its data are not those of"):
        frames.read([runs / "demo", runs / "other"])


def test_images_held_against_two_judges_are_not_compared(
    made_up: Callable[..., Path], recipe: Any, monkeypatch: Any
) -> None:
    path = made_up("sweeps: [demo, other]\n", recipe(), recipe(name="other", seed=2))
    both = [path.parents[1] / "runs" / name for name in ("demo", "other")]
    first, judges = frames.read_run, {"demo": "a", "other": "a"}
    monkeypatch.setattr(frames, "read_run", lambda run: ({**first(run)[0], "judge": judges[run.name]}, first(run)[1]))
    frames.read(both)
    judges["other"] = "b"
    with pytest.raises(UserError, match="against another judge than those of"):
        frames.read(both)


def test_ids_of_several_sweeps_do_not_collide(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo, other]\n", recipe(), recipe(name="other", seed=2))
    read = frames.read([path.parents[1] / "runs" / name for name in ("demo", "other")])
    assert read.trials["trial"].is_unique and read.cells["cell"].is_unique
    assert set(read.cells["best_trial"].dropna()) <= set(read.trials["trial"])
    assert set(read.reports["trial"]) <= set(read.trials["trial"])


def test_a_sweep_without_trials_is_refused(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=0, finals=0))
    with pytest.raises(UserError, match="has no trials yet"):
        frames.read([path.parents[1] / "runs" / "demo"])
