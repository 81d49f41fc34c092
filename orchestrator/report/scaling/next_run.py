"""Which run to do next: the one that would shrink the interval of the prediction at the target most."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.fit import Fit


def next_run(
    made: Fit, budget: float, target: Mapping[str, float], candidates: Mapping[str, Array] | None = None
) -> dict[str, object]:
    """Rank candidate runs of cost at most `budget` by what is left of the parameter variance of log loss at `target`.

    `candidates` maps columns to [candidates]; without it, a grid of the data's range and a decade above it, at ratios
    D/N that occur. One more run adds its information g·gᵀ/σ²; the variance left at the target follows without
    refitting (Sherman–Morrison).
    """
    given = dict(candidates) if candidates is not None else candidate_grid(made)
    cost = cost_of(given)
    allowed = cost <= budget
    if not allowed.any():
        return {"runs": [], "note": f"no candidate costs at most {budget:.3g}: the cheapest costs {cost.min():.3g}"}
    given = {name: np.asarray(values, float)[allowed] for name, values in given.items()}
    model = made.model
    toward = model.log_loss(made.theta, {k: np.array([v], float) for k, v in target.items()})[1][0, 0]
    _, slopes = model.log_loss(made.theta, given)
    spread = made.covariance
    noise = float(np.sum(made.residuals**2) / max(len(made.points) - len(made.theta), 1))
    before = float(toward @ spread @ toward)
    gain = (slopes[0] @ spread @ toward) ** 2 / (
        noise + np.einsum("np,pq,nq->n", slopes[0], spread, slopes[0]) + 1e-300
    )
    left = np.sqrt(np.maximum(before - gain, 0.0) / max(before, 1e-300))
    order = np.argsort(left, kind="stable")[:5]
    runs = [
        {
            "columns": {name: float(values[i]) for name, values in given.items()},
            "cost": float(cost[allowed][i]),
            "interval_left": float(left[i]),
        }
        for i in order
    ]
    return {
        "runs": runs,
        "note": "interval_left: what would be left of the parameter part of the interval at the target, by curvature",
    }


def candidate_grid(made: Fit) -> dict[str, Array]:
    axes = []
    for name in made.law.columns:
        values = made.points.columns[name]
        axes.append(np.geomspace(values.min(), 10.0 * values.max(), 25))
    mesh = np.meshgrid(*axes, indexing="ij")
    grid = {name: part.ravel() for name, part in zip(made.law.columns, mesh, strict=True)}
    if not {"N", "D"} <= set(grid):
        return grid
    # a run of a shape never tried would teach most by the curvature, and least by anyone's experience
    tried = made.points.columns["D"] / made.points.columns["N"]
    ratio = grid["D"] / grid["N"]
    sane = (ratio >= tried.min()) & (ratio <= tried.max())
    return {name: values[sane] for name, values in grid.items()}


def cost_of(columns: Mapping[str, Array]) -> Array:
    """6ND where there are N and D, else the one column of cost there is."""
    if "N" in columns and "D" in columns:
        return np.asarray(6.0 * np.asarray(columns["N"], float) * np.asarray(columns["D"], float))
    return np.asarray(next(columns[name] for name in ("C", "N", "D", "T", *columns) if name in columns), float)
