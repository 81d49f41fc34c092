"""Intervals of parameters: bootstrap by run, curvature, profile likelihood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import t

from orchestrator.report.scaling import identify
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.model import Model
from orchestrator.report.scaling.solve import RESAMPLED, solve


def run_weights(model: Model, repeats: int, seed: int) -> Array:
    """Row weights [repeats, rows] of bootstrap samples: whole runs are drawn, never single checkpoints."""
    runs = model.points.runs
    groups = int(runs.max()) + 1
    counts = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1.0 / groups), size=repeats)
    return counts[:, runs] * model.points.row_weights


def resample(model: Model, starts: Array, repeats: int, seed: int) -> Array:
    """Bootstrap by run [repeats, p], each repeat solved from every one of `starts` [minima, p], the better kept."""
    weights = run_weights(model, repeats, seed)
    objective_here = model.problem.objective.for_resampling(model.problem.scale)
    problem = replace(model.problem, objective=objective_here, tolerance=RESAMPLED, warm=True)
    best = solve(problem, np.repeat(starts[:1], repeats, axis=0), weights)
    theta, objective = best.theta, best.objective
    for start in starts[1:]:
        again = solve(problem, np.repeat(start[None], repeats, axis=0), weights)
        theta = np.where((again.objective < objective)[:, None], again.theta, theta)
        objective = np.minimum(again.objective, objective)
    return theta


def from_draws(natural: Array, level: float) -> tuple[Array, Array, Array]:
    """Low, high and standard error [p] from bootstrap draws [repeats, p]."""
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(natural, [tail, 1.0 - tail], axis=0)
    return low, high, natural.std(axis=0, ddof=1)


def from_curvature(model: Model, theta: Array, covariance: Array, level: float) -> tuple[Array, Array, Array]:
    """Low, high, standard error [p] from the sandwich covariance, with Student's t over runs; logs for coefficients."""
    matrix, offset = model.natural_map()
    centre = matrix @ theta + offset
    error = np.sqrt(np.maximum(np.diag(matrix @ covariance @ matrix.T), 0.0))
    degrees = max(int(model.points.runs.max()) + 1 - len(centre), 1)
    reach = float(t.ppf(0.5 + level / 2.0, degrees)) * error
    logarithmic = np.array([parameter.logarithmic for parameter in model.law.parameters])
    exp = np.exp(np.clip(np.stack([centre - reach, centre + reach, centre]), -700, 700))
    low = np.where(logarithmic, exp[0], centre - reach)
    high = np.where(logarithmic, exp[1], centre + reach)
    return low, high, np.where(logarithmic, exp[2] * error, error)


def profile(model: Model, theta: Array, name: str, level: float = 0.9) -> tuple[float, float]:
    """Profile-likelihood interval of an exponent or floor: the values at which the refitted objective is still alike.

    The likelihood is Laplace for objectives that are absolute in effect and normal for squared ones, on as many rows as
    the residuals of the runs are worth. An end that is not reached is infinite (a floor: zero).
    """
    from scipy.stats import chi2

    j = model.law.names.index(name)
    rows = identify.effective_rows(model, theta)
    weights = model.points.row_weights
    best = float(model.problem.objective.total(model.problem.residuals(theta[None])[0][0], weights))
    threshold = float(chi2.ppf(level, 1))
    reach = np.array([0.003, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.35, 0.6, 1.0, 1.8, 3.0]) * max(abs(theta[j]), 0.05)
    free = np.arange(len(theta)) != j
    ends = []
    for side in (-1.0, 1.0):
        values = np.clip(theta[j] + side * reach, model.problem.low[j], model.problem.high[j])
        starts = np.repeat(theta[None], len(values), axis=0)
        starts[:, j] = values
        objectives = solve(model.problem, starts, weights, free).objective
        gains = np.array([identify.evidence(model, float(objective), best, rows) for objective in objectives])
        beyond = np.flatnonzero(gains > threshold)
        if not len(beyond):
            ends.append(side * np.inf)
            continue
        k = int(beyond[0])
        before_value, before_gain = (theta[j], 0.0) if k == 0 else (values[k - 1], gains[k - 1])
        # the likelihood is nearly quadratic: its root is nearly linear
        share = (np.sqrt(threshold) - np.sqrt(before_gain)) / (np.sqrt(gains[k]) - np.sqrt(before_gain))
        ends.append(float(before_value + share * (values[k] - before_value)))
    if not model.law.parameters[j].logarithmic:
        return ends[0], ends[1]
    matrix, offset = model.natural_map()
    if np.count_nonzero(matrix[j]) > 1:
        raise ValueError(f"{name} depends on an exponent: profile the exponent")
    return float(np.exp(ends[0] + offset[j])), float(np.exp(ends[1] + offset[j]))
