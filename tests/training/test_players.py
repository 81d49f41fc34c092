"""The seam for tasks whose step is not one loss and one optimizer: adversaries, moving averages, noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.load import Data
from orchestrator.models import FAMILIES, Family
from orchestrator.tasks import TASKS, Direction, Split
from orchestrator.training.fit import Job, fit

seen: list[tuple[str, float, float]] = []


class Pair(nn.Module):
    """A made-up two-player game: the critic follows the actor, the actor flees the critic; both start at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.critic, self.actor = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.critic.weight)
        nn.init.ones_(self.actor.weight)
        self.register_buffer("average", torch.zeros(()))


@dataclass(frozen=True)
class Config:
    width: int = 1


@dataclass(frozen=True)
class Game:
    metrics: ClassVar[Mapping[str, Direction]] = {"distance": "max"}
    players: ClassVar[tuple[str, ...]] = ("critic", "actor")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        def note(when: str) -> None:
            if model.critic.weight.device.type != "meta":
                seen.append((when, model.critic.weight.item(), model.actor.weight.item()))

        note("before")
        yield "critic", 2 * model.critic.weight.sum() + 5 * model.actor.weight.sum()
        note("between")
        yield "actor", 3 * model.actor.weight.sum() + 7 * model.critic.weight.sum()
        note("after")
        model.average.lerp_(model.actor.weight.detach().squeeze(), 0.5)

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        noise = torch.rand(()).item()
        return {"distance": noise + 0 * model.average.item()}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        return torch.randn(rows, 1), torch.zeros(rows)


@pytest.fixture
def game(monkeypatch: pytest.MonkeyPatch, few_digits: Data) -> Data:
    from dataclasses import replace

    sizes = {"s": {"width": 1}}
    family = Family(Config, lambda config, shape, outputs: Pair(), sizes, ("game",), "")
    monkeypatch.setitem(FAMILIES, "pair", family)
    monkeypatch.setitem(TASKS, "game", Game)
    seen.clear()
    return replace(few_digits, card=replace(few_digits.card, task="game"))


def job(**changes: Any) -> Job:
    config = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 200}
    return Job("pair", "s", config, 0, 3, "validation_distance", "max", **changes)


def test_each_player_has_its_optimizer_and_sees_the_updates_before_it(game: Data) -> None:
    epochs = fit(job(), game)
    next(epochs)
    seen[:] = seen[-3:]  # the last step; counting the operations took one before
    # Gradients of the other player's loss (5 and 7) move nobody.
    assert [when for when, _, _ in seen] == ["before", "between", "after"]
    critic, actor = zip(*((critic, actor) for _, critic, actor in seen), strict=True)
    assert critic == pytest.approx((1.0, 0.8, 0.8))
    assert actor == pytest.approx((1.0, 1.0, 0.7))
    next(epochs)
    critic, actor = zip(*((critic, actor) for _, critic, actor in seen[-3:]), strict=True)
    assert critic == pytest.approx((0.8, 0.6, 0.6))
    assert actor == pytest.approx((0.7, 0.7, 0.4))


def test_evaluation_draws_the_same_random_numbers_each_time(game: Data) -> None:
    rows = list(fit(job(), game))
    assert len({row["validation_distance"] for row in rows}) == 1


def test_every_player_is_in_the_checkpoint(game: Data, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    whole = [row["train_loss"] for row in fit(job(), game)]
    epochs = fit(job(), game, "cpu", path, checkpoint_epochs={1})
    next(epochs)
    epochs.close()
    assert [row["train_loss"] for row in fit(job(), game, "cpu", path)] == whole
