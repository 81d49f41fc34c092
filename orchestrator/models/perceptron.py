"""Perceptron: a fixed layer of randomly connected threshold units, and trained response units on top of it.

Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the brain",
Psychological Review 65(6), 1958. The photoperceptron of the paper (its figures 1 and 2), in today's words:

    S  sensory points      the input, flattened; a point passes on an impulse as strong as its stimulus
    A  association units   each joined to x excitatory and y inhibitory points, drawn at random once and for all; fires
                           (gives 1) where excitatory less inhibitory impulses reach the threshold θ, else gives 0
    R  response units      the only trained part: a weighted sum of the A-units that fired

So it is often remembered as a single linear layer, but its power lies in the A-units, and their number is the dial here
(B batch, S points, A units, O outputs). Two departures: x = y, and the responses are trained by gradient on the
task's loss, as everything on this platform, in place of the paper's rules of reinforcement. The random connections are
drawn with the initial weights, from the seed, and kept with them as a buffer. A forecast is relative to the last step
(`forecasts.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.models.checks import check_dropout, check_numbers
from orchestrator.models.forecasts import from_last_step
from orchestrator.windows import Windows

PAPER = "Rosenblatt: The perceptron, a probabilistic model, Psychological Review 65(6), 1958"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"association_units": 64},
    "s": {"association_units": 160},
    "m": {"association_units": 400},
    "l": {"association_units": 1000},
    "xl": {"association_units": 2500},
}


@dataclass(frozen=True)
class Config:
    """connections: excitatory points of each A-unit, and as many inhibitory ones.

    threshold: θ, in standard deviations of an A-unit's input, were the points standardized and independent.
    dropout: share of the A-units that are silent in a training step.
    """

    association_units: int
    connections: int = 4
    threshold: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise UserError(f"connections must be 1 or more, found {self.connections}")
        check_dropout(self.dropout)


class Perceptron(nn.Module):
    connections: Tensor  # [A, S]: +1 for each excitatory connection, -1 for each inhibitory one

    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.forecasts = isinstance(input_shape, Windows)
        points = math.prod(input_shape)
        units, each = config.association_units, config.connections
        connections = torch.zeros(units, points)
        # With replacement, as in the paper's analysis: a point drawn twice counts twice.
        connections.scatter_add_(1, torch.randint(points, (units, each)), torch.ones(units, each))
        connections.scatter_add_(1, torch.randint(points, (units, each)), -torch.ones(units, each))
        self.register_buffer("connections", connections)
        self.threshold = config.threshold * math.sqrt(2 * each)
        self.dropout = nn.Dropout(config.dropout)
        self.responses = nn.Linear(units, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, ...] → [B, O]: logits, or predicted values."""
        return from_last_step(self._told, inputs) if self.forecasts else self._told(inputs)

    def _told(self, inputs: Tensor) -> Tensor:
        impulses = functional.linear(inputs.flatten(1), self.connections)
        fired = (impulses >= self.threshold).to(inputs.dtype)
        responses: Tensor = self.responses(self.dropout(fired))
        return responses


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_numbers("perceptron", input_shape)
    return Perceptron(config, input_shape, outputs)
