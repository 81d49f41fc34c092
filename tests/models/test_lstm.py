from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orchestrator.models import lstm


def parameters(model: Any) -> list[Tensor]:
    """Weights from input and state, biases of each."""
    cells = model.cells
    return [cells.weight_ih_l0, cells.weight_hh_l0, cells.bias_ih_l0, cells.bias_hh_l0]


def test_states_are_those_of_the_papers_formula() -> None:
    model: Any = lstm.build(lstm.Config(width=6, depth=1), (9, 5), 3)
    from_input, from_state, bias, other = parameters(model)
    inputs, state, cell = torch.randn(2, 9, 5), torch.zeros(2, 6), torch.zeros(2, 6)
    for step in range(9):
        gates = inputs[:, step] @ from_input.T + bias + state @ from_state.T + other
        enter, forget, content, give = gates.chunk(4, 1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * content.tanh()
        state = give.sigmoid() * cell.tanh()
    assert torch.allclose(model(inputs), model.output(state), atol=1e-6)


def test_the_cell_keeps_what_an_open_forget_gate_lets_it() -> None:
    """What the architecture is for: a sign seen once is known many steps later."""
    model: Any = lstm.build(lstm.Config(width=1, depth=1), (200, 1), 1)
    for parameter, values in zip(
        parameters(model), ([[20], [0], [20], [0]], [[0]] * 4, [-10, 20, 0, 20], [0] * 4), strict=True
    ):
        parameter.data = torch.tensor(values, dtype=torch.float32)
    inputs = torch.zeros(2, 200, 1)
    inputs[:, 0, 0] = torch.tensor([1.0, 0.0])
    states = model.cells(inputs)[0]
    assert states[0, -1].item() > 0.7 and abs(states[1, -1].item()) < 1e-3
