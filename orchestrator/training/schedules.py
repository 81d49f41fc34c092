"""The learning rate at each step."""

from __future__ import annotations

import math

from orchestrator.training.hyperparameters import Hyperparameters


def learning_rate(hyperparameters: Hyperparameters, step: int, total_steps: int) -> float:
    """The rate in force at `step` (counted from 0) of `total_steps`: linear warmup, then the schedule."""
    h = hyperparameters
    warmup = round(h.warmup_fraction * total_steps)
    if step < warmup:
        return h.learning_rate * (step + 1) / warmup
    if h.schedule == "constant":
        return h.learning_rate
    progress = (step - warmup) / max(1, total_steps - warmup)
    if h.schedule == "cosine":
        return h.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    # The tiny addition: 0.3 / 0.1 is 2.9999999999999996.
    return h.learning_rate * h.step_gamma ** math.floor(progress / h.step_fraction + 1e-9)
