"""How many rows a network is given at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.tasks.denoising import Denoising
from orchestrator.tasks.generation import Generation
from orchestrator.tasks.predict import predict


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor
    judge: Any = None


class Means(nn.Module):
    """The mean of each row; it remembers how many came at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.rows.append(len(inputs))
        return inputs.flatten(1).mean(1, keepdim=True)


def same(rows: int, *shape: int) -> Rows:
    """Rows that take no memory, as they are views of one."""
    return Rows(torch.zeros(1, *shape).expand(rows, *shape), torch.zeros(rows, 0))


def given(rows: int, *shape: int, batch_size: int = 2048) -> list[int]:
    model = Means()
    predict(model, same(rows, *shape), batch_size)
    return model.rows


@pytest.mark.parametrize("shape", [(7,), (96, 7), (1, 8, 8), (1, 28, 28), (3, 32, 32)], ids=str)
def test_rows_and_small_images_come_in_whole_batches(shape: tuple[int, ...]) -> None:
    assert given(4100, *shape) == [2048, 2048, 4]


def test_the_larger_the_images_the_fewer_come_at_a_time() -> None:
    assert given(1100, 3, 64, 64) == given(1100, 1, 64, 64) == [512, 512, 76]
    assert given(1100, 1, 128, 32) == [512, 512, 76], "it is the pixels that count"
    assert given(3, 1, 1500, 1500) == [1, 1, 1], "a single one may be too many already"
    assert given(600, 3, 64, 64, batch_size=256) == [256, 256, 88], "memory was found to be shorter still"


def test_outputs_are_of_every_row_in_order() -> None:
    images = torch.arange(1100.0).reshape(-1, 1, 1, 1).expand(-1, 1, 64, 64)
    outputs = predict(Means(), Rows(images, torch.zeros(1100, 0)), 2048)
    assert torch.equal(outputs[:, 0], torch.arange(1100.0))


class Maker(nn.Module):
    """Of images 64×64, for any task that generates: it remembers how many it was given or asked for at a time."""

    steps = 10

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.asked: list[int] = []

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(len(images))
        return torch.zeros(len(images), 2), torch.zeros(len(images), 2)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.zeros(1, 64 * 64).expand(len(latents), -1)

    def noisy(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        self.seen.append(len(images))
        return noise

    def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
        return noisy

    def compared_at(self, rows: int) -> Tensor:
        return torch.zeros(rows, dtype=torch.int64)

    def generate(self, rows: int) -> Tensor:
        self.asked.append(rows)
        return torch.zeros(1, 1, 64, 64).expand(rows, -1, -1, -1)


@pytest.mark.parametrize("task", [Generation(), Denoising()], ids=lambda task: type(task).__name__)
def test_what_generates_is_bounded_alike_in_what_it_sees_and_makes(task: Generation | Denoising) -> None:
    data, model = same(700, 1, 64, 64), Maker()
    data.judge = lambda images: images[:, 0, 0, :4]
    task.evaluate(model, data, 2048)
    assert model.seen == [512, 188] and model.asked == [512, 488]
