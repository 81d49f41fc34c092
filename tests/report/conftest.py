"""A made-up sweep with known properties, so that the report can be tested without training anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.records import FINAL, PREDICTED, SAMPLED, SEARCH, SIZES, trial_id

TRAIN_ROWS = 1149
# parameters at "xs", floor of the loss, strength of the size term
NETWORKS = {"perceptron": (650, 0.16, 1.2), "mlp": (2_600, 0.06, 3.0), "lenet": (4_100, 0.03, 3.4)}
DEFAULT = (3_000, 0.05, 3.0)


@dataclass(frozen=True)
class Recipe:
    """What to make up. `floors` overrides the floor of a family's loss; `seed_noise` is the spread of the finals.

    `transfer`: whether larger cells begin with a predicted configuration, "useful" (its learning rate is nearly the
    best) or "useless" (as good as any other).
    """

    families: Sequence[str] = ("perceptron", "mlp", "lenet")
    sizes: Sequence[str] = ("xs", "s", "m")
    fractions: Sequence[float] = (0.25, 1.0)
    search: int = 5
    finals: int = 2
    epochs: int = 15
    seed: int = 1
    seed_noise: float = 0.02
    accidents: bool = True
    name: str = "demo"
    floors: dict[str, float] = field(default_factory=dict)
    transfer: str = ""


def _config(random: np.random.Generator) -> dict[str, Any]:
    optimizer = str(random.choice(["sgd", "adam", "adamw", "rmsprop"]))
    config: dict[str, Any] = {
        "learning_rate": float(10 ** random.uniform(-4, -0.7)),
        "batch_size": int(random.choice([16, 32, 64, 128])),
        "optimizer": optimizer,
        "weight_decay": float(10 ** random.uniform(-6, -2)),
        "dropout": round(float(random.uniform(0, 0.5)), 4),
        "schedule": str(random.choice(["constant", "cosine", "step"])),
        "activation": str(random.choice(["relu", "gelu", "tanh"])),
    }
    if optimizer == "sgd":
        config |= {"momentum": round(float(random.uniform(0.5, 0.99)), 4), "nesterov": bool(random.random() < 0.5)}
    return config


def _trial(
    recipe: Recipe,
    cell: dict[str, Any],
    kind: str,
    number: int,
    config: dict[str, Any],
    random: np.random.Generator,
    started: float,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One trial's row and its reports; the best learning rate is 0.01, far above it training diverges."""
    _, floor, strength = NETWORKS.get(cell["family"], DEFAULT)
    floor = recipe.floors.get(cell["family"], floor)
    miss = np.log10(config["learning_rate"] / 0.01)
    noise = float(np.exp(random.normal(0, recipe.seed_noise)))
    final_loss = (
        floor + strength * cell["params"] ** -0.35 + 8 * cell["train_samples"] ** -0.6 + 0.12 * miss**2
    ) * noise
    status, epochs, reason = "complete", recipe.epochs, ""
    if kind == SEARCH and recipe.accidents:
        if config["learning_rate"] > 0.12:
            status, epochs, reason = "diverged", int(random.integers(1, 4)), "training loss became nan at step 12"
        elif number == 3 and cell["size"] == "m" and cell["family"] == "mlp":
            status, epochs, reason = "failed", 1, "RuntimeError: out of memory <allocator> & worker lost"
        elif abs(miss) > 1.0:
            status, epochs = "pruned", int(random.choice([3, 5, 9]))
    trial = trial_id(cell["cell"], kind, number)
    reports = []
    for epoch in range(1, epochs + 1):
        loss = final_loss + 2.0 * np.exp(-epoch / 3) * float(np.exp(random.normal(0, 0.05)))
        diverging = status == "diverged" and epoch == epochs
        reports.append(
            {
                "trial": trial,
                "epoch": epoch,
                "train_loss": float("nan") if diverging else loss * 0.9,
                "validation_loss": float("nan") if diverging else loss,
                "validation_accuracy": 0.1 if diverging else float(np.clip(1 - 0.32 * loss, 0, 1)),
                "learning_rate": config["learning_rate"],
                "seconds": 0.04,
                "samples_per_second": 30_000.0,
                "flops": 6 * cell["params"] * cell["train_samples"] * epoch,
                "samples": cell["train_samples"] * epoch,
                "gradient_norm": float(np.exp(-epoch / 8)),
            }
        )
    accuracy = [row["validation_accuracy"] for row in reports]
    losses = [row["validation_loss"] for row in reports]
    best = int(np.argmax(accuracy))
    row = {
        "trial": trial,
        "cell": cell["cell"],
        "family": cell["family"],
        "size": cell["size"],
        "data_fraction": cell["data_fraction"],
        "kind": kind,
        "number": number,
        "seed": int(random.integers(2**31)),
        "status": status,
        "reason": reason,
        "cause": "nan" if status == "diverged" else "out_of_memory" if status == "failed" else "",
        "last_finite": 40.0 if status == "diverged" else None,
        "config": json.dumps(config),
        "epochs": epochs,
        "best_epoch": best + 1,
        "value": accuracy[best],
        "best_validation_loss": min(losses),
        "params": cell["params"],
        "flops": reports[-1]["flops"],
        "seconds": 0.04 * epochs,
        "samples": reports[-1]["samples"],
        "started": started,
        "ended": started + 0.05 * epochs,
        "worker": f"w{number % 2}",
        "test_loss": None,
        "test_accuracy": None,
    }
    row |= {f"config.{key}": value for key, value in config.items()}
    if kind == FINAL:
        row |= {"test_loss": losses[best] * 1.05, "test_accuracy": accuracy[best] - 0.01}
    return row, reports


