"""Families of networks: one file an architecture, pure torch, and one table.

Adding a family: its file (paper, `Config`, `SIZES`, `build`), a line here, `search_spaces/<name>.yaml`, and
`tests/models/test_<name>.py` for what is special to it. `tests/models/test_conformance.py` checks the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from orchestrator.models import lenet, mlp, perceptron


@dataclass(frozen=True, eq=False)
class Family:
    """An architecture with a size dial.

    `config` is a frozen dataclass; `sizes[size]` sets some of its fields, a search space may set the others.
    `build(config, input_shape, outputs)` makes the network from the global random state; it takes
    inputs [batch, *input_shape] and raises UserError for a shape that the architecture can't take.
    """

    config: type[Any]
    build: Callable[[Any, tuple[int, ...], int], nn.Module]
    sizes: Mapping[str, Mapping[str, int]]
    tasks: tuple[str, ...]
    paper: str


_BOTH = ("classification", "regression")

FAMILIES: Mapping[str, Family] = {
    "perceptron": Family(perceptron.Config, perceptron.build, perceptron.SIZES, _BOTH, perceptron.PAPER),
    "mlp": Family(mlp.Config, mlp.build, mlp.SIZES, _BOTH, mlp.PAPER),
    "lenet": Family(lenet.Config, lenet.build, lenet.SIZES, _BOTH, lenet.PAPER),
}
