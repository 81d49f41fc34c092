from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.models import rnn


def parameters(model: Any) -> list[Tensor]:
    """Weights from input and state, biases of each."""
    cells = model.cells
    return [cells.weight_ih_l0, cells.weight_hh_l0, cells.bias_ih_l0, cells.bias_hh_l0]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_states_are_those_of_the_papers_formula(nonlinearity: Any) -> None:
    model: Any = rnn.build(rnn.Config(width=6, depth=1, nonlinearity=nonlinearity), (9, 5), 3)
    from_input, from_state, bias, other = parameters(model)
    inputs, state = torch.randn(2, 9, 5), torch.zeros(2, 6)
    for step in range(9):
        state = getattr(torch, nonlinearity)(inputs[:, step] @ from_input.T + bias + state @ from_state.T + other)
    assert torch.allclose(model(inputs), model.output(state), atol=1e-6)


def test_a_second_layer_reads_the_first() -> None:
    model: Any = rnn.build(rnn.Config(width=6, depth=2), (9, 5), 3)
    first, second, inputs = torch.zeros(2, 6), torch.zeros(2, 6), torch.randn(2, 9, 5)
    for step in range(9):
        cells = model.cells
        first = torch.tanh(
            inputs[:, step] @ cells.weight_ih_l0.T + cells.bias_ih_l0 + first @ cells.weight_hh_l0.T + cells.bias_hh_l0
        )
        second = torch.tanh(
            first @ cells.weight_ih_l1.T + cells.bias_ih_l1 + second @ cells.weight_hh_l1.T + cells.bias_hh_l1
        )
    assert torch.allclose(model(inputs), model.output(second), atol=1e-6)
