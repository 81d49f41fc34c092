"""How a family's training compute is best split between parameters and data, by three routes. Numbers only.

The points are those of the scaling section: one a cell, the mean test loss of its finalists, against parameters N,
training rows D and the training FLOPs that a finalist took. The law of the joint fit is Hoffmann et al.'s (2022, arXiv
2203.15556); what a network of N parameters costs on D rows is read from the FLOPs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.errors import UserError
from orchestrator.report import ladder
from orchestrator.report.scaling import Fit, FitOptions, Points, few, fit
from orchestrator.report.scaling.frontier import ALIKE, Cost, Route, agreement, routes_of
from orchestrator.report.scaling.next_run import next_run

LAW = "chinchilla"
# Sizes and data fractions, each, without which no route can be taken: the law's floor needs three of both.
FEWEST = 3
BOOTSTRAP = 200
# The network whose loss is to be foretold is so many times the largest, on as much data.
FURTHER = 10.0


@dataclass(frozen=True)
class NextRun:
    """The run that would tell most about the loss of a network of `target` parameters, on the most data.

    Its `flops` are no more than those of the dearest one so far; `left` is the share of the interval there that it
    would leave, as far as that comes from the law's parameters.
    """

    target: float
    params: float
    train_samples: float
    flops: float
    left: float


@dataclass(frozen=True)
class Optimum:
    """The routes of one family, and how many times they differ at `budget`, ten times the largest cost; with fewer than
    two routes that could be taken `ratio` is None. Where there are no routes at all `reason` says why. `then`: the next
    run to do, where the law is identified.
    """

    family: str
    points: pd.DataFrame
    routes: tuple[Route, ...]
    budget: float
    ratio: float | None
    reason: str
    then: NextRun | None = None

    @property
    def taken(self) -> tuple[Route, ...]:
        return tuple(route for route in self.routes if route.exponent is not None)

    @property
    def agree(self) -> bool:
        return self.ratio is not None and self.ratio < ALIKE

    @property
    def main(self) -> Route | None:
        """The route to quote: one with an interval if there is one."""
        return next((route for route in self.taken if route.low is not None), None) or next(iter(self.taken), None)


def optima(table: pd.DataFrame, families: tuple[str, ...]) -> list[Optimum]:
    """One a family, from the points of `ladder.points`."""
    return [_optimum(table, family) for family in families]


def _optimum(table: pd.DataFrame, family: str) -> Optimum:
    mine = table[table["family"] == family]
    lacking = _lacking(table, mine, family)
    if lacking:
        return Optimum(family, mine, (), 0.0, None, lacking)
    columns = {"N": mine["params"], "D": mine["train_samples"], "C": mine["flops"]}
    try:
        points = Points(
            {name: values.to_numpy(float) for name, values in columns.items()}, mine["loss"].to_numpy(float)
        )
        cost = Cost.measured(points, points.cost, "measured FLOPs")
        made = fit(LAW, points, FitOptions(ladder.OBJECTIVE, bootstrap=BOOTSTRAP))
    except UserError as error:
        return Optimum(family, mine, (), 0.0, None, str(error))
    # Parabolas are known to be biased where sizes are not centred on the optimum, as here.
    routes = tuple(route for route in routes_of(made, cost) if "parabola" not in route.name)
    budget = 10.0 * float(points.cost.max())
    return Optimum(family, mine, routes, budget, agreement(routes, budget), "", _next_run(made, cost))


def _next_run(made: Fit, cost: Cost) -> NextRun | None:
    """Among sizes up to FURTHER times the largest and the amounts of data that were run."""
    if not made.identified:
        return None
    size, rows = made.points.columns["N"], made.points.columns["D"]
    sizes = np.geomspace(size.min(), FURTHER * size.max(), 31)
    given = dict(zip(("N", "D"), (part.ravel() for part in np.meshgrid(sizes, np.unique(rows))), strict=True))
    price = cost.factor * given["N"] ** cost.n * given["D"] ** cost.d
    allowed = price <= float(made.points.cost.max()) * (1 + 1e-9)
    if not allowed.any():
        return None
    target = {"N": FURTHER * float(size.max()), "D": float(rows.max())}
    tried = {name: values[allowed] for name, values in given.items()}
    best: dict[str, Any] = next_run(few.restated(made), np.inf, target, tried)["runs"][0]  # type: ignore[index]
    n, d = best["columns"]["N"], best["columns"]["D"]
    return NextRun(target["N"], n, d, cost.factor * n**cost.n * d**cost.d, best["interval_left"])


def _lacking(table: pd.DataFrame, mine: pd.DataFrame, family: str) -> str:
    sizes, rows = mine["params"].nunique(), mine["train_samples"].nunique()
    if min(sizes, rows) < FEWEST:
        return f"{sizes} sizes and {rows} amounts of data have tested finalists; {FEWEST} of each are needed"
    if odd := ladder.overtaken(table, family):
        larger, smaller = odd[0]
        return ladder.overtaking(larger, smaller)
    return ""
