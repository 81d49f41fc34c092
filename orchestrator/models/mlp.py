"""Multilayer perceptron: fully connected layers, trained by backpropagation.

Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986; with two later
additions that a search space may use: dropout after each hidden layer (Srivastava et al., JMLR 15, 2014) and batch
normalization before each activation (Ioffe, Szegedy, ICML 2015).

Letters: B batch, F input features (an image or a sequence is flattened), W width, O outputs. A forecast is relative to
the last step (`forecasts.py`).
The dial doubles the width and, in the two largest sizes, adds a layer. The outputs' biases do not double: where outputs
are as many as features, as in a forecast of 96 steps of 7 series, xs to s is 1.993 times the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from orchestrator.models.activations import ACTIVATIONS, Activation
from orchestrator.models.checks import check_dropout, check_numbers
from orchestrator.models.forecasts import from_last_step
from orchestrator.windows import Windows

PAPER = "Rumelhart, Hinton, Williams: Learning representations by back-propagating errors, Nature 323, 1986"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 16, "depth": 2},
    "s": {"width": 32, "depth": 2},
    "m": {"width": 64, "depth": 2},
    "l": {"width": 128, "depth": 3},
    "xl": {"width": 256, "depth": 3},
}


@dataclass(frozen=True)
class Config:
    width: int
    depth: int
    activation: Activation = "relu"
    dropout: float = 0.0
    batch_norm: bool = False

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class MLP(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.forecasts = isinstance(input_shape, Windows)
        features = math.prod(input_shape)
        layers: list[nn.Module] = []
        for _ in range(config.depth):
            # Batch normalization subtracts the mean, and with it any bias of the layer before.
            layers.append(nn.Linear(features, config.width, bias=not config.batch_norm))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(config.width))
            layers.append(ACTIVATIONS[config.activation]())
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            features = config.width
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(features, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, ...] → [B, O]: logits, or predicted values."""
        return from_last_step(self._told, inputs) if self.forecasts else self._told(inputs)

    def _told(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.output(self.hidden(inputs.flatten(1)))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_numbers("mlp", input_shape)
    return MLP(config, input_shape, outputs)
