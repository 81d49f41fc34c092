"""Where the search of a larger cell begins: what the smaller ones of its family lead to expect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator import records
from orchestrator.cell_search import CellSearch
from orchestrator.history import TrialHistory
from orchestrator.records import Cell
from orchestrator.space import Choice, Float, Parameter, Space, Value

# What changes with scale in a way that a law describes. Everything else is taken over as it is.
FITTED = ("learning_rate", "batch_size")
# Of each smaller cell, so many of its best trials: the very best one is half luck.
TOP = 3
# How many trials of a larger cell are such expectations; its sampler then learns from them as from any other.
MOST = 3
# Standard deviations, in natural logarithms: of a cell's optimum as its few trials show it, and of the slopes against
# the logarithms of parameters and rows before anything was seen. Published for language models: the learning rate
# with the tokens to the power of -0.32 (Bjorck et al. 2024, arXiv 2409.19913), with the compute to that of -0.125, and
# the batch size to that of 0.33 (DeepSeek 2024, arXiv 2401.02954).
SPREAD, SLOPE = 0.5, 0.3
# A prediction as close as that to the value that was best is the same: not worth a trial of its own.
ALIKE = 0.05


def expectations(
    cell: Cell, before: Sequence[CellSearch], space: Space, direction: str
) -> list[tuple[str, dict[str, Any]]]:
    """Configurations to begin with, each with its `origin`: first the predicted one, then those that were best in each
    smaller cell, from the nearest on, and if that is not enough, the nearest's next best.

    before: the searches of all smaller cells, which are over. The prediction is the best configuration of the nearest
    one, with what is in `FITTED` moved to where a law through all of them leads.
    """
    ranked = [(search.cell, _best(search, direction)) for search in before]
    # The nearest last step: the largest of the smaller ones.
    ranked = sorted(((one, best) for one, best in ranked if best), key=lambda pair: sum(map(math.log, pair[0].scale)))
    if not ranked:
        return []
    base = ranked[-1][1][0].trial.config
    predicted = dict(base)
    for name in FITTED:
        if isinstance(base.get(name), int | float) and not isinstance(base[name], bool):
            value = _predicted(name, cell, ranked, base)
            if not math.isclose(value, base[name], rel_tol=ALIKE):
                predicted[name] = _within(space.parameters[name], value)
    known = [(records.PREDICTED, predicted)]
    known += [(records.COPIED, best[0].trial.config) for _, best in reversed(ranked)]
    known += [(records.COPIED, told.trial.config) for told in ranked[-1][1][1:]]
    distinct: list[tuple[str, dict[str, Any]]] = []
    for origin, config in known:
        if not any(_alike(config, one) for _, one in distinct):
            distinct.append((origin, config))
    return distinct[:MOST]


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are the same, but for little in what a law predicts."""

    def same(name: str) -> bool:
        close = name in FITTED and math.isclose(one[name], other[name], rel_tol=ALIKE)
        return close or one[name] == other[name]

    return one.keys() == other.keys() and all(map(same, one))


def _best(search: CellSearch, direction: str) -> list[TrialHistory]:
    """The best trials that ran to their end, else of the pruned, best first."""
    for status in (records.COMPLETE, records.PRUNED):
        ended = [told for told in search.members if told.status == status and told.value is not None]
        if ended:
            sign = -1.0 if direction == "max" else 1.0
            return sorted(ended, key=lambda told: sign * (told.value or 0.0))[:TOP]
    return []


def _predicted(
    name: str, cell: Cell, ranked: Sequence[tuple[Cell, list[TrialHistory]]], base: Mapping[str, Any]
) -> float:
    """log h = a + b log N + c log D, by least squares with a prior on b and c that pulls them to 0.

    Only trials count that chose as `base` did (a learning rate of SGD says nothing about one of Adam); one cell alone
    leaves the slopes where they are, at 0.
    """
    choices = {key: value for key, value in base.items() if isinstance(value, str)}
    scales, optima, counts = [], [], []
    for one, best in ranked:
        alike = [
            math.log(told.trial.config[name])
            for told in best
            if told.trial.config.get(name, 0) > 0
            and all(told.trial.config.get(key) == value for key, value in choices.items())
        ]
        if alike:
            scales.append([math.log(side) for side in one.scale])
            optima.append(float(np.mean(alike)))
            counts.append(len(alike))
    if not optima:
        return float(base[name])
    centre = np.average(scales, axis=0, weights=counts)
    design = np.column_stack([np.ones(len(optima)), np.array(scales) - centre])
    weights = np.array(counts) / SPREAD**2
    precision = design.T @ (weights[:, None] * design) + np.diag([0.0, SLOPE**-2, SLOPE**-2])
    law = np.linalg.solve(precision, design.T @ (weights * np.array(optima)))
    here = np.array([math.log(side) for side in cell.scale]) - centre
    return math.exp(float(law @ [1.0, *here]))


def _within(parameter: Parameter, value: float) -> Value:
    """The value of the space that is nearest, in proportion."""
    if isinstance(parameter, Choice):
        numbers = [one for one in parameter.values if isinstance(one, int | float) and one > 0]
        return min(numbers, key=lambda one: abs(math.log(one / value)))
    if isinstance(parameter, Float):
        return min(max(value, parameter.low), parameter.high)
    steps = round((value - parameter.low) / parameter.step)
    most = (parameter.high - parameter.low) // parameter.step
    return parameter.low + parameter.step * min(max(steps, 0), most)
