from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.load import Split
from orchestrator.errors import UserError
from orchestrator.tasks import transduction
from orchestrator.tasks.transduction import Transduction, edit_distance
from orchestrator.tokens import BEGIN, END, PADDING, Tokens


def levenshtein(one: list[int], other: list[int]) -> int:
    """The recursive definition."""
    if not one or not other:
        return len(one) + len(other)
    if one[-1] == other[-1]:
        return levenshtein(one[:-1], other[:-1])
    return 1 + min(levenshtein(one[:-1], other), levenshtein(one, other[:-1]), levenshtein(one[:-1], other[:-1]))


def padded(sequence: list[int], steps: int) -> list[int]:
    return [*sequence, END, *[PADDING] * steps][:steps]


def test_edit_distance_is_that_of_its_definition() -> None:
    words = [list(word) for length in range(4) for word in product((5, 6), repeat=length)]
    pairs = [(one, other) for one in words for other in words]
    said, true = (torch.tensor([padded(pair[side], 4) for pair in pairs]) for side in (0, 1))
    assert edit_distance(said, true).tolist() == [levenshtein(one, other) for one, other in pairs]


def test_edit_distance_is_that_of_its_definition_for_longer_ones_too() -> None:
    torch.manual_seed(0)
    said, true = torch.randint(5, 8, (20, 7)), torch.randint(5, 8, (20, 6))
    expected = [levenshtein(one, other) for one, other in zip(said.tolist(), true.tolist(), strict=True)]
    assert edit_distance(said, true).tolist() == expected


def test_what_a_model_says_after_the_end_does_not_count() -> None:
    true = torch.tensor([[5, 6, END, PADDING]])
    assert edit_distance(torch.tensor([[5, 6, END, 7]]), true).tolist() == [0]
    assert edit_distance(torch.tensor([[5, 6, PADDING, 7]]), true).tolist() == [0]
    assert edit_distance(torch.tensor([[5, 6, 7, END]]), true).tolist() == [1]


class Copier(nn.Module):
    """Says its input, one token of which it gets wrong; whatever it is told, its logits are zeros but for <end>."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.end = nn.Parameter(torch.tensor(2.0))
        self.outputs, self.before = outputs, torch.zeros(0)

    def at_every_step(self, inputs: Tensor, before: Tensor) -> Tensor:
        self.before = before
        logits = torch.zeros(*before.shape, self.outputs)
        logits[..., END] = self.end
        return logits

    def greedy(self, inputs: Tensor, steps: int) -> Tensor:
        assert not self.training and steps == inputs.shape[1] + 1
        said = torch.where(inputs == 9, 8, inputs)
        return torch.cat(
            [torch.where(said == PADDING, END, said), END * torch.ones(len(said), 1, dtype=torch.int64)], 1
        )


def split() -> Split:
    inputs = torch.tensor([[5, 6, 7], [9, 9, 0], [5, 0, 0], [6, 9, 5]])
    targets = torch.zeros(4, 5, dtype=torch.int64)
    for row, own in zip(targets, ([5, 6, 7], [9, 9], [5], [6, 9, 5]), strict=True):
        row[: len(own) + 2] = torch.tensor([BEGIN, *own, END])
    return Split(inputs, targets)


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_metrics_equal_a_count_by_hand(batch_size: int) -> None:
    measured = Transduction(label_smoothing=0.3).evaluate(Copier(10), split(), batch_size)
    # Nine tokens and four ends; of 10 logits one is 2, the others 0. Three tokens are wrong, in two of four rows.
    total = math.log(9 + math.exp(2))
    assert measured["loss"] == pytest.approx((9 * total + 4 * (total - 2)) / 13)
    assert measured["token_error_rate"] == pytest.approx(3 / 9)
    assert measured["word_error_rate"] == pytest.approx(2 / 4)


def test_a_long_batch_is_judged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Transduction().evaluate(Copier(10), split(), 10)
    monkeypatch.setattr(transduction, "_PAIRS", 2 * 3 * 5)  # two rows of a source of 3 and a target of 5
    model = Copier(10)
    assert Transduction().evaluate(model, split(), 10) == pytest.approx(whole)
    assert len(model.before) == 2


def test_training_gives_the_true_tokens_before_each() -> None:
    model, data = Copier(10), split()
    [(player, loss)] = Transduction().step(model, data.inputs, data.targets)
    assert player == "" and torch.equal(model.before, data.targets[:, :-1])
    measured = Transduction().evaluate(model, data, 10)
    assert loss.item() == pytest.approx(measured["loss"])


def test_smoothing_spreads_a_share_of_each_target_over_all_tokens() -> None:
    """Of ten logits one is 2, the others 0: a token costs `total`, the end 2 less, and the mean of all 0.2 less."""
    data = split()
    [(_, loss)] = Transduction(label_smoothing=0.2).step(Copier(10), data.inputs, data.targets)
    total = math.log(9 + math.exp(2))
    assert loss.item() == pytest.approx(0.8 * (total - 4 * 2 / 13) + 0.2 * (total - 2 / 10))


def test_an_example_is_framed_by_begin_and_end() -> None:
    inputs, targets = Transduction().example(4, Tokens(6, 12), 20)
    assert inputs.shape == (4, 6) and targets.shape == (4, 8)
    assert (targets[:, 0] == BEGIN).all() and (targets[:, -1] == END).all()
    assert inputs.min() >= 5 and inputs.max() < 12 and targets.max() < 20


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
def test_smoothing_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="label_smoothing"):
        Transduction(label_smoothing=wrong)