def _cell_row(cell: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {s: sum(r["status"] == s for r in rows) for s in ("complete", "pruned", "diverged", "failed")}
    search = [r for r in rows if r["kind"] == SEARCH and r["status"] == "complete"]
    finals = [r["test_accuracy"] for r in rows if r["kind"] == FINAL]
    best = max(search, key=lambda r: r["value"], default=None)
    return (
        cell
        | {"asked": len(rows)}
        | counts
        | {
            "best": best and best["value"],
            "best_trial": best and best["trial"],
            "test": float(np.mean(finals)) if finals else None,
            "test_sd": float(np.std(finals, ddof=1)) if len(finals) > 1 else None,
            "finals": len(finals),
        }
    )


def make_up(recipe: Recipe | None = None) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Header and tables as `orchestrator.journal` gives them."""
    recipe = recipe or Recipe()
    random = np.random.default_rng(recipe.seed)
    tables: dict[str, list[dict[str, Any]]] = {"trials": [], "reports": [], "cells": []}
    clock = 1_760_000_000.0
    for family in recipe.families:
        smallest = NETWORKS.get(family, DEFAULT)[0] * 4 ** SIZES.index(recipe.sizes[0]) * recipe.fractions[0]
        for size in recipe.sizes:
            for fraction in recipe.fractions:
                params = NETWORKS.get(family, DEFAULT)[0] * 4 ** SIZES.index(size)
                cell = {
                    "cell": f"{family}-{size}-{fraction:g}",
                    "family": family,
                    "size": size,
                    "data_fraction": fraction,
                    "params": params,
                    "flops": 6 * params,
                    "train_samples": int(TRAIN_ROWS * fraction),
                }
                rows: list[dict[str, Any]] = []
                for number in range(recipe.search + recipe.finals):
                    kind = SEARCH if number < recipe.search else FINAL
                    done = [r for r in rows if r["status"] == "complete"]
                    config = _config(random)
                    predicted = bool(recipe.transfer) and number == 0 and params * fraction > smallest
                    if predicted and recipe.transfer == "useful":
                        config["learning_rate"] = 0.01 * 10 ** random.normal(0, 0.1)
                    if kind == FINAL:
                        if not done:
                            continue
                        config = json.loads(max(done, key=lambda r: r["value"])["config"])
                    row, reports = _trial(recipe, cell, kind, number, config, random, clock)
                    row["origin"] = PREDICTED if predicted else SAMPLED
                    clock += 0.4
                    rows.append(row)
                    tables["reports"] += reports
                tables["trials"] += rows
                tables["cells"].append(_cell_row(cell, rows))
    return _header(recipe, clock), tables


def _header(recipe: Recipe, ended: float) -> dict[str, Any]:
    def number(low: float, high: float, log: bool = False) -> dict[str, Any]:
        return {"type": "float", "low": low, "high": high, "log": log}

    space: dict[str, Any] = {
        "learning_rate": number(1e-4, 0.2, log=True),
        "batch_size": {"type": "choice", "values": [16, 32, 64, 128]},
        "optimizer": {"type": "choice", "values": ["sgd", "adam", "adamw", "rmsprop"]},
        "momentum": number(0.5, 0.99) | {"when": {"optimizer": ["sgd"]}},
        "nesterov": {"type": "choice", "values": [True, False], "when": {"optimizer": ["sgd"]}},
        "weight_decay": number(1e-6, 1e-2, log=True),
        "dropout": number(0.0, 0.5),
        "schedule": {"type": "choice", "values": ["constant", "cosine", "step"]},
        "activation": {"type": "choice", "values": ["relu", "gelu", "tanh"]},
    }
    return {
        "name": recipe.name,
        "fingerprint": "00112233aabbccdd",
        "direction": "max",
        "spec": {
            "name": recipe.name,
            "data": "digits",
            "metric": "validation_accuracy",
            "seed": 0,
            "families": list(recipe.families),
            "sizes": list(recipe.sizes),
            "trials": recipe.search,
            "finalists": recipe.finals,
            "max_epochs": recipe.epochs,
            "patience": 5,
            "data_fractions": list(recipe.fractions),
            "sampler": {"name": "tpe", "startup_trials": 10},
            "early_stopping": {"name": "halving", "min_epochs": 1, "reduction_factor": 3.0},
            "transfer": bool(recipe.transfer),
        },
        "spaces": dict.fromkeys(recipe.families, space),
        "card": {
            "name": "digits",
            "task": "classification",
            "input_shape": [1, 8, 8],
            "outputs": 10,
            "classes": [str(n) for n in range(10)],
            "sizes": {"train": TRAIN_ROWS, "validation": 288, "test": 360},
            "licence": "CC BY 4.0",
            "source": {"digits.csv.gz": "09f66e6d" * 8},
            "fingerprint": "5e2f0c1d" * 8,
            "normalization": {"mean": [0.3], "scale": [0.2]},
        },
        "lineage": {
            "versions": {
                "python": "3.12.3",
                "torch": "2.13.0",
                "ray": "2.60.0",
                "optuna": "5.0.0",
                "mlflow": "3.17.0",
                "numpy": "2.4.6",
            },
            "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
            "host": {"cores": 2},
        },
        "sessions": [
            {"pid": 4711, "host": "bench", "workers": 2, "cpus": 1, "gpus": 0, "began": 1_760_000_000.0, "left": ended}
        ],
        "state": "finished",
        "ended": ended,
    }


@pytest.fixture
def recipe() -> type[Recipe]:
    return Recipe


@pytest.fixture(scope="session")
def prepare_whole() -> Callable[[pytest.MonkeyPatch, Path], Path]:
    """For fixtures that live longer than a test: write a report with every section there is, and return its path."""

    def prepare(patch: pytest.MonkeyPatch, folder: Path) -> Path:
        text = "title: Made up\nsweeps: [demo]\noptions: {without_transfer: alone}\n"
        return _preparing(patch, folder)(text, Recipe(transfer="useful"), Recipe(name="alone", seed=2))

    return prepare


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """A function: write a report's YAML over made-up sweeps and return its path; reading the sweeps is replaced."""
    return _preparing(monkeypatch, tmp_path)


def _preparing(patch: pytest.MonkeyPatch, folder: Path) -> Callable[..., Path]:
    from orchestrator.report import frames

    runs: dict[str, Any] = {}
    patch.setattr(frames, "read_run", lambda run_dir: runs[Path(run_dir).name])

    def prepare(text: str = "title: Made up\nsweeps: [demo]\n", *recipes: Recipe) -> Path:
        for recipe in recipes or (Recipe(),):
            runs[recipe.name] = make_up(recipe)
            (folder / "runs" / recipe.name).mkdir(parents=True, exist_ok=True)
            (folder / "runs" / recipe.name / "journal.db").touch()
        path = folder / "reports" / "demo.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return prepare
