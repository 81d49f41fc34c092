"""Random inputs of each kind, of which the tasks make their examples."""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.tokens import SPECIAL, Tokens


def random_inputs(rows: int, input_shape: tuple[int, ...]) -> Tensor:
    """Numbers from a normal distribution [rows, *input_shape], or texts [rows, time], or graphs, whatever the shape
    is of."""
    if isinstance(input_shape, Tokens):
        return torch.randint(len(SPECIAL), input_shape.vocabulary, (rows, input_shape.time))
    if isinstance(input_shape, Graphs):
        return random_graphs(rows, input_shape)
    return torch.randn(rows, *input_shape)


def random_graphs(rows: int, shape: tuple[int, ...]) -> Tensor:
    """Rings of nodes of which random things are said: [rows, nodes, codes + neighbours].

    Raises:
        UserError: the shape is not of graphs.
    """
    if not isinstance(shape, Graphs):
        raise UserError(f"graphs are needed, found inputs of {'×'.join(map(str, shape))}")
    codes = torch.randint(1, shape.vocabulary, (rows, shape.nodes, shape.codes))
    places = torch.arange(shape.nodes)
    neighbours = torch.zeros(rows, shape.nodes, shape.neighbours, dtype=torch.int64)
    for slot, step in enumerate((1, -1)[: shape.neighbours]):
        neighbours[:, :, slot] = (places + step) % shape.nodes + 1
    return torch.cat([codes, neighbours], 2)
