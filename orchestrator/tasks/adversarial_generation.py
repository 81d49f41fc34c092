"""Adversarial generation: a generator learns to make what a discriminator can't tell from the data.

Goodfellow et al., "Generative adversarial nets", NIPS 2014, section 3. D(x) is a score, G(z) an image.

    loss              discriminator                                    generator
    non_saturating    softplus(-D(x)) + softplus(D(G(z)))              softplus(-D(G(z)))      Goodfellow et al.
    hinge             relu(1 - D(x)) + relu(1 + D(G(z)))               -D(G(z))                Lim, Ye, 2017
    wasserstein       D(G(z)) - D(x) + penalty (|∇D(x̂)| - 1)²          -D(G(z))                Gulrajani et al., 2017

x̂ is at random between x and G(z). The losses measure no progress, so none of them is a metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks import judged
from orchestrator.tasks.task import Direction, Split


@dataclass(frozen=True)
class AdversarialGeneration:
    """inputs [n, ...] in [0, 1]; targets are not used, whatever they are.

    The model has two players, `discriminator` and `generator`; `score(images)` is [n], and `generate(n)` makes images
    of noise from torch's global generator.

    penalty: weight of the gradient penalty, for wasserstein alone. discriminator_steps: its updates for each one of
    the generator, on the same images with other noise.
    """

    adversarial_loss: Literal["non_saturating", "hinge", "wasserstein"] = "non_saturating"
    penalty: float = 10.0
    discriminator_steps: int = 1

    metrics: ClassVar[Mapping[str, Direction]] = judged.METRICS
    players: ClassVar[tuple[str, ...]] = ("discriminator", "generator")

    def __post_init__(self) -> None:
        if not self.penalty >= 0:
            raise UserError(f"penalty must be at least 0, found {self.penalty}")
        if self.discriminator_steps < 1:
            raise UserError(f"discriminator_steps must be 1 or more, found {self.discriminator_steps}")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        for _ in range(self.discriminator_steps):
            fakes = model.generate(len(inputs)).detach()
            loss = self.discriminators(model.score(inputs).float(), model.score(fakes).float())
            if self.adversarial_loss == "wasserstein":
                loss = loss + self.penalty * steepness(model, inputs, fakes)
            yield "discriminator", loss
        yield "generator", self.generators(model.score(model.generate(len(inputs))).float())

    def discriminators(self, real: Tensor, fake: Tensor) -> Tensor:
        """Its loss for the scores [n] of images of the data and of the generator, without a penalty."""
        if self.adversarial_loss == "non_saturating":
            return (functional.softplus(-real) + functional.softplus(fake)).mean()
        if self.adversarial_loss == "hinge":
            return (functional.relu(1 - real) + functional.relu(1 + fake)).mean()
        return (fake - real).mean()

    def generators(self, fake: Tensor) -> Tensor:
        """Its loss for the scores [n] of its images."""
        return functional.softplus(-fake).mean() if self.adversarial_loss == "non_saturating" else -fake.mean()

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """frechet, coverage: see `judged.py`."""
        return judged.measure(model, split, batch_size)

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        return torch.rand(rows, *input_shape), torch.zeros(rows, 0)


def steepness(model: Any, real: Tensor, fake: Tensor) -> Tensor:
    """(|∇D(x̂)| - 1)² at random points between pairs of images, one weight an image; the mean over them."""
    weight = torch.rand(len(real), *(1 for _ in real.shape[1:]), device=real.device)
    between = (weight * real + (1 - weight) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(model.score(between).sum(), between, create_graph=True)
    loss: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return loss
