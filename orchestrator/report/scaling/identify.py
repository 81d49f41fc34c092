"""Does the table identify the law? What the rows alone say, and what the fitted curvature says."""

from __future__ import annotations

import numpy as np

from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.model import Model
from orchestrator.report.scaling.objective import influence

COLLINEAR = 0.995  # correlation of two log variables above which separate exponents are not told apart
CONDITION = 1e7  # of the column-scaled Jacobian
RELATIVE_ERROR = 0.5  # standard error over exponent
LIKELIHOOD_STEP = 2.706  # twice the log-likelihood at the end of a 90 % interval


def missing_from_rows(model: Model) -> list[str]:
    """What the rows lack, whatever their losses: one sentence each."""
    law, points = model.law, model.points
    said = []
    raw = law.raw_variables(points.columns)
    if points.run is not None and not law.within_run:
        runs = len(np.unique(points.runs))
        if runs < len(law.parameters):
            said.append(
                f"{len(points)} rows come from {runs} run{'s' if runs > 1 else ''}:"
                f" checkpoints of one run are not independent;"
                f" {law.name} needs at least {len(law.parameters)} runs"
            )
    wanted = 3 if law.floor else 2
    for name, values in raw.items():
        if np.isin(values, (0.0, 1.0)).all() and name in law.linear:
            continue  # which family a row belongs to
        distinct = len(np.unique(np.round(values, 4)))
        if distinct < wanted:
            said.append(f"{name} takes {distinct} value{'s' if distinct > 1 else ''}: run at least {wanted}")
    names = [name for name in raw if name not in law.linear and np.ptp(raw[name]) > 0]
    if len(names) > 1 and len(law.exponents) > 0:
        correlation = np.corrcoef([raw[name] for name in names])
        pairs = [(abs(correlation[i, j]), names[i], names[j]) for i in range(len(names)) for j in range(i)]
        worst, first, second = max(pairs)
        if worst > COLLINEAR:
            said.append(
                f"{second} and {first} move together (correlation {worst:.4f}):"
                f" run sizes at several ratios {first}/{second}"
            )
    return said


def curvature(model: Model, theta: Array, weights: Array) -> tuple[Array, Array, float]:
    """Expected curvature [p, p], Jacobian [rows, p] and condition number of the scaled Jacobian at `theta` [p]."""
    residuals, jacobian = model.problem.residuals(theta[None])
    r, jac = residuals[0][weights > 0], jacobian[0]
    width = model.problem.objective.final_width
    if np.isinf(width):
        share = 1.0
    else:
        # a Huber width below the scatter acts like an absolute deviation: its curvature is a density at zero
        window = max(width, 1.5 * float(np.median(np.abs(r))), 1e-300)
        share = max(float(np.mean(np.abs(r) <= window)) * width / window, 1e-12)
    scaled = jac * np.sqrt(weights)[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    singular = np.linalg.svd(scaled / np.maximum(norms, 1e-300), compute_uv=False)
    condition = float(singular[0] / max(singular[-1], 1e-300))
    return share * scaled.T @ scaled, jac, condition


def covariance(model: Model, theta: Array, weights: Array | None = None) -> tuple[Array, float]:
    """Covariance [p, p] that is robust to rows of a run going together (sandwich), and the condition number."""
    points = model.points
    weights = points.row_weights if weights is None else weights
    matrix, jac, condition = curvature(model, theta, weights)
    residuals = model.problem.residuals(theta[None])[0][0]
    scores = jac * (weights * influence(residuals, model.problem.objective.final_width))[:, None]
    runs = points.runs
    groups, rows, p = len(np.unique(runs[weights > 0])), int(np.sum(weights > 0)), jac.shape[1]
    if p < groups < rows:
        summed = np.zeros((int(runs.max()) + 1, p))
        np.add.at(summed, runs, scores)
        middle = summed.T @ summed * groups / (groups - 1)
    else:
        middle = scores.T @ scores
    middle *= rows / max(rows - p, 1)
    norms = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
    inverse = np.linalg.pinv(matrix / np.outer(norms, norms), rcond=1e-15) / np.outer(norms, norms)
    return inverse @ middle @ inverse, condition


def effective_rows(model: Model, theta: Array) -> float:
    """Rows worth of independent evidence, from how alike the residuals of one run are."""
    points = model.points
    runs = points.runs
    groups = int(runs.max()) + 1
    if groups == len(points):
        return float(len(points))
    residuals = model.problem.residuals(theta[None])[0][0]
    sizes = np.bincount(runs, minlength=groups)
    means = np.bincount(runs, residuals, minlength=groups) / sizes
    total = float(np.var(residuals))
    within = float(np.sum((residuals - means[runs]) ** 2) / max(len(points) - groups, 1))
    alike = float(np.clip(1.0 - within / total, 0.0, 1.0)) if total > 0 else 0.0
    return max(float(groups), float(len(points) / (1.0 + (sizes.mean() - 1.0) * alike)))


def evidence(model: Model, worse: float, best: float, rows: float) -> float:
    """Twice the log-likelihood between two objectives: Laplace where the loss is absolute in effect, else normal."""
    tiny = 1e-24 * max(rows, 1.0)
    if worse <= tiny:
        return 0.0
    factor = 1.0 if model.problem.objective.kind == "squared" else 2.0
    return float(factor * rows * np.log(worse / max(best, tiny)))
