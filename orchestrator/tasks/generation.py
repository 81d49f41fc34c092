"""Generation: the distribution of images, learnt from them alone, by a bound on their likelihood.

Kingma, Welling, "Auto-encoding variational Bayes", ICLR 2014, equations 7 and 10, with the weight β of Higgins et al.,
"β-VAE: learning basic visual concepts with a constrained variational framework", ICLR 2017, equation 4.

    log p(x) ≥ ELBO = E log p(x | z) - KL(q(z | x) ‖ p(z)),   z ~ q(z | x) = N(mean, variance),   p(z) = N(0, 1)

p(x | z) is Bernoulli for each pixel; of a grey one, x in [0, 1], the cross-entropy is taken as for a share x of white,
as is usual. So 0 nats are the least of a black and white image; a grey one has its pixels' entropy at least.
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
class Generation:
    """inputs [n, ...] in [0, 1]; targets are not used, whatever they are.

    The model has `encode(inputs)`, mean and logarithm of the variance [n, latents] of q(z | x), `decode(latents)`,
    logits [n, pixels] of p(x | z), and `generate(n)`, new images.

    beta: weight of the KL in training; 1 is the bound itself, which the metrics are of whatever it is.
    """

    beta: float = 1.0

    metrics: ClassVar[Mapping[str, Direction]] = {
        "loss": "min",
        "reconstruction": "min",
        "kl": "min",
        **judged.METRICS,
    }
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise UserError(f"beta must be at least 0, found {self.beta}")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        reconstruction, kl = terms(model, inputs)
        yield "", (reconstruction + self.beta * kl).mean()

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """In nats an image, with one z for each: loss, the negative ELBO; reconstruction, -log p(x | z); kl. frechet,
        coverage: see `judged.py`.
        """
        parts = []
        with evaluating(model):
            for inputs in torch.split(split.inputs, rows_at_a_time(split.inputs, batch_size)):
                parts.append(terms(model, inputs))
        reconstruction, kl = (torch.cat(part).double() for part in zip(*parts, strict=True))
        values = torch.stack([reconstruction.mean(), kl.mean()]).tolist()
        found = {"loss": values[0] + values[1], "reconstruction": values[0], "kl": values[1]}
        return found | judged.measure(model, split, batch_size)

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Rows of one black and white image, of which no nats need be left."""
        image = torch.randint(2, (1, *input_shape)).float()
        return image.repeat(rows, *(1 for _ in input_shape)), torch.zeros(rows, 0)


def terms(model: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(x | z) [n] for a z drawn from q(z | x), and the KL [n]; nats, as float32."""
    mean, log_variance = (part.float() for part in model.encode(inputs))
    latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    logits = model.decode(latents).float()
    losses = functional.binary_cross_entropy_with_logits(logits, inputs.flatten(1), reduction="none")
    return losses.sum(1), divergence(mean, log_variance)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) in nats, summed over the latents: [n, latents] → [n]; appendix B of the paper."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
