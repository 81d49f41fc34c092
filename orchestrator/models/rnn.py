"""Recurrent network: a hidden layer that is also given its own values of the step before.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990, figure 2:

    h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)

Trained through all steps (backpropagation through time), where Elman went back one step alone. What surrounds the
cells, and both directions, is in recurrent.py. The dial doubles the width and, in the two largest sizes, adds a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from orchestrator.models.checks import check_dropout
from orchestrator.models.recurrent import Pooling, Recurrent, check_segment, features_of

PAPER = "Elman: Finding structure in time, Cognitive Science 14(2), 1990"

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
    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        check_segment(self.segment)


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    cells = nn.RNN(
        features_of("rnn", input_shape, config.width, config.segment),
        config.width,
        config.depth,
        nonlinearity=config.nonlinearity,
        batch_first=True,
        dropout=config.dropout if config.depth > 1 else 0.0,
        bidirectional=config.bidirectional,
    )
    return Recurrent(cells, input_shape, outputs, config.dropout, config.pooling, config.segment)
