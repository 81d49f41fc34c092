"""How a family's training compute is best split between parameters and data, by three routes. Numbers only.

The points are those of the scaling section: one a cell, the mean test loss of its finalists, against parameters N,
training rows D and the training FLOPs that a finalist took. The law of the joint fit is Hoffmann et al.'s (2022, arXiv
2203.15556); what a network of N parameters costs on D rows is read from the FLOPs themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from orchestrator.errors import UserError
from orchestrator.report import ladder
from orchestrator.report.scaling import FitOptions, Points, fit
from orchestrator.report.scaling.frontier import ALIKE, Cost, Route, agreement, routes_of

LAW = "chinchilla"
# Sizes and data fractions, each, without which no route can be taken: the law's floor needs three of both.
FEWEST = 3
BOOTSTRAP = 200


@dataclass(frozen=True)
class Optimum:
    """The routes of one family, and how many times they differ at `budget`, ten times the largest cost; with fewer than
    two routes that could be taken `ratio` is None. Where there are no routes at all `reason` says why.
    """

    family: str
    points: pd.DataFrame
    routes: tuple[Route, ...]
    budget: float
    ratio: float | None
    reason: str

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
    return Optimum(family, mine, routes, budget, agreement(routes, budget), "")


def _lacking(table: pd.DataFrame, mine: pd.DataFrame, family: str) -> str:
    sizes, rows = mine["params"].nunique(), mine["train_samples"].nunique()
    if min(sizes, rows) < FEWEST:
        return f"{sizes} sizes and {rows} amounts of data have tested finalists; {FEWEST} of each are needed"
    if odd := ladder.overtaken(table, family):
        larger, smaller = odd[0]
        return f"{larger} does worse than the smaller {smaller}: search too short, or overfit"
    return ""
