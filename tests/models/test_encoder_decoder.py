"""What seq2seq and transformer have in common: a source is read, a target written token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import FAMILIES
from orchestrator.tokens import BEGIN, END, Tokens
from orchestrator.training.fit import Job, fit

CASES: list[tuple[str, dict[str, Any]]] = [
    *(("seq2seq", {"width": 8, "score": score}) for score in ("additive", "dot")),
    *(
        ("transformer", {"width": 12, "depth": 2, "heads": 3, "positions": positions})
        for positions in ("sinusoidal", "learned", "rotary")
    ),
]
cases = pytest.mark.parametrize(("family", "config"), CASES, ids=[f"{name}-{[*c.values()][-1]}" for name, c in CASES])
families = pytest.mark.parametrize("family", ["seq2seq", "transformer"])


def build(family: str, config: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    chosen = FAMILIES[family].config(**config)
    model: Any = FAMILIES[family].build(chosen, Tokens(time=7, vocabulary=15), 18).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    # With a table that is the input's too, an untrained network says the same token again and again.
    model.output.weight = torch.nn.Parameter(torch.randn_like(model.output.weight))
    return model


def pairs() -> tuple[Tensor, list[int], Tensor]:
    """Padded sources with their lengths, and targets so far."""
    generator = torch.Generator().manual_seed(1)
    sources = torch.randint(5, 15, (4, 7), generator=generator)
    lengths = [3, 7, 1, 5]
    for row, length in zip(sources, lengths, strict=True):
        row[length:] = 0
    before = torch.randint(5, 18, (4, 6), generator=generator)
    before[:, 0] = BEGIN
    return sources, lengths, before


@cases
def test_a_padded_batch_gives_what_its_rows_give_one_by_one(family: str, config: dict[str, Any]) -> None:
    model, (sources, lengths, before) = build(family, config), pairs()
    together = model.at_every_step(sources, before)
    assert together.shape == (4, 6, 18)
    for row, length in enumerate(lengths):
        alone = model.at_every_step(sources[row : row + 1, :length], before[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-5)


@cases
def test_a_future_token_of_the_target_changes_nothing_earlier(family: str, config: dict[str, Any]) -> None:
    model, (sources, _, before) = build(family, config), pairs()
    outputs = model.at_every_step(sources, before)
    for step in range(1, 6):
        after = before.clone()
        after[:, step] = 5 + (after[:, step] - 4) % 13
        changed = (model.at_every_step(sources, after) - outputs).abs().amax((0, 2))
        assert changed[:step].max() < 1e-6 and changed[step] > 1e-4


@cases
def test_every_token_of_the_source_is_seen_at_every_step(family: str, config: dict[str, Any]) -> None:
    model, (sources, lengths, before) = build(family, config), pairs()
    outputs = model.at_every_step(sources, before)
    for place in range(7):
        other = sources.clone()
        other[:, place] = torch.where(sources[:, place] == 0, 0, 5 + (sources[:, place] - 4) % 10)
        changed = (model.at_every_step(other, before) - outputs).abs().amax(2)
        for row, length in enumerate(lengths):
            assert (changed[row] > 1e-6).all() if place < length else (changed[row] == 0).all()


@cases
def test_writing_step_by_step_equals_going_through_all_steps_again(family: str, config: dict[str, Any]) -> None:
    model, (sources, _, _) = build(family, config), pairs()
    said = model.greedy(sources, 8)
    before = torch.full((4, 1), BEGIN)
    for _ in range(8):
        following = model.at_every_step(sources, before)[:, -1].argmax(1, keepdim=True)
        before = torch.cat([before, following], 1)
    expected = before[:, 1:]
    ended = (expected == END).long().cumsum(1) - (expected == END).long() > 0
    assert torch.equal(said, torch.where(ended, END, expected))
    assert len({tuple(row) for row in said.tolist()}) > 1


@cases
def test_what_is_written_first_does_not_depend_on_how_much_may_follow(family: str, config: dict[str, Any]) -> None:
    model, (sources, _, _) = build(family, config), pairs()
    said = [model.greedy(sources, steps) for steps in (3, 8)]
    assert torch.equal(said[0], said[1][:, :3]), "more steps change none of the first"
    assert torch.equal(model(sources).argmax(1), said[0][:, 0])


@families
@pytest.mark.parametrize("shape", [(9, 5), (1, 8, 8), (64,)])
def test_refuses_what_is_no_text_in_one_line(family: str, shape: tuple[int, ...]) -> None:
    config = FAMILIES[family].config(**FAMILIES[family].sizes["xs"])
    with pytest.raises(UserError, match=f"{family} takes text") as error:
        FAMILIES[family].build(config, shape, 10)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def backwards() -> Data:
    """Words of three to six letters out of eight, written backwards."""
    generator = torch.Generator().manual_seed(0)
    sources, targets = torch.zeros(700, 6, dtype=torch.int64), torch.zeros(700, 8, dtype=torch.int64)
    for source, target in zip(sources, targets, strict=True):
        word = torch.randint(5, 13, (int(torch.randint(3, 7, (), generator=generator)),), generator=generator)
        source[: len(word)] = word
        target[: len(word) + 2] = torch.tensor([BEGIN, *reversed(word.tolist()), END])
    card = Card("backwards", "transduction", Tokens(6, 13), 13, (), {}, "", {}, "", {})
    parts = [Split(sources[where], targets[where]) for where in (slice(600), slice(600, 650), slice(650, 700))]
    return Data(card, *parts)


@families
def test_learns_to_write_backwards_what_it_reads(family: str, backwards: Data) -> None:
    config = {"learning_rate": 1e-2, "batch_size": 20, "gradient_clip": 1.0, "schedule": "cosine"}
    rows = list(fit(Job(family, "s", config | {"warmup_fraction": 0.1}, 0, 12), backwards))
    assert rows[-1]["validation_token_error_rate"] < 0.2
    assert rows[-1]["validation_word_error_rate"] < 0.6
    assert rows[0]["validation_word_error_rate"] > 0.9


@families
def test_going_on_from_a_checkpoint_gives_the_losses_of_an_uninterrupted_run(
    family: str, backwards: Data, tmp_path: Path
) -> None:
    job = Job(family, "xs", {"dropout": 0.3, "label_smoothing": 0.1, "batch_size": 100}, 0, 3)
    whole = [row["train_loss"] for row in fit(job, backwards)]
    epochs = fit(job, backwards, "cpu", tmp_path / "a.pt", checkpoint_epochs={1})
    assert [next(epochs)["train_loss"] for _ in range(2)] == whole[:2]
    epochs.close()
    assert [row["train_loss"] for row in fit(job, backwards, "cpu", tmp_path / "a.pt")] == whole
