from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.adversarial_generation import AdversarialGeneration, steepness

LOSSES = ("non_saturating", "hinge", "wasserstein")
losses = pytest.mark.parametrize("adversarial_loss", LOSSES)


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor
    judge: Any = torch.Tensor.double


class Game(nn.Module):
    """Scores are weighted sums of three pixels, of which the generator makes two and leaves one black."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator, self.generator = nn.Linear(3, 1, bias=False), nn.Linear(2, 2)
        with torch.no_grad():
            self.discriminator.weight.copy_(torch.tensor([[1.0, 2.0, 2.0]]))
        self.scored: list[Tensor] = []

    def score(self, images: Tensor) -> Tensor:
        self.scored.append(images)
        return self.discriminator(images).squeeze(1)

    def generate(self, rows: int) -> Tensor:
        return functional.pad(self.generator(torch.randn(rows, 2)), (0, 1))


def inputs(rows: int = 8) -> Tensor:
    return torch.rand(rows, 3, generator=torch.Generator().manual_seed(0))


def task(adversarial_loss: Any, **others: Any) -> AdversarialGeneration:
    return AdversarialGeneration(adversarial_loss=adversarial_loss, **others)


@pytest.mark.parametrize(
    ("adversarial_loss", "real", "fake", "discriminators", "generators"),
    [
        ("non_saturating", 0.0, 0.0, 2 * math.log(2), math.log(2)),
        ("non_saturating", 50.0, -50.0, 0.0, 50.0),
        ("hinge", 0.0, 0.0, 2.0, 0.0),
        ("hinge", 3.0, -4.0, 0.0, 4.0),
        ("hinge", -1.0, 0.5, 2.0 + 1.5, -0.5),
        ("wasserstein", 3.0, -4.0, -7.0, 4.0),
    ],
)
def test_losses_by_hand(
    adversarial_loss: str, real: float, fake: float, discriminators: float, generators: float
) -> None:
    played = task(adversarial_loss)
    scores = torch.full((4,), real), torch.full((4,), fake)
    assert played.discriminators(*scores).item() == pytest.approx(discriminators, abs=1e-6)
    assert played.generators(scores[1]).item() == pytest.approx(generators, abs=1e-6)


def test_the_non_saturating_game_is_torchs_cross_entropy() -> None:
    chance = torch.Generator().manual_seed(0)
    real, fake = torch.randn(20, generator=chance), torch.randn(20, generator=chance)
    entropy = functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.ones(20)) + entropy(fake, torch.zeros(20))
    assert torch.allclose(task("non_saturating").discriminators(real, fake), expected)
    assert torch.allclose(task("non_saturating").generators(fake), entropy(fake, torch.ones(20)))


@losses
def test_losses_are_of_scores_in_full_precision(adversarial_loss: str) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        game = Game()
        for name, loss in task(adversarial_loss).step(game, inputs(), torch.zeros(8, 0)):
            assert loss.dtype == torch.float32, name


@losses
@pytest.mark.parametrize("steps", [1, 3])
def test_the_discriminator_moves_first_and_as_often_as_told(adversarial_loss: str, steps: int) -> None:
    played = task(adversarial_loss, discriminator_steps=steps)
    names = [name for name, _ in played.step(Game(), inputs(), torch.zeros(8, 0))]
    assert names == ["discriminator"] * steps + ["generator"]


@losses
def test_the_discriminators_loss_asks_nothing_of_the_generator(adversarial_loss: str) -> None:
    game = Game()
    for name, loss in task(adversarial_loss).step(game, inputs(), torch.zeros(8, 0)):
        game.zero_grad()
        torch.autograd.backward(loss)
        assert all((weight.grad is not None) == (name == "generator") for weight in game.generator.parameters())
        assert game.discriminator.weight.grad is not None


def test_each_update_of_a_step_has_noise_of_its_own() -> None:
    game = Game()
    list(task("hinge", discriminator_steps=2).step(game, inputs(), torch.zeros(8, 0)))
    real, fake, again, other, last = game.scored
    assert torch.equal(real, again) and torch.equal(real, inputs())
    assert not torch.equal(fake, other) and not torch.equal(other, last)


def test_the_penalty_of_a_linear_score_is_of_its_slope() -> None:
    # Of weights 1, 2, 2 the norm is 3, wherever one looks: (3 - 1)².
    game = Game()
    assert steepness(game, inputs(), torch.zeros(8, 3)).item() == pytest.approx(4.0, rel=1e-5)
    (looked_at,) = game.scored
    share = looked_at / inputs()
    assert torch.allclose(share, share[:, :1].expand(-1, 3), atol=1e-5), "one weight an image"
    assert share.min() >= 0 and share.max() <= 1 and share[:, 0].std() > 0.05


def test_the_penalty_is_for_wasserstein_alone_and_reaches_the_weights() -> None:
    found = {}
    for adversarial_loss in LOSSES:
        for penalty in (0.0, 10.0):
            torch.manual_seed(0)
            played = task(adversarial_loss, penalty=penalty)
            found[adversarial_loss, penalty] = next(played.step(Game(), inputs(), torch.zeros(8, 0)))[1].item()
    assert found["wasserstein", 10.0] - found["wasserstein", 0.0] == pytest.approx(40.0, rel=1e-4)
    assert all(found[name, 0.0] == found[name, 10.0] for name in LOSSES[:2])
    game = Game()
    torch.autograd.backward(steepness(game, inputs(), torch.zeros(8, 3)))
    # d (|w| - 1)² / dw = 2 (|w| - 1) w / |w|
    assert game.discriminator.weight.grad is not None
    assert torch.allclose(game.discriminator.weight.grad, torch.tensor([[1.0, 2.0, 2.0]]) * 4 / 3, rtol=1e-4)


def test_what_is_measured_depends_on_the_images_alone() -> None:
    rows, found = Rows(inputs(100), torch.zeros(100, 0)), []
    for adversarial_loss in LOSSES:
        torch.manual_seed(0)
        game = Game()
        found.append(task(adversarial_loss).evaluate(game, rows, 50))
        assert game.scored == []
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("name", "wrong"), [("penalty", -0.1), ("penalty", math.nan), ("discriminator_steps", 0)])
def test_a_value_outside_its_range_is_refused(name: str, wrong: float) -> None:
    with pytest.raises(UserError, match=name):
        task("hinge", **{name: wrong})
