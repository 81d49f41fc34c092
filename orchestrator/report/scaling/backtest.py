"""Back-tests: fit the smaller runs, predict the held-back larger ones, and learn how wide an interval must be.

A band from the spread of the parameters alone covered 0–50 % of held-back larger runs on most public
tables. Here the band of parameters and scatter is scaled by what cuts inside the data show, and a prediction that
reaches further than a cut did is widened in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.fit import Fit, FitOptions, fit
from orchestrator.report.scaling.identify import covariance, missing_from_rows
from orchestrator.report.scaling.law import Law
from orchestrator.report.scaling.points import Points
from orchestrator.report.scaling.solve import RESAMPLED, solve

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the rows, held back inside the data
DECADES = 2.0  # outside the data that a prediction may reach unless asked
USUAL = 0.5  # decades outside in one column or another that the larger runs of the cuts are at too
ASIDE = 0.1  # decades aside of a line along which all runs lie that still count as on it
SHORTEST = 0.05  # decades: a cut that reaches less says nothing of how errors grow
# nominal 90 % intervals on 33 held-back cuts of the public tables: mean coverage, median width; a test measures them
MEASURED_COVERAGE, MEASURED_WIDTH = 0.93, 0.14


@dataclass(frozen=True)
class Cut:
    """One cut: which rows were held back, and the errors there (log measured − log predicted) with their unscaled s."""

    held: Array  # mask [rows]
    errors: Array  # [held rows]
    spread: Array  # [held rows]
    theta: Array  # [p]
    reach: float  # decades of cost between the largest row fitted and the largest held back


@dataclass(frozen=True)
class Prediction:
    """Predicted loss [rows] with an interval at `level`; `basis`: how it was made, what coverage was measured."""

    value: Array
    low: Array
    high: Array
    level: float
    decades: Array  # outside the data, 0 within, see `outside`
    basis: str


def held_back(points: Points, shares: tuple[float, ...] = SHARES) -> list[Array]:
    """Masks of the largest runs, about `shares` of the rows; runs are never split, equal costs stay together."""
    runs = points.runs
    cost = np.log(points.cost)
    largest = np.full(int(runs.max()) + 1, -np.inf)
    np.maximum.at(largest, runs, cost)
    size = np.round(largest[runs], 2)
    masks: list[Array] = []
    for share in shares:
        mask = size > np.quantile(size, 1.0 - share, method="lower")
        if not mask.any():
            mask = size >= size.max()
        if mask.any() and not any(np.array_equal(mask, other) for other in masks):
            masks.append(mask)
    return masks


def usable(law: Law, points: Points, held: Array) -> bool:
    """Whether the rows left determine the law at all."""
    if int(np.sum(~held)) < len(law.parameters) + 1:
        return False
    left = points.rows(~held)
    wanted = 3 if law.floor else 2
    return all(len(np.unique(np.round(v, 3))) >= wanted for v in law.raw_variables(left.columns).values())


def cuts_inside(made: Fit, masks: list[Array] | None = None) -> list[Cut]:
    """Refit without the largest runs, all cuts in one batch, from the fit's minima and some of its starts."""
    points, model = made.points, made.model
    masks = [mask for mask in held_back(points) if usable(made.law, points, mask)] if masks is None else masks
    if not masks:
        return []
    starts = np.stack([*(m.theta for m in made.minima[:2]), *made.fresh_starts[:4]])
    weights = np.stack([np.where(mask, 0.0, points.row_weights) for mask in masks])
    quick = replace(model.problem, tolerance=RESAMPLED)
    again = solve(quick, np.tile(starts, (len(masks), 1)), np.repeat(weights, len(starts), axis=0))
    objective = again.objective.reshape(len(masks), len(starts))
    cuts = []
    for i, mask in enumerate(masks):
        theta = again.theta[i * len(starts) + int(np.argmin(objective[i]))]
        value, jacobian = model.log_loss(theta, points.columns)
        spread = band(made, theta, jacobian[0], weights[i])
        errors = np.log(points.loss) - value[0]
        reach = float(np.log10(points.cost[mask].max() / points.cost[~mask].max()))
        cuts.append(Cut(mask, errors[mask], spread[mask], theta, reach))
    return cuts


def band(made: Fit, theta: Array, jacobian: Array, weights: Array) -> Array:
    """Unscaled standard deviation of a new log loss [rows of `jacobian`]: parameters and scatter together."""
    spread, _ = covariance(made.model, theta, weights)
    used = weights > 0
    residuals = np.log(made.points.loss) - made.model.log_loss(theta, made.points.columns)[0][0]
    degrees = max(int(used.sum()) - len(theta), 1)
    scatter = float(np.sum(residuals[used] ** 2) / degrees)
    variance = np.einsum("np,pq,nq->n", jacobian, spread, jacobian)
    deviation: Array = np.sqrt(np.maximum(variance, 0.0) + scatter + 1e-24)
    return deviation


def factors(cuts: list[Cut], level: float, decades: Array) -> Array:
    """What the band must be multiplied by [rows of `decades`]: the mean over cuts of what each needed to hold `level`.

    A cut that reached r decades speaks for r decades: a prediction d decades out is widened by d/r where d > r.
    """
    normal = float(norm.ppf(0.5 + level / 2.0))
    if not cuts:
        return np.full(len(decades), 3.0 * normal)
    needed = np.array([np.quantile(np.abs(cut.errors) / cut.spread, level, method="higher") for cut in cuts])
    reach = np.maximum([cut.reach for cut in cuts], SHORTEST)
    grown = needed[:, None] * np.maximum(1.0, decades[None, :] / reach[:, None])
    factor: Array = np.maximum(normal, grown.mean(axis=0))
    return factor


