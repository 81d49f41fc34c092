"""Long short-term memory: a cell whose content is kept, forgotten and given out by gates.

Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; with the forget gate of Gers,
Schmidhuber, Cummins, "Learning to forget", Neural Computation 12(10), 2000, as torch has it (σ the logistic function):

    i, f, o = σ(W x_t + U h_(t-1) + b), each with its own W, U, b           input, forget, output gate
    c_t = f ⊙ c_(t-1) + i ⊙ tanh(W_g x_t + U_g h_(t-1) + b_g)               the cell
    h_t = o ⊙ tanh(c_t)

What surrounds the cells, and both directions, is in recurrent.py. The dial doubles the width and, in the two largest
sizes, adds a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from orchestrator.models.checks import check_dropout
from orchestrator.models.recurrent import Pooling, Recurrent, check_segment, features_of

PAPER = "Hochreiter, Schmidhuber: Long short-term memory, Neural Computation 9(8), 1997"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 32, "depth": 1},
    "s": {"width": 64, "depth": 1},
    "m": {"width": 128, "depth": 1},
    "l": {"width": 256, "depth": 2},
    "xl": {"width": 512, "depth": 2},
}


@dataclass(frozen=True)
class Config:
    width: int
    depth: int
    bidirectional: bool = False
    pooling: Pooling = "last"
    segment: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        check_segment(self.segment)


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    cells = nn.LSTM(
        features_of("lstm", input_shape, config.width, config.segment),
        config.width,
        config.depth,
        batch_first=True,
        dropout=config.dropout if config.depth > 1 else 0.0,
        bidirectional=config.bidirectional,
    )
    return Recurrent(cells, input_shape, outputs, config.dropout, config.pooling, config.segment)
