from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.tasks.denoising import Denoising, errors


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor
    judge: Any = torch.Tensor.double


class Known(nn.Module):
    """Its noisy images are the noise itself, and it tells a share of it."""

    steps = 10

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.seen: list[Tensor] = []
        self.followed: list[float] = []

    def noisy(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        self.seen.append(steps)
        return noise

    def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
        return self.share * noisy

    def compared_at(self, rows: int) -> Tensor:
        return torch.randint(self.steps, (rows,))

    def follow(self, decay: float) -> None:
        self.followed.append(decay)

    def generate(self, rows: int) -> Tensor:
        return torch.rand(rows, 5)


def test_the_loss_is_the_share_of_the_noise_that_is_not_told() -> None:
    torch.manual_seed(0)
    images, steps = torch.rand(400, 50), torch.zeros(400, dtype=torch.int64)
    assert errors(Known(1.0), images, steps).max() == 0
    assert errors(Known(0.0), images, steps).mean().item() == pytest.approx(1, abs=0.03)
    assert errors(Known(0.5), images, steps).mean().item() == pytest.approx(0.25, abs=0.01)
    assert errors(Known(0.5), images, steps).shape == (400,)


def test_every_step_is_as_likely_for_each_image() -> None:
    torch.manual_seed(0)
    model = Known(0.0)
    next(Denoising().step(model, torch.rand(10_000, 2), torch.zeros(10_000, 0)))
    counts = torch.bincount(model.seen[0], minlength=10)
    assert len(counts) == 10 and counts.min() > 900


def test_the_average_follows_once_a_step_and_after_the_update() -> None:
    model = Known(0.5)
    losses = Denoising(ema_decay=0.9).step(model, torch.rand(8, 5), torch.zeros(8, 0))
    assert next(losses)[0] == "" and model.followed == []
    assert list(losses) == [] and model.followed == [0.9]


class TellsBlack(Known):
    """It tells the noise of black images, and nothing of white ones."""

    def noisy(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        self.white = images.mean(1, keepdim=True)
        return noise

    def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
        return noisy * (1 - self.white)


def test_evaluation_weighs_rows_alike_whatever_batch_they_are_in() -> None:
    images = torch.zeros(10, 2000)
    images[7:] = 1
    for batch_size in (7, 10):  # the white ones are a batch, or a part of one
        torch.manual_seed(0)
        measured = Denoising().evaluate(
            TellsBlack(0.0), Rows(images, torch.zeros(10, 0), lambda rows: rows[:, :2]), batch_size
        )
        assert measured["loss"] == pytest.approx(0.3, abs=0.03)


def test_evaluation_moves_nothing() -> None:
    model, rows = Known(0.5), Rows(torch.rand(500, 5), torch.zeros(500, 0))
    for batch_size in (7, 500):
        torch.manual_seed(0)
        measured = Denoising().evaluate(model, rows, batch_size)
        assert measured["loss"] == pytest.approx(0.25, abs=0.03)
        assert measured["frechet"] < 0.02
    assert model.followed == []


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
def test_a_decay_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="ema_decay"):
        Denoising(ema_decay=wrong)
