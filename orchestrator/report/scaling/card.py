"""The fit card: a fit as JSON, with everything needed to repeat it in full precision."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import scipy

from orchestrator.report.scaling.fit import Fit
from orchestrator.report.scaling.points import Points

FORMAT = 1


def fingerprint(points: Points) -> str:
    """sha256 over the rows in order: columns by name, losses, runs, weights."""
    digest = hashlib.sha256()
    for name in sorted(points.columns):
        digest.update(name.encode() + np.ascontiguousarray(points.columns[name]).tobytes())
    digest.update(points.loss.tobytes() + points.runs.astype(np.int64).tobytes() + points.row_weights.tobytes())
    return digest.hexdigest()


def parameters(made: Fit) -> dict[str, dict[str, float | None]]:
    return {
        name: {"value": e.value, "low": e.low, "high": e.high, "standard_error": e.standard_error}
        for name, e in made.parameters.items()
    }


def minima(made: Fit) -> list[dict[str, Any]]:
    """Distinct minima, best first; their parameters only where minima compete or the fit is identified."""
    shown = made.status in ("converged", "multimodal")
    listed = []
    for minimum in made.minima[:10]:
        entry: dict[str, Any] = {"objective": minimum.objective, "reached_by_starts": minimum.reached_by}
        if shown:
            entry["parameters"] = dict(zip(made.law.names, made.model.natural(minimum.theta).tolist(), strict=True))
        listed.append(entry)
    return listed


def fit_card(made: Fit) -> dict[str, Any]:
    """JSON-ready; where identified, solver coordinates, centre and covariance serve to predict without refitting."""
    law, options = made.law, made.options
    card: dict[str, Any] = {
        "format": FORMAT,
        "law": law.name,
        "formula": law.formula_text,
        "source": law.source,
        "target": law.target,
        "rows": len(made.points),
        "runs": len(np.unique(made.points.runs)),
        "points_sha256": fingerprint(made.points),
        "fit": str(options.objective),
        "on": options.objective.on,
        "starts": options.starts,
        "seed": options.seed,
        "bootstrap": options.bootstrap,
        "level": options.level,
        "status": made.status,
        "reasons": list(made.reasons),
        "objective": made.objective,
        "parameters": parameters(made),
        "minima": minima(made),
        "intervals": "bootstrap by run" if made.draws is not None else "curvature, robust to rows of a run",
        "condition": made.condition,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "notes": list(made.points.note),
    }
    if made.identified:
        card["solver"] = {
            "names": list(law.names),
            "theta": made.theta.tolist(),
            "centre": dict(made.model.centre),
            "covariance": made.covariance.tolist(),
            "low": made.model.problem.low.tolist(),
            "high": made.model.problem.high.tolist(),
        }
    return {name: finite(value) for name, value in card.items()}


def finite(value: Any) -> Any:
    """The same with nan and infinity as None, which JSON can hold, and NumPy numbers as Python's."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
