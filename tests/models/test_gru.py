from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from orchestrator.models import gru


def parameters(model: Any) -> list[Tensor]:
    """Weights from input and state, biases of each."""
    cells = model.cells
    return [cells.weight_ih_l0, cells.weight_hh_l0, cells.bias_ih_l0, cells.bias_hh_l0]


def test_states_are_those_of_the_papers_formula() -> None:
    model: Any = gru.build(gru.Config(width=6, depth=1), (9, 5), 3)
    from_input, from_state, bias, other = parameters(model)
    inputs, state = torch.randn(2, 9, 5), torch.zeros(2, 6)
    for step in range(9):
        reset, update, new = (inputs[:, step] @ from_input.T + bias).chunk(3, 1)
        reset_too, update_too, new_too = (state @ from_state.T + other).chunk(3, 1)
        keep = (update + update_too).sigmoid()
        candidate = (new + (reset + reset_too).sigmoid() * new_too).tanh()
        state = (1 - keep) * candidate + keep * state
    assert torch.allclose(model(inputs), model.output(state), atol=1e-6)
