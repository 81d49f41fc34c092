from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.load import Split
from orchestrator.tasks import language_modelling
from orchestrator.tasks.language_modelling import LanguageModelling
from orchestrator.tokens import PADDING, Tokens


class Bigram(nn.Module):
    """Logits that depend on the token alone, with dropout on them."""

    def __init__(self, table: Tensor, dropout: float = 0.0) -> None:
        super().__init__()
        self.table, self.dropout = nn.Parameter(table), nn.Dropout(dropout)

    def at_every_step(self, inputs: Tensor) -> Any:
        return self.dropout(self.table[inputs])


def text(rows: int = 7, time: int = 5) -> Split:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 12, (rows, time + 1), generator=generator)
    ids[2, 3:] = PADDING
    return Split(ids[:, :-1], ids[:, 1:])


def by_hand(table: Tensor, split: Split) -> list[float]:
    """The loss of each token that is not padding."""
    return [
        -table[before].log_softmax(0)[after].item()
        for inputs, targets in zip(split.inputs, split.targets, strict=True)
        for before, after in zip(inputs, targets, strict=True)
        if after != PADDING
    ]


def test_the_loss_is_the_mean_over_tokens_without_padding() -> None:
    table, split = torch.randn(12, 12), text()
    losses = by_hand(table, split)
    assert len(losses) == 7 * 5 - 3
    [(player, loss)] = LanguageModelling().step(Bigram(table), split.inputs, split.targets)
    assert player == "" and loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("tokens", [1, 10, 1 << 15])
def test_evaluation_is_the_same_in_whatever_pieces(
    batch_size: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_modelling, "_TOKENS", tokens)
    table, split = torch.randn(12, 12), text()
    losses = by_hand(table, split)
    measured = LanguageModelling().evaluate(Bigram(table, dropout=0.5), split, batch_size)
    mean = sum(losses) / len(losses)
    assert measured["loss"] == pytest.approx(mean, rel=1e-5)
    assert measured["perplexity"] == pytest.approx(math.exp(mean), rel=1e-5)
    guessed = (table.argmax(1)[split.inputs] == split.targets) & (split.targets != PADDING)
    assert measured["accuracy"] == pytest.approx(guessed.sum().item() / len(losses))


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity() -> None:
    measured = LanguageModelling().evaluate(Bigram(torch.zeros(12, 12)), text(), 10)
    assert measured["perplexity"] == pytest.approx(12)


def test_a_model_that_is_certain_and_wrong_has_no_finite_perplexity() -> None:
    table = torch.full((12, 12), 0.0)
    table[:, 1] = 1e4
    assert LanguageModelling().evaluate(Bigram(table), text(), 10)["perplexity"] == math.inf


def test_an_example_is_text_and_what_follows() -> None:
    inputs, targets = LanguageModelling().example(30, Tokens(6, 9), 9)
    assert inputs.shape == targets.shape == (30, 6) and inputs.dtype == torch.int64
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs.min() >= 5 and inputs.max() < 9
