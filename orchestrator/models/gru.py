"""Gated recurrent unit: two gates, and no cell beside the state.

Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio, "Learning phrase representations using RNN
encoder-decoder for statistical machine translation", EMNLP 2014, section 2.3, as torch has it (σ the logistic function;
the reset gate acts after the product with U, which lets one kernel compute all three products):

    r, z = σ(W x_t + U h_(t-1) + b), each with its own W, U, b              reset and update gate
    n = tanh(W_n x_t + b_n + r ⊙ (U_n h_(t-1) + c_n))                       what the state could become
    h_t = (1 - z) ⊙ n + z ⊙ h_(t-1)

What surrounds the cells, and both directions, is in recurrent.py. The dial doubles the width and, in the two largest
sizes, adds a layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from orchestrator.models.checks import check_dropout
from orchestrator.models.recurrent import Pooling, Recurrent, check_segment, features_of

PAPER = "Cho, van Merriënboer, Gulcehre et al.: Learning phrase representations using RNN encoder-decoder, EMNLP 2014"

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
    cells = nn.GRU(
        features_of("gru", input_shape, config.width, config.segment),
        config.width,
        config.depth,
        batch_first=True,
        dropout=config.dropout if config.depth > 1 else 0.0,
        bidirectional=config.bidirectional,
    )
    return Recurrent(cells, input_shape, outputs, config.dropout, config.pooling, config.segment)
