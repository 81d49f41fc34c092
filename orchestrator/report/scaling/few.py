"""Intervals for a handful of rows. The sandwich covariance of `identify` wants many rows and is too narrow for few.

With squared residuals of one spread a law that is linear in its parameters has exactly Student's intervals; one that is
not, such as a power with a floor, has them as nearly as its curvature tells.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.fit import Fit, estimates


def restated(made: Fit) -> Fit:
    """The fit with its classical covariance, and the intervals that follow from it."""
    slopes = made.model.log_loss(made.theta, made.points.columns)[1][0]
    variance = float(np.sum(made.residuals**2)) / freedom(made)
    made = replace(made, covariance=variance * np.linalg.pinv(slopes.T @ slopes))
    return replace(made, parameters=estimates(made))


def draws(made: Fit, repeats: int, seed: int = 0) -> Array:
    """Natural parameters [repeats, p] as they may be, by a multivariate Student's t around a restated fit."""
    random = np.random.default_rng(seed)
    values, directions = np.linalg.eigh(made.covariance)
    root = directions * np.sqrt(np.maximum(values, 0.0))
    normal = random.normal(size=(repeats, len(made.theta)))
    wider = np.sqrt(freedom(made) / random.chisquare(freedom(made), size=(repeats, 1)))
    return made.model.natural(made.theta + wider * (normal @ root.T))


def freedom(made: Fit) -> int:
    return max(len(made.points) - len(made.theta), 1)
