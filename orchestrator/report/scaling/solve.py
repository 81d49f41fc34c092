"""A Levenberg–Marquardt solver for many starts, resamples or fixed values at once.

Every fit of this package (a multi-start, 1000 bootstrap repeats, a profile, a back-test) is one batch over the same
rows with different row weights, starts or fixed parameters, so one core is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.objective import Objective, huber, influence, reweighting

CHUNK = 150_000  # numbers of a Jacobian held at once: about the size of a second-level cache


@dataclass(frozen=True)
class Problem:
    """Rows and what to minimize. `evaluate` maps theta [batch, p] to log loss [batch, rows] and its Jacobian."""

    evaluate: Callable[[Array], tuple[Array, Array]]
    loss: Array  # [rows], positive
    objective: Objective
    low: Array  # [p]
    high: Array  # [p]

    def residuals(self, theta: Array) -> tuple[Array, Array]:
        value, jacobian = self.evaluate(theta)
        if self.objective.on == "log":
            return value - np.log(self.loss), jacobian
        predicted = np.exp(np.minimum(value, 700.0))
        return predicted - self.loss, jacobian * predicted[:, :, None]

    @property
    def scale(self) -> float:
        return 1.0 if self.objective.on == "log" else float(np.median(self.loss))


@dataclass(frozen=True)
class Solution:
    """`theta` [batch, p]; `objective` [batch] as shown to people; `stationary`: the remaining Newton decrement is nil."""

    theta: Array
    objective: Array
    stationary: Array
    moved: Array
    iterations: Array


def solve(
    problem: Problem, starts: Array, weights: Array, free: Array | None = None, iterations: int = 200
) -> Solution:
    """Minimize from `starts` [batch, p] with row `weights` [rows] or [batch, rows]; `free` [p] or [batch, p] marks what moves."""
    batch, p = starts.shape
    rows = len(problem.loss)
    weights = np.broadcast_to(weights, (batch, rows))
    moving = np.broadcast_to(np.ones(p, bool) if free is None else free, (batch, p))
    size = max(1, CHUNK // (rows * p))
    parts = [
        solve_chunk(problem, starts[i : i + size], weights[i : i + size], moving[i : i + size], iterations)
        for i in range(0, batch, size)
    ]
    return Solution(*(np.concatenate([getattr(part, name) for part in parts]) for name in Solution.__annotations__))


def solve_chunk(problem: Problem, starts: Array, weights: Array, free: Array, iterations: int) -> Solution:
    theta = np.clip(starts, problem.low, problem.high)
    begun = theta.copy()
    used = np.zeros(len(theta), int)
    for width in problem.objective.widths(problem.scale):
        theta, steps, stationary = descend(problem, theta, weights, free, (width, iterations))
        used += steps
    residuals, _ = problem.residuals(theta)
    objective = problem.objective.total(residuals, weights)
    moved = np.max(np.abs(theta - begun) / (1.0 + np.abs(begun)), axis=1) > 1e-12
    return Solution(theta, np.where(np.isfinite(objective), objective, np.inf), stationary, moved, used)


def descend(
    problem: Problem, theta: Array, weights: Array, free: Array, control: tuple[float, int]
) -> tuple[Array, Array, Array]:
    """Damped steps at one Huber width until no member of the batch improves; returns theta, steps used, stationary."""
    width, limit = control
    theta = theta.copy()
    batch = len(theta)
    damping = np.full(batch, 1e-3)
    used = np.zeros(batch, int)
    stationary = np.zeros(batch, bool)
    active = np.arange(batch)
    state = evaluate_state(problem, theta, weights, width)
    for _ in range(limit):
        if not len(active):
            break
        cost, gradient, curvature = (part[active] for part in state)
        step, decrement = damped_step(theta[active], gradient, curvature, damping[active], (problem, free[active]))
        trial = np.clip(theta[active] + step, problem.low, problem.high)
        fresh = evaluate_state(problem, trial, weights[active], width)
        better = fresh[0] < cost
        used[active] += 1
        accepted = active[better]
        theta[accepted] = trial[better]
        for old, new in zip(state, fresh, strict=True):
            old[accepted] = new[better]
        damping[active] = np.where(better, np.maximum(damping[active] * 0.2, 1e-15), damping[active] * 4.0)
        done = decrement <= 1e-15 * cost + 1e-33
        stationary[active[done]] = True
        finished = done | (damping[active] > 1e12) | ~np.isfinite(cost)
        # no descent along a heavily damped gradient within rounding: as stationary as doubles can tell
        stationary[active[(damping[active] > 1e12) & (decrement <= 1e-9 * cost + 1e-30)]] = True
        active = active[~finished]
    return theta, used, stationary


def evaluate_state(problem: Problem, theta: Array, weights: Array, width: float) -> list[Array]:
    """Cost [batch], gradient [batch, p] and reweighted Gauss–Newton curvature [batch, p, p]."""
    with np.errstate(over="ignore", invalid="ignore"):
        residuals, jacobian = problem.residuals(theta)
        cost = np.sum(weights * huber(residuals, width), axis=1)
        gradient = np.einsum("bn,bnp->bp", weights * influence(residuals, width), jacobian)
        weighted = jacobian * (weights * reweighting(residuals, width))[:, :, None]
        curvature = np.swapaxes(weighted, 1, 2) @ jacobian
    bad = ~np.isfinite(cost) | ~np.isfinite(curvature).all(axis=(1, 2))
    cost = np.where(bad, np.inf, cost)
    gradient[bad] = 0.0
    curvature[bad] = np.eye(theta.shape[1])
    return [cost, gradient, curvature]


def damped_step(
    theta: Array, gradient: Array, curvature: Array, damping: Array, limits: tuple[Problem, Array]
) -> tuple[Array, Array]:
    """The damped step within the bounds, and the undamped Newton decrement (twice the decrease still to be had)."""
    problem, free = limits
    held = ~free | ((theta <= problem.low) & (gradient > 0)) | ((theta >= problem.high) & (gradient < 0))
    gradient = np.where(held, 0.0, gradient)
    p = theta.shape[1]
    diagonal = np.maximum(curvature[:, range(p), range(p)], 1e-300)
    scale = 1.0 / np.sqrt(diagonal)
    matrix = curvature * scale[:, :, None] * scale[:, None, :]
    keep = ~held
    matrix = np.where(keep[:, :, None] & keep[:, None, :], matrix, 0.0)
    eye = np.eye(p)
    scaled = gradient * scale
    plain = np.linalg.solve(matrix + eye * np.where(keep, 1e-14, 1.0)[:, None, :], scaled[:, :, None])[:, :, 0]
    damped = matrix + eye * np.where(keep, damping[:, None], 1.0)[:, None, :]
    step = -np.linalg.solve(damped, scaled[:, :, None])[:, :, 0] * scale
    return step, np.abs(np.sum(scaled * plain, axis=1))


def with_objective(problem: Problem, objective: Objective) -> Problem:
    return replace(problem, objective=objective)
