"""Denoising: images are learnt by taking off them the noise that was put on.

Ho, Jain, Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020, equation 14 and algorithm 1:

    E |ε - ε(√ᾱ x + √(1 - ᾱ) ε, t)|²,   t uniform over the steps, ε ~ N(0, 1)

The loss is the mean over pixels, so that telling nothing of the noise costs 1. What generates is a moving average of
the weights (the paper's appendix B) with a shorter memory at the start: min(decay, (1 + n) / (10 + n)) after n updates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks import judged
from orchestrator.tasks.predict import evaluating, rows_at_a_time
from orchestrator.tasks.task import Direction, Split


@dataclass(frozen=True)
class Denoising:
    """inputs [n, ...] in [0, 1]; targets are not used, whatever they are.

    The model has `steps` of noise: `noisy(images, steps, noise)` puts it on, `noise(noisy, steps)` tells it,
    `follow(decay)` moves an average after the weights, `generate(n)` makes images, and `compared_at(n)` gives random
    steps for n images that have as much noise in every network, as near as its levels come to it. In evaluation mode
    the average is what tells.

    ema_decay: how slowly the average follows; 0: it is the weights.
    """

    ema_decay: float = 0.999

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", **judged.METRICS}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay must be at least 0 and below 1, found {self.ema_decay}")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        steps = torch.randint(model.steps, (len(inputs),), device=inputs.device)
        yield "", errors(model, inputs, steps).mean()
        model.follow(self.ema_decay)

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """loss: as in training, at one random step for each image, with as much noise whatever the network's own
        schedule; frechet, coverage: see `judged.py`."""
        parts = []
        with evaluating(model):
            for inputs in torch.split(split.inputs, rows_at_a_time(split.inputs, batch_size)):
                parts.append(errors(model, inputs, model.compared_at(len(inputs))).double())
        return {"loss": torch.cat(parts).mean().item()} | judged.measure(model, split, batch_size)

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        return torch.rand(rows, *input_shape), torch.zeros(rows, 0)


def errors(model: Any, images: Tensor, steps: Tensor) -> Tensor:
    """Mean squared error of the noise told of each image at its step: [n, ...], [n] → [n]."""
    noise = torch.randn_like(images)
    told = model.noise(model.noisy(images, steps, noise), steps).float()
    return functional.mse_loss(told, noise, reduction="none").flatten(1).mean(1)
