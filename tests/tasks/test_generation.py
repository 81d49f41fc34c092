from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from orchestrator.errors import UserError
from orchestrator.records import LOSSES_OF_THEIR_OWN
from orchestrator.tasks import WAYS
from orchestrator.tasks.generation import Generation, divergence, terms


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor
    judge: Any = torch.Tensor.double


class Known(nn.Module):
    """Latents that are the first pixels, with a variance of 4; each pixel's logit is 1.5 times the first latent."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images[:, :2]
        return mean, torch.full_like(mean, math.log(4))

    def decode(self, latents: Tensor) -> Tensor:
        return 1.5 * latents[:, :1].repeat(1, 5)

    def generate(self, rows: int) -> Tensor:
        return torch.rand(rows, 5)


def images(rows: int = 50) -> Tensor:
    return torch.rand(rows, 5, generator=torch.Generator().manual_seed(0))


def test_the_divergence_by_hand() -> None:
    # Of N(1, 1) half a nat; of N(0, e²) (e² - 1 - 2) / 2; of the prior itself nothing.
    mean, log_variance = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    assert divergence(mean, log_variance).tolist() == pytest.approx([0.5 + (math.exp(2) - 3) / 2, 0.0])


def test_the_divergence_is_torchs() -> None:
    torch.manual_seed(0)
    mean, log_variance = 3 * torch.randn(40, 6), torch.randn(40, 6)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(divergence(mean, log_variance), expected, rtol=1e-5)


def test_the_reconstruction_is_torchs_bernoulli_with_a_drawn_latent() -> None:
    inputs = images().round()
    torch.manual_seed(3)
    reconstruction, _ = terms(Known(), inputs)
    torch.manual_seed(3)
    means = Known().encode(inputs)[0]
    latents = means + 2 * torch.randn_like(means)
    pixels: Any = Bernoulli(logits=Known().decode(latents))
    expected = -pixels.log_prob(inputs).sum(1)
    assert torch.allclose(reconstruction, expected, rtol=1e-5)


def test_beta_weighs_the_divergence_in_training_alone() -> None:
    inputs, losses = images(), []
    for beta in (0.0, 1.0, 4.0):
        torch.manual_seed(1)
        [(player, loss)] = Generation(beta=beta).step(Known(), inputs, torch.zeros(50, 0))
        assert player == ""
        losses.append(loss.item())
    kl = divergence(*Known().encode(inputs)).mean().item()
    assert losses[1] - losses[0] == pytest.approx(kl, rel=1e-4)
    assert losses[2] - losses[0] == pytest.approx(4 * kl, rel=1e-4)
    measured = []
    for beta in (0.0, 4.0):
        torch.manual_seed(1)
        measured.append(Generation(beta=beta).evaluate(Known(), Rows(inputs, torch.zeros(50, 0)), 50))
    assert measured[0] == measured[1]
    assert measured[0]["loss"] == pytest.approx(losses[1], rel=1e-5)
    assert measured[0]["loss"] == pytest.approx(measured[0]["reconstruction"] + measured[0]["kl"])


def test_what_it_generates_is_measured_too() -> None:
    measured = Generation().evaluate(Known(), Rows(images(1000), torch.zeros(1000, 0)), 50)
    assert measured["frechet"] < 0.01 and measured["coverage"] > 0.9


def test_a_batch_that_ends_short_weighs_its_rows() -> None:
    rows = Rows(images(), torch.zeros(50, 0))
    measured = [Generation().evaluate(Known(), rows, batch_size)["kl"] for batch_size in (7, 50)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-6)


@pytest.mark.parametrize("wrong", [-0.1, math.nan])
def test_a_beta_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="beta"):
        Generation(beta=wrong)


def test_the_report_knows_which_losses_it_cannot_compare() -> None:
    assert set(WAYS.values()) == LOSSES_OF_THEIR_OWN
