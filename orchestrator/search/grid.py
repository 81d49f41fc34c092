"""Every point of a grid once, in an order that is good wherever it is cut short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from orchestrator.errors import UserError
from orchestrator.records import seed_of
from orchestrator.search.unit import distribution_of, from_unit
from orchestrator.space import Parameter, Space, Value, is_active


class Grid:
    """The grid of a space: all values of a choice, `points` values of a number, evenly from its low to its high end.

    Evenly on the parameter's own scale, the middle if `points` is 1; a range of whole numbers that holds fewer gives
    each of them once. A parameter whose condition does not hold adds no points. Nothing is laid out: a grid of 10¹⁴
    points takes as little memory as one of ten.
    """

    def __init__(self, space: Space, points: int) -> None:
        self._parameters = list(space.parameters.items())
        self._values = {name: _values(parameter, points) for name, parameter in self._parameters}
        # For each position, what conditions there and later ask about: all that a count has to know of the past.
        self._asked = [
            sorted({key for _, later in self._parameters[position:] for key, _ in later.when})
            for position in range(len(self._parameters) + 1)
        ]
        self._counts: dict[tuple[Any, ...], int] = {}

    @property
    def size(self) -> int:
        """The number of points, each another configuration."""
        return self._below(0, {})

    def config(self, seed: int, number: int) -> dict[str, Value]:
        """Configuration `number` in the shuffled order that `seed` names: each once for numbers below `size`.

        Raises:
            UserError: the grid has no such point.
        """
        if number >= self.size:
            raise UserError(f"grid: trial {number + 1} was asked for; the grid has {self.size} points")
        index = _shuffled(number, self.size, seed)
        drawn: dict[str, Value] = {}
        for position, (name, parameter) in enumerate(self._parameters):
            if not is_active(parameter, drawn):
                continue
            for value in self._values[name]:
                below = self._below(position + 1, {**drawn, name: value})
                if index < below:
                    drawn[name] = value
                    break
                index -= below
        return drawn

    def _below(self, position: int, drawn: Mapping[str, Value]) -> int:
        """How many configurations begin with `drawn`, which holds the parameters before `position`."""
        if position == len(self._parameters):
            return 1
        key = (position, *(drawn.get(name) for name in self._asked[position]))
        if key not in self._counts:
            name, parameter = self._parameters[position]
            if not is_active(parameter, drawn):
                count = self._below(position + 1, drawn)
            elif name in self._asked[position + 1]:
                count = sum(self._below(position + 1, {**drawn, name: value}) for value in self._values[name])
            else:
                count = len(self._values[name]) * self._below(position + 1, drawn)
            self._counts[key] = count
        return self._counts[key]


def _values(parameter: Parameter, points: int) -> list[Value]:
    distribution = distribution_of(parameter)
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    places = np.linspace(0, 1, points).tolist() if points > 1 else [0.5]
    return list(dict.fromkeys(from_unit(distribution, place) for place in places))


def _shuffled(number: int, count: int, seed: int) -> int:
    """Where `number` goes in a random order of the numbers below `count`, without laying that order out.

    A Feistel network of four rounds (Luby and Rackoff 1988) permutes the next larger square; what falls outside the
    range is sent through again until it falls inside.
    """
    side = 1
    while side * side < count:
        side *= 2
    place = number
    while True:
        left, right = divmod(place, side)
        for turn in range(4):
            left, right = right, (left + seed_of(seed, "grid", turn, right)) % side
        place = left * side + right
        if place < count:
            return place
