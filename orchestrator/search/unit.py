"""Between a hyperparameter and the unit interval, where every draw and every step of a search is made."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from orchestrator.space import Choice, Float, Parameter


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """A parameter's range as Optuna has it."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    # Optuna warns where the last stride does not end on `high`.
    high = parameter.high - (parameter.high - parameter.low) % parameter.step
    return IntDistribution(parameter.low, high, log=parameter.log, step=parameter.step)


def from_unit(distribution: BaseDistribution, point: float) -> Any:
    """The value at `point` in [0, 1]; whole numbers and choices each own an interval of the same width.

    On a logarithmic range equal intervals are equal ratios.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[_index(point, len(distribution.choices))]
    low, high = _ends(distribution)
    place = low + min(max(point, 0.0), 1.0) * (high - low)
    value = math.exp(place) if distribution.log else place
    if isinstance(distribution, IntDistribution):
        strides = round((value - distribution.low) / distribution.step)
        value = distribution.low + max(strides, 0) * distribution.step
        return int(min(value, distribution.high))
    return float(min(max(value, distribution.low), distribution.high))


def to_unit(distribution: BaseDistribution, value: Any) -> float:
    """The point whose value this is: for a whole number or a choice, the middle of its interval."""
    if isinstance(distribution, CategoricalDistribution):
        return float(distribution.choices.index(value) + 0.5) / len(distribution.choices)
    low, high = _ends(distribution)
    place = math.log(value) if distribution.log else float(value)
    return (place - low) / (high - low) if high > low else 0.5


def _ends(distribution: BaseDistribution) -> tuple[float, float]:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    # A whole number owns half a stride on either side.
    half = distribution.step / 2 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - half, distribution.high + half
    return (math.log(low), math.log(high)) if distribution.log else (float(low), float(high))


def _index(point: float, count: int) -> int:
    return min(int(point * count), count - 1)
