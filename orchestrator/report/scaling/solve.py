"""A Levenberg–Marquardt solver for many starts, resamples or fixed values at once.

Every fit of this package (a multi-start, 1000 bootstrap repeats, a profile, a back-test) is one batch over the same
rows with different row weights, starts or fixed parameters, so one core is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.objective import Objective, huber, influence, reweighting

STATIONARY = 1e-8  # of the objective: what a Newton step may still promise at a point that counts as a minimum
RESAMPLED = 1e-8  # the tolerance of resamples and back-tests, far below what their spread can show
CHUNK = 150_000  # numbers of a Jacobian held at once: about the size of a second-level cache


@dataclass(frozen=True)
class Problem:
    """Rows and what to minimize. `evaluate` maps theta [batch, p] to log loss [batch, rows] and its Jacobian."""

    evaluate: Callable[[Array], tuple[Array, Array]]
    loss: Array  # [rows], positive
    objective: Objective
    low: Array  # [p]
    high: Array  # [p]
    tolerance: float = 1e-9  # of the objective: what a Newton step may still promise when the solver is content
    warm: bool = False  # the starts are solutions of nearly this problem: no continuation from a wide Huber width

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
    """`theta` [batch, p]; `objective` [batch] as shown to people; `stationary`: a Newton step promises nothing more."""

    theta: Array
    objective: Array
    stationary: Array
    moved: Array
    iterations: Array


def solve(
    problem: Problem, starts: Array, weights: Array, free: Array | None = None, iterations: int = 200
) -> Solution:
    """Minimize from `starts` [batch, p]; row `weights` [rows] or [batch, rows]; `free` [p] or [batch, p] may move."""
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
    widths = problem.objective.widths(problem.scale)
    for width in widths[-2:] if problem.warm else widths:
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
    nil = np.sum(weights, axis=1) * (5e-15 * problem.scale) ** 2  # an objective made of nothing but rounding
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
        done = decrement <= problem.tolerance * cost + 1e-6 * nil[active]
        stationary[active[done]] = True
        finished = done | (damping[active] > 1e12) | ~np.isfinite(cost)
        # no descent along a heavily damped gradient within rounding: as stationary as doubles can tell
        stationary[active[(damping[active] > 1e12) & (decrement <= STATIONARY * cost + nil[active])]] = True
        active = active[~finished]
    if len(active):  # reweighting creeps near the end: out of steps, but nothing left to gain that a reader would see
        _, gradient, curvature = (part[active] for part in state)
        _, decrement = damped_step(theta[active], gradient, curvature, damping[active], (problem, free[active]))
        stationary[active[decrement <= STATIONARY * state[0][active]]] = True
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


def polish(problem: Problem, theta: Array, weights: Array) -> Array:
    """Newton steps with the curvature of the objective itself, from a point [p] that reweighting has nearly solved.

    Reweighting over-estimates the curvature of rows beyond the Huber width and creeps; the true one is taken from
    differences of the exact gradient.
    """
    p = len(theta)
    width = problem.objective.final_width
    current = evaluate_state(problem, theta[None], weights, width)
    for _ in range(20):
        steps = 1e-6 * np.eye(p)
        nearby = evaluate_state(problem, np.concatenate([theta + steps, theta - steps]), weights, width)[1]
        hessian = (nearby[:p] - nearby[p:]) / 2e-6
        hessian = 0.5 * (hessian + hessian.T)
        free = ~(((theta <= problem.low) & (current[1][0] > 0)) | ((theta >= problem.high) & (current[1][0] < 0)))
        step = np.zeros(p)
        step[free] = -np.linalg.lstsq(hessian[np.ix_(free, free)], current[1][0][free], rcond=1e-14)[0]
        trials = np.clip(theta + step * np.array([[1.0], [0.3], [0.05]]), problem.low, problem.high)
        costs = evaluate_state(problem, trials, weights, width)[0]
        best = int(np.argmin(costs))
        if not costs[best] < current[0][0] * (1.0 - 1e-15):
            break
        theta = trials[best]
        current = evaluate_state(problem, theta[None], weights, width)
    return theta
