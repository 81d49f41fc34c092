"""The compute-optimal frontier: closed form, budgets, hull; biases are said."""

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.report.scaling import FitOptions, Points, fit
from orchestrator.report.scaling.frontier import (
    BudgetOptions,
    Cost,
    allocation,
    budget_route,
    envelope_route,
    frontier,
    joint_route,
)

TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.465, "beta": 0.155}


def surface() -> Points:
    budgets = np.repeat(np.geomspace(1e17, 1e21, 5), 15)
    optimum = allocation(TRUTH, "chinchilla", Cost(), budgets)[0]
    size = optimum * np.tile(np.geomspace(1 / 16, 16, 15), 5)
    data = budgets / (6 * size)
    return Points({"N": size, "D": data}, 1.69 + 406.4 * size**-0.465 + 410.7 * data**-0.155)


def test_closed_form_is_the_minimum_of_the_law_along_a_budget():
    for cost in (Cost(), Cost(3.0, 1.2, 0.9)):
        size, _ = allocation(TRUTH, "chinchilla", cost, np.array([1e21]))
        near = size * np.linspace(0.9, 1.1, 2001)
        data = cost.data(np.full(2001, 1e21), near)
        loss = TRUTH["A"] * near ** -TRUTH["alpha"] + TRUTH["B"] * data ** -TRUTH["beta"]
        assert near[np.argmin(loss)] == pytest.approx(size[0], rel=2e-4)


def test_parabolas_per_budget_are_off_and_say_so():
    points = surface()
    fitted = fit("chinchilla", points)
    route = budget_route(points, BudgetOptions("parabola"), fitted)
    truth = allocation(TRUTH, "chinchilla", Cost(), np.array([1e24]))[0][0]
    assert 1.16 <= route.size(1e24) / truth <= 1.30
    assert any("off by +29%" in warning for warning in route.warnings)


def test_akima_finds_the_optimum_of_each_budget():
    points = surface()
    route = budget_route(points, BudgetOptions(noise=0.0), fit("chinchilla", points))
    truth = allocation(TRUTH, "chinchilla", Cost(), route.budgets)[0]
    assert route.optima == pytest.approx(truth, rel=0.05)
    assert route.exponent == pytest.approx(0.25, abs=0.003)


def test_budgets_whose_minimum_lies_at_an_edge_are_dropped_and_counted():
    points = surface()
    cost = points.cost
    truth = allocation(TRUTH, "chinchilla", Cost(), cost)[0]
    cheapest = np.isclose(cost, cost.min(), rtol=1e-6)
    kept = ~cheapest | (points.columns["N"] > 1.5 * truth)
    route = budget_route(points.rows(kept), BudgetOptions(noise=0.0))
    assert len(route.budgets) == 4
    assert "1 of 5 budgets" in route.warnings[0]


def test_joint_route_gives_an_interval_from_resamples():
    points = surface()
    rng = np.random.default_rng(0)
    noisy = Points(points.columns, points.loss * np.exp(0.002 * rng.normal(size=len(points))))
    route = joint_route(fit("chinchilla", noisy, FitOptions(bootstrap=100)))
    assert route.low < 0.25 < route.high
    assert route.exponent + route.data_exponent == pytest.approx(1.0)


def test_no_frontier_from_a_fit_that_is_not_identified():
    size = np.geomspace(1e6, 1e9, 20)
    ridge = Points({"N": size, "D": 20 * size}, 1.7 + 400 * size**-0.34)
    route = joint_route(fit("chinchilla", ridge))
    assert route.exponent is None
    assert "unidentified" in route.warnings[0]


def test_routes_that_agree_and_routes_that_do_not_are_told_apart(public):
    assert "the routes agree" in frontier(fit("chinchilla", public.chinchilla()))["verdict"]
    hot = public.gemstones("hot")
    joint = Points({name: hot.columns[name] for name in ("N", "D")}, hot.loss, hot.run)
    assert "the routes disagree" in frontier(fit("chinchilla", joint))["verdict"]


def test_measured_cost_is_a_product_of_powers_and_says_its_scatter():
    points = surface()
    rng = np.random.default_rng(0)
    hours = 1e-15 * points.columns["N"] ** 0.9 * points.columns["D"] * np.exp(0.2 * rng.normal(size=len(points)))
    cost = Cost.measured(points, hours, "worker-hours")
    assert cost.n == pytest.approx(0.9, abs=0.05)
    assert cost.scatter == pytest.approx(0.2, abs=0.05)
    assert "worker-hours scatters" in joint_route(fit("chinchilla", points), cost).warnings[0]


def test_cost_that_does_not_rise_is_refused():
    points = surface()
    with pytest.raises(UserError, match="use 6ND"):
        Cost.measured(points, 1.0 / points.columns["N"], "worker-hours")


def test_envelope_takes_the_best_of_runs_of_equal_cost():
    points = surface()
    route = envelope_route(points)
    lowest = [points.loss[np.isclose(points.cost, budget, rtol=1e-6)].min() for budget in route.budgets]
    assert (np.diff(route.budgets) > 1e10).all()
    assert (np.diff(lowest) < 0).all()
    assert route.optima == pytest.approx(allocation(TRUTH, "chinchilla", Cost(), route.budgets)[0], rel=0.5)