def own_coverage(cuts: list[Cut], level: float) -> float | None:
    """Coverage of each cut of this table by the factors of the others; None where there is only one."""
    if len(cuts) < 2:
        return None
    covered = []
    for i, cut in enumerate(cuts):
        others = cuts[:i] + cuts[i + 1 :]
        factor = factors(others, level, np.array([cut.reach]))[0]
        covered.append(float(np.mean(np.abs(cut.errors) <= factor * cut.spread)))
    return float(np.mean(covered))


def outside(made: Fit, asked: Points) -> tuple[Array, list[str]]:
    """How many decades each row asked for lies outside the data [rows], and in which way the furthest does.

    Looked at: the cost, each column of the law by itself, and where N and D went up together the directions aside of
    that, for then the ranges of both hold much that no run was near.
    """
    here, there = made.points, asked
    ways = [
        (np.log10(here.cost), np.log10(there.cost), "of cost beyond the largest run", "of cost below the smallest run")
    ]
    names = made.law.columns
    logs = [np.log10(np.stack([points.columns[name] for name in names], axis=1)) for points in (here, there)]
    for j, name in enumerate(names):
        ways.append((logs[0][:, j], logs[1][:, j], f"of {name} above the largest", f"of {name} below the smallest"))
    if len(names) > 1:
        centre = logs[0].mean(axis=0)
        aside = f"aside of the runs, whose {' and '.join(names)} went up together"
        first, *others = np.linalg.svd(logs[0] - centre, full_matrices=False)[2]
        for direction in others:
            spread = (logs[0] - centre) @ direction
            if np.ptp(spread) < 0.5 * np.ptp((logs[0] - centre) @ first):
                ways.append((spread, (logs[1] - centre) @ direction, aside, aside))
    over = np.array([np.maximum(asked_for - had.max(), had.min() - asked_for) for had, asked_for, _, _ in ways])
    furthest = np.argmax(over, axis=0)
    said = [ways[k][2] if ways[k][1][row] > ways[k][0].max() else ways[k][3] for row, k in enumerate(furthest)]
    return np.maximum(over.max(axis=0), 0.0), said


def predict(made: Fit, columns: Mapping[str, Array], beyond: float = DECADES) -> Prediction:
    """Loss at `columns` with an interval scaled by back-tests inside the data.

    Raises UserError for what lies more than `beyond` decades outside the data, see `outside`; where N and D went up
    together, so that their shares are unknown, for anything aside of that line.
    """
    given = {name: np.atleast_1d(np.asarray(values, dtype=float)) for name, values in columns.items()}
    missing = [name for name in made.law.columns if name not in given]
    if missing:
        raise UserError(
            f"predict: law {made.law.name} needs {', '.join(made.law.columns)}; {', '.join(missing)} not given"
        )
    asked = Points(given, np.ones(len(next(iter(given.values())))))
    decades, where = outside(made, asked)
    worst = int(np.argmax(decades))
    if decades[worst] > beyond:
        raise UserError(
            f"predict: {decades[worst]:.1f} decades {where[worst]};"
            f" valid is at most {beyond:g} unless asked for (--beyond)"
        )
    if decades[worst] > ASIDE and where[worst].startswith("aside") and missing_from_rows(made.model):
        raise UserError(f"predict: {decades[worst]:.1f} decades {where[worst]}: what each does alone is not known")
    value, jacobian = made.model.log_loss(made.theta, given)
    spread = band(made, made.theta, jacobian[0], made.points.row_weights)
    level = made.options.level
    cuts = cuts_inside(made)
    dearer = np.maximum(np.log10(asked.cost / made.points.cost.max()), 0.0)
    half = factors(cuts, level, np.maximum(dearer, decades - USUAL)) * spread
    return Prediction(
        np.exp(value[0]), np.exp(value[0] - half), np.exp(value[0] + half), level, decades, basis_of(cuts, level)
    )


def basis_of(cuts: list[Cut], level: float) -> str:
    """One sentence: how the interval was made and what coverage was measured for it."""
    if not cuts:
        return "three times the normal band: too few rows to hold any back, coverage not measured"
    own = own_coverage(cuts, level)
    here = "one cut only, coverage here not measured" if own is None else f"{own:.0%} covered on this table's own cuts"
    return (
        f"parameters and scatter, scaled by {len(cuts)} cut{'s' if len(cuts) > 1 else ''} inside the data; {here};"
        f" nominal 90 % with the default fit covered {MEASURED_COVERAGE:.0%} of held-back larger runs on public tables"
    )


@dataclass(frozen=True)
class Ranked:
    """A law in a comparison: its fit (None where it could not be fitted) and its error on held-back larger runs."""

    law: str
    fitted: Fit | None
    error: float | None  # root mean square of log errors, mean over cuts
    cuts: int
    reason: str = ""


def compare_laws(laws: list[Law], points: Points, options: FitOptions) -> list[Ranked]:
    """Laws ranked by back-test error over the same cuts, best first; those that cannot be fitted come last."""
    fits: list[Fit] = []
    failed: list[Ranked] = []
    for law in laws:
        try:
            fits.append(fit(law, points, options))
        except UserError as error:
            failed.append(Ranked(law.name, None, None, 0, str(error)))
    masks = [mask for mask in held_back(points) if all(usable(made.law, points, mask) for made in fits)]
    ranked = []
    for made in fits:
        cuts = cuts_inside(made, masks)
        error_size = float(np.mean([np.sqrt(np.mean(cut.errors**2)) for cut in cuts])) if cuts else None
        ranked.append(Ranked(made.law.name, made, error_size, len(cuts), "; ".join(made.reasons)))
    return sorted(ranked, key=lambda entry: (entry.error is None, entry.error or 0.0)) + failed
