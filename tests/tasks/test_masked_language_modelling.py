from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.data.load import Split
from orchestrator.errors import UserError
from orchestrator.tasks.masked_language_modelling import MaskedLanguageModelling, choose, corrupt, told
from orchestrator.tokens import MASK, Tokens


def text(rows: int = 400, time: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 25, (rows, time), generator=generator)
    tokens[::2, 10:] = 0
    tokens[0, 1:] = 0
    return tokens


class Reader(nn.Module):
    """Says that everything is what it looks like, with logits of 3; remembers what it was given."""

    vocabulary = 25

    def at_places(self, inputs: Tensor, places: Tensor) -> Tensor:
        self.given = inputs
        return 3.0 * functional.one_hot(inputs.gather(1, places), 25).float()


def test_of_each_row_the_same_share_is_chosen_and_never_padding() -> None:
    inputs = text()
    chosen = choose(inputs, 0.15)
    assert not chosen[inputs == 0].any()
    assert chosen[0].sum() == 1, "at least one"
    assert (chosen[1::2].sum(1) == 6).all() and (chosen[2::2].sum(1) == 2).all()
    places = chosen[1::2].float().mean(0)
    assert places.min() > 0.07 and places.max() < 0.25, "anywhere in the row"


def test_most_of_the_chosen_are_hidden_some_replaced_some_left() -> None:
    inputs = text()
    chosen = choose(inputs, 0.15)
    given = corrupt(inputs, chosen, 25)
    assert torch.equal(given[~chosen], inputs[~chosen])
    hidden = (given[chosen] == MASK).float().mean()
    left = (given[chosen] == inputs[chosen]).float().mean()
    assert hidden == pytest.approx(0.8, abs=0.04) and left == pytest.approx(0.1 + 0.1 / 20, abs=0.03)
    others = given[chosen & (given != MASK) & (given != inputs)]
    assert others.min() >= 5 and others.max() < 25 and len(others.unique()) > 10


@pytest.mark.parametrize("share", [0.1, 0.15, 0.3, 0.99])
def test_each_chosen_token_is_told_once_and_padding_is_not_asked_for(share: float) -> None:
    inputs = text()
    chosen = choose(inputs, share)
    places, true = told(inputs, chosen, share)
    assert places.shape == true.shape == (400, math.ceil(40 * share))
    again = torch.zeros_like(chosen)
    for row, place in (true != 0).nonzero().tolist():
        at = places[row, place]
        assert true[row, place] == inputs[row, at] and not again[row, at]
        again[row, at] = True
    assert torch.equal(again, chosen)
    assert (inputs.gather(1, places) != 0).all()


def test_the_loss_is_over_the_chosen_alone() -> None:
    model, inputs = Reader(), text()
    torch.manual_seed(3)
    chosen = choose(inputs, 0.15)
    torch.manual_seed(3)
    [(player, loss)] = MaskedLanguageModelling().step(model, inputs, torch.zeros(len(inputs)))
    logits = 3.0 * functional.one_hot(model.given, 25).float()
    expected = functional.cross_entropy(logits[chosen], inputs[chosen])
    assert player == "" and loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_evaluation_counts_the_chosen(batch_size: int) -> None:
    torch.manual_seed(0)
    inputs = text()
    measured = MaskedLanguageModelling().evaluate(Reader(), Split(inputs, torch.zeros(len(inputs))), batch_size)
    # A tenth is left as it was, and told right with a loss of ln(24 + e³) - 3; the others are not.
    total = math.log(24 + math.exp(3))
    assert measured["accuracy"] == pytest.approx(0.105, abs=0.03)
    assert measured["loss"] == pytest.approx(total - 3 * measured["accuracy"], rel=1e-5)
    assert measured["perplexity"] == pytest.approx(math.exp(measured["loss"]), rel=1e-5)


def test_what_is_told_in_evaluation_is_as_much_whatever_was_told_in_training() -> None:
    """Else the fewer are hidden the better a model seems."""
    measured = []
    for masked in (0.1, 0.15, 0.3):
        torch.manual_seed(0)
        split = Split(text(), torch.zeros(400))
        measured.append(MaskedLanguageModelling(masked=masked).evaluate(Reader(), split, 100))
    assert measured[0] == measured[1] == measured[2]


def test_an_example_can_be_told() -> None:
    inputs, _ = MaskedLanguageModelling().example(30, Tokens(6, 9), 9)
    assert inputs.shape == (30, 6) and (inputs == inputs[:, :1]).all() and inputs.min() >= 5 and inputs.max() < 9


@pytest.mark.parametrize("wrong", [0.0, 1.0, math.nan])
def test_a_share_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="masked"):
        MaskedLanguageModelling(masked=wrong)
