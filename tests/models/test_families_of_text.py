"""Token ids and the families that can and can't take them."""

from __future__ import annotations

import pytest
import torch

from orchestrator.errors import UserError
from orchestrator.models import FAMILIES
from orchestrator.tokens import Tokens
from orchestrator.training.parameters import describe

OF_NUMBERS = [
    name
    for name, family in FAMILIES.items()
    if not any(isinstance(shape, Tokens) for shape in family.tasks.values()) and "classification" in family.tasks
]


@pytest.mark.parametrize("family", OF_NUMBERS)
def test_a_family_for_numbers_refuses_text_in_one_line(family: str) -> None:
    with pytest.raises(UserError, match=f"{family} takes") as error:
        describe(family, "xs", Tokens(time=8, vocabulary=8), 10)
    assert "\n" not in str(error.value)


def test_the_cost_of_text_is_not_that_of_numbers_of_equal_shape() -> None:
    text, numbers = Tokens(time=12, vocabulary=8), (12, 8)
    assert text == numbers
    assert describe("gru", "xs", numbers, 3).params != describe("gru", "xs", text, 3).params


@pytest.mark.parametrize("family", ["rnn", "lstm", "gru"])
def test_padding_is_embedded_as_zeros_that_stay(family: str) -> None:
    settings = FAMILIES[family]
    model = settings.build(settings.config(width=6, depth=1), Tokens(4, 9), 3)
    model(torch.tensor([[5, 6, 0, 0], [7, 8, 5, 0]])).sum().backward()
    embedding = model.get_parameter("embedding.weight")
    assert embedding.grad is not None and not embedding[0].any() and not embedding.grad[0].any()
