"""The nonlinearities that a family with an `activation` field may use, by the name it has in a search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

Activation = Literal["relu", "leaky_relu", "sigmoid", "tanh", "gelu"]

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}
