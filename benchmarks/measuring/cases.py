"""What is measured: a literal table of sweeps, and how much of each a way is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# Where every trial shall cost the same: nothing in it changes the time of a step, but the batch size, which is fixed.
EVEN_SPACE: Mapping[str, Any] = {
    "learning_rate": {"type": "float", "low": 3.0e-4, "high": 1.0e-1, "log": True},
    "optimizer": {"type": "choice", "values": ["adam"]},
    "beta1": {"type": "float", "low": 0.8, "high": 0.95},
    "beta2": {"type": "choice", "values": [0.95, 0.99, 0.999]},
    "weight_decay": {"type": "float", "low": 1.0e-6, "high": 3.0e-2, "log": True},
    "schedule": {"type": "choice", "values": ["constant", "cosine"]},
    "warmup_fraction": {"type": "float", "low": 0.0, "high": 0.2},
    "dropout": {"type": "float", "low": 0.1, "high": 0.5},
    "label_smoothing": {"type": "float", "low": 0.0, "high": 0.2},
}

# Trials of a case that a way is asked for, where it is not all of them: all would take it hours, or tell no more (a
# bare loop's trials cost the same, the hundredth too).
MOST: Mapping[str, int] = {
    **{"ray": 40, "syne": 40, "bare": 40, "bare-processes": 40},
    **{"optuna": 1000, "optuna-processes": 1000},
}


@dataclass(frozen=True)
class Case:
    """One sweep of digits on multilayer perceptrons. `batch_size` None: the space in search_spaces/, where trials
    cost what they cost; else `EVEN_SPACE` with that batch size. `halving`: hopeless trials are stopped."""

    title: str
    trials: int
    epochs: int
    size: str
    batch_size: int | None
    data_fraction: float = 1.0
    halving: bool = False
    ways: tuple[str, ...] = field(default=("ours", "bare", "bare-processes", "optuna-processes", "syne", "ray"))

    def trials_of(self, way: str) -> int:
        return min(self.trials, MOST.get(way, self.trials))


CASES: Mapping[str, Case] = {
    "search": Case(
        *("40 trials of at most 20 epochs, hopeless ones stopped", 40, 20, "m", None),
        halving=True,
        ways=("ours", "ray", "syne", "optuna", "bare"),
    ),
    "40x0.2": Case("40 trials of about 0.2 s", 40, 20, "m", 128),
    "40x2": Case("40 trials of about 2 s", 40, 20, "xl", 16),
    "40x10": Case("40 trials of about 10 s", 40, 20, "xl", 3),
    "400x0.2": Case("400 trials of about 0.2 s", 400, 20, "m", 128),
    "400x2": Case("400 trials of about 2 s", 400, 20, "xl", 16),
    "400x10": Case("400 trials of about 10 s", 400, 20, "xl", 3, ways=("ours", "bare")),
    "10000": Case(
        *("10,000 trials of almost nothing", 10_000, 3, "xs", 256, 0.1), ways=("ours", "bare", "optuna-processes")
    ),
    "reports": Case(
        "40 trials of 400 epochs of almost nothing", 40, 400, "xs", 256, 0.1, ways=("ours", "bare", "optuna-processes")
    ),
    "tracking": Case("400 trials of about 0.2 s, 20 epochs each", 400, 20, "m", 128, ways=("ours", "ours-untracked")),
    "tracking-2": Case("40 trials of about 2 s, 20 epochs each", 40, 20, "xl", 16, ways=("ours", "ours-untracked")),
}


def write_space(case: Case, family: str, folder: Path, spaces: Path) -> None:
    """The case's search space as `folder/<family>.yaml`; `spaces` is the repository's folder of them."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (spaces / f"{family}.yaml").read_text(encoding="utf-8")
    if case.batch_size is not None:
        fixed = {"batch_size": {"type": "choice", "values": [case.batch_size]}}
        text = yaml.safe_dump({"family": family, "parameters": {**fixed, **EVEN_SPACE}}, sort_keys=False)
    (folder / f"{family}.yaml").write_text(text, encoding="utf-8")
