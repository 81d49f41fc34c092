"""A batch in pieces: the same step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import FAMILIES, Family
from orchestrator.tasks import TASKS, Direction
from orchestrator.tasks import Split as AnySplit
from orchestrator.training.fit import Job, Outcome, fit


def run(job: Job, data: Data) -> tuple[list[dict[str, Any]], Outcome]:
    epochs, rows = fit(job, data), []
    while True:
        try:
            rows.append(next(epochs))
        except StopIteration as end:
            return rows, end.value


@pytest.fixture
def double(digits: Data) -> Iterator[Data]:
    """In double precision, so that rounding hides nothing; 201 rows are three batches of 50 and one of 51."""
    torch.set_default_dtype(torch.float64)
    splits = [Split(split.inputs[:201].double(), split.targets[:201]) for split in (digits.train, digits.validation)]
    yield Data(digits.card, *splits, splits[1])
    torch.set_default_dtype(torch.float32)


ALL_AT_WORK = {
    "batch_size": 50, "weight_decay": 1e-3, "l1": 1e-4, "gradient_clip": 1.0, "schedule": "cosine",
    "warmup_fraction": 0.2, "label_smoothing": 0.1, "dropout": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("count", [2, 3, 7, 1000])
@pytest.mark.parametrize("family", ["mlp", "lenet"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_batch_in_pieces_gives_the_step_of_the_whole(family: str, optimizer: str, count: int, double: Data) -> None:
    whole = Job(family, "s", ALL_AT_WORK | {"optimizer": optimizer, "learning_rate": 0.01}, 0, 3)
    rows, outcome = run(whole, double)
    found, in_pieces = run(replace(whole, micro_batches=count), double)
    for name, weights in outcome.weights.items():
        torch.testing.assert_close(in_pieces.weights[name], weights, rtol=0, atol=1e-9)
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        assert [row[name] for row in found] == pytest.approx([row[name] for row in rows], abs=1e-9)
    assert [row["samples"] for row in found] == [row["samples"] for row in rows]


def test_normalization_sees_a_piece_at_a_time_and_still_learns(few_digits: Data) -> None:
    config = {"batch_norm": True, "learning_rate": 3e-3, "batch_size": 40}
    rows, _ = run(Job("mlp", "s", config, 0, 5, micro_batches=4), few_digits)
    whole, _ = run(Job("mlp", "s", config, 0, 5), few_digits)
    assert rows[0]["train_loss"] != whole[0]["train_loss"]
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]


def test_no_piece_is_larger_than_it_has_to_be(few_digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    step, evaluate = TASKS["classification"].step, TASKS["classification"].evaluate

    def noted(self: Any, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        seen.append(len(inputs))
        return step(self, model, inputs, targets)

    evaluated: list[int] = []

    def evaluate_noted(self: Any, model: nn.Module, split: AnySplit, rows: int) -> dict[str, float]:
        evaluated.append(rows)
        return evaluate(self, model, split, rows)

    job = Job("mlp", "s", {"batch_size": 30}, 0, 1, micro_batches=4)
    run(job, few_digits)  # its operations are counted by now
    monkeypatch.setattr(TASKS["classification"], "step", noted)
    monkeypatch.setattr(TASKS["classification"], "evaluate", evaluate_noted)
    run(job, few_digits)
    assert seen == [8, 8, 7, 7] * 6 + [5] * 4
    assert evaluated == [2048 // 4]


def test_a_number_of_pieces_below_one_is_refused(few_digits: Data) -> None:
    with pytest.raises(UserError, match="micro_batches must be 1 or more, found 0"):
        next(fit(Job("mlp", "s", {}, 0, 1, micro_batches=0), few_digits))


def test_a_training_goes_on_in_pieces_from_a_checkpoint_of_whole_batches(few_digits: Data, tmp_path: Path) -> None:
    job, path = Job("mlp", "s", {"batch_size": 40}, 0, 4), tmp_path / "a.pt"
    epochs = fit(job, few_digits, "cpu", path, checkpoint_epochs={2})
    before = [next(epochs), next(epochs)]
    epochs.close()
    rows = list(fit(replace(job, micro_batches=2), few_digits, "cpu", path))
    assert rows[:2] == before
    whole, _ = run(job, few_digits)
    assert [row["train_loss"] for row in rows] == pytest.approx([row["train_loss"] for row in whole], rel=1e-4)


# ---- several players ------------------------------------------------------------------------------------------


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.critic, self.actor = nn.Linear(64, 1), nn.Linear(64, 64)
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))


@dataclass(frozen=True)
class Config:
    width: int = 1


@dataclass(frozen=True)
class Duel:
    """The critic is to tell rows from what the actor makes of them; the actor is to pass."""

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min"}
    players: ClassVar[tuple[str, ...]] = ("critic", "actor")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        real = inputs.flatten(1)
        made = model.actor(real)
        yield "critic", (model.critic(real) - 1).square().mean() + model.critic(made.detach()).square().mean()
        yield "actor", (model.critic(made) - 1).square().mean()
        model.steps += 1
        model.average.lerp_(model.actor.weight.detach().mean(), 0.5)

    def evaluate(self, model: Any, split: AnySplit, batch_size: int) -> dict[str, float]:
        return {"loss": float(model.average.item())}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        return torch.randn(rows, *input_shape), torch.zeros(rows)


def test_players_take_turns_piece_by_piece(double: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later player's pieces all see the earlier player's one update, and a step ends once."""
    pair = Family(Config, lambda *_: Pair(), {"s": {"width": 1}}, {"duel": (1, 8, 8)}, "")
    monkeypatch.setitem(FAMILIES, "pair", pair)  # type: ignore[arg-type]
    monkeypatch.setitem(TASKS, "duel", Duel)  # type: ignore[arg-type]
    data = replace(double, card=replace(double.card, task="duel"))
    job = Job("pair", "s", {"optimizer": "sgd", "learning_rate": 0.02, "batch_size": 50}, 0, 3, "train_loss")
    rows, outcome = run(job, data)
    found, in_pieces = run(replace(job, micro_batches=3), data)
    assert outcome.weights["steps"] == in_pieces.weights["steps"] == outcome.best_epoch * 4
    for name, weights in outcome.weights.items():
        torch.testing.assert_close(in_pieces.weights[name], weights, rtol=0, atol=1e-9)
    assert [row["train_loss"] for row in found] == pytest.approx([row["train_loss"] for row in rows], abs=1e-9)
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
