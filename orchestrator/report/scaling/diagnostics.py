"""Thirteen ways in which published fits went wrong, each looked for in this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from orchestrator.report.scaling import identify
from orchestrator.report.scaling.backtest import DECADES, MEASURED_COVERAGE, cuts_inside, own_coverage
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.fit import FEWEST_RUNS, Fit, fit, mixed_runs, one_sided, too_few_runs
from orchestrator.report.scaling.frontier import ALLOCATIONS, Cost, allocation, envelope_route
from orchestrator.report.scaling.intervals import resample
from orchestrator.report.scaling.objective import Objective
from orchestrator.report.scaling.points import Points


@dataclass(frozen=True)
class Diagnostic:
    """`level` ok, note or warning; `text` one sentence with its numbers."""

    number: int
    name: str
    level: str
    text: str


def stationary(made: Fit) -> tuple[str, str]:
    best = int(np.argmin(made.starts.objective))
    near = int(np.sum(made.starts.objective <= made.objective * (1 + 1e-6) + 1e-300))
    if not made.starts.stationary[best]:
        return "warning", f"the best point is not stationary after {int(made.starts.iterations[best])} steps"
    return (
        "ok" if near > 1 else "note",
        f"the best point is stationary; {near} of {len(made.starts.theta)} starts came to it"
        + ("" if near > 1 else ": another --seed would tell whether there is a better one"),
    )


def moved(made: Fit) -> tuple[str, str]:
    stuck = int(np.sum(~made.starts.moved))
    if stuck:
        return "warning", f"{stuck} of {len(made.starts.theta)} starts came back as they were"
    return "ok", f"all {len(made.starts.theta)} starts moved"


def several_minima(made: Fit) -> tuple[str, str]:
    rows = identify.effective_rows(made.model, made.theta)
    close = [
        m
        for m in made.minima
        if identify.evidence(made.model, m.objective, made.objective, rows) < identify.LIKELIHOOD_STEP
    ]
    if len(close) > 1:
        return "warning", f"{len(close)} distinct minima fit alike (--json lists them)"
    return "ok", f"one minimum ({len(made.minima) - 1} worse ones seen)"


def at_a_bound(made: Fit) -> tuple[str, str]:
    if made.status == "boundary":
        return "warning", "; ".join(made.reasons)
    share = bound_share(made)
    if share > 0.05:
        return "note", f"a floor or an exponent lies at its bound in {share:.0%} of resamples"
    return "ok", "no parameter at a bound"


def bound_share(made: Fit) -> float:
    if made.draws is None:
        return 0.0
    hit = np.zeros(len(made.draws), bool)
    for j, parameter in enumerate(made.law.parameters):
        low, high = made.model.problem.low[j], made.model.problem.high[j]
        if parameter.role == "floor":
            hit |= np.exp(made.draws[:, j]) < 1e-3 * made.points.loss.min()
        elif parameter.role == "exponent":
            hit |= (made.draws[:, j] <= low + 1e-6) | (made.draws[:, j] >= high - 1e-6)
    return float(hit.mean())


def sensitivity(made: Fit) -> tuple[str, str]:
    """How far exponents move with the robust loss and without the five highest losses."""
    if not made.identified or not made.law.exponents:
        return "note", "not measured: the fit prints no exponent"
    others: list[tuple[str, Fit]] = []
    quick = replace(made.options, bootstrap=0, starts=4)
    for kind in ("huber", "lad", "squared"):
        if kind != made.options.objective.kind:
            objective = Objective(kind, on=made.options.objective.on)
            others.append((kind, fit(made.law, made.points, replace(quick, objective=objective))))
    if len(made.points) - 5 > len(made.law.parameters):
        others.append(("five highest losses dropped", fit(made.law, made.points.drop_highest(5), quick)))
    moves = [
        (abs(float(other.theta[j] - made.theta[j])), name, how)
        for how, other in others
        for name, j in ((name, made.law.names.index(name)) for name in made.law.exponents)
    ]
    size, name, how = max(moves)
    error = made.parameters[name].standard_error or 0.0
    return "warning" if size > max(
        2 * error, 0.02
    ) else "ok", f"largest move of an exponent: {name} by {size:.3f} ({how})"


def rounding(made: Fit) -> tuple[str, str]:
    """What three digits would do to tokens per parameter; the card stores all digits and the covariance."""
    if made.law.name not in ALLOCATIONS or not made.identified:
        return "ok", "the card keeps all digits and the covariance"
    budget = np.array([10.0 * made.points.cost.max()])
    full = dict(zip(made.law.names, made.model.natural(made.theta).tolist(), strict=True))
    rounded = {name: float(f"{value:.2g}") for name, value in full.items()}
    ratios = [
        float((d / n)[0]) for n, d in (allocation(values, made.law.name, Cost(), budget) for values in (full, rounded))
    ]
    return "note" if abs(np.log(ratios[1] / ratios[0])) > 0.1 else "ok", (
        f"tokens per parameter at {budget[0]:.2g}: {ratios[0]:.1f};"
        f" with parameters rounded to two digits {ratios[1]:.1f}:"
        " take parameters from the card (--json, --out), which has all digits"
    )


def independence(made: Fit) -> tuple[str, str]:
    points = made.points
    runs = len(np.unique(points.runs))
    if runs < len(points):
        if not made.identified or too_few_runs(points):
            few = f"; intervals need at least {FEWEST_RUNS} runs" if too_few_runs(points) else ""
            of = f"{len(points)} rows of {runs} run{'s' if runs > 1 else ''}"
            return "note", f"{of}: rows of one run are no repeats{few}"
        single = fit_errors_by_point(made)
        j = made.law.names.index(made.law.exponents[0]) if made.law.exponents else 0
        by_run = (
            float(np.sqrt(max(made.covariance[j, j], 0.0)))
            if made.draws is None
            else float(made.draws[:, j].std(ddof=1))
        )
        return "note", (
            f"{len(points)} rows of {runs} runs: resampled by run; the standard error of {made.law.names[j]} is"
            f" {by_run:.3g}, by single row it would be {single[j]:.3g}"
        )
    if points.run is None and looks_like_checkpoints(points):
        return (
            "warning",
            "the rows look like checkpoints of few runs, and no run column is given: intervals are too narrow",
        )
    return "ok", "every row is its own run"


def fit_errors_by_point(made: Fit) -> Array:
    alone = replace(made.model, points=replace(made.points, run=None))
    if made.draws is None:
        return np.asarray(np.sqrt(np.maximum(np.diag(identify.covariance(alone, made.theta)[0]), 0.0)))
    return np.asarray(resample(alone, made.theta[None], 100, made.options.seed).std(axis=0, ddof=1))


def looks_like_checkpoints(points: Points) -> bool:
    """Few sizes, each at many or evenly stepped amounts of data, with a loss that only falls along them."""
    if "N" not in points.columns or "D" not in points.columns:
        return False
    sizes, inverse, counts = np.unique(points.columns["N"], return_inverse=True, return_counts=True)
    if counts.min() < 6:
        return False
    falling, even = [], []
    for i in range(len(sizes)):
        rows = np.flatnonzero(inverse == i)
        rows = rows[np.argsort(points.columns["D"][rows], kind="stable")]
        steps = np.diff(points.columns["D"][rows])
        falling.append(np.mean(np.diff(points.loss[rows]) < 0))
        even.append(np.std(steps) < 0.2 * np.mean(steps))
    return float(np.mean(falling)) > 0.97 and (counts.min() >= 20 or bool(np.mean(even) > 0.9))


def tuned(made: Fit) -> tuple[str, str]:
    mixed = mixed_runs(made)
    if mixed:
        return "warning", mixed[0]
    skew, above = one_sided(made)
    if skew > 0.5 and above > 0.02:
        return "warning", f"losses lie one-sidedly above the law (by up to {above:.1%}): are all of these runs tuned?"
    return "ok", "losses scatter to both sides of the law"


def counting(made: Fit) -> tuple[str, str]:
    columns = made.points.columns
    if not {"N", "C"} & set(columns):
        return "ok", "neither N nor C is a column"
    if not {"N", "D", "C"} <= set(columns):
        return (
            "note",
            "say what N and C count (embeddings, head, attention): it moved a published exponent from 0.84 to 0.71",
        )
    ratio = columns["C"] / (6 * columns["N"] * columns["D"])
    drift = float(np.polyfit(np.log(columns["N"]), np.log(ratio), 1)[0]) if np.ptp(columns["N"]) > 0 else 0.0
    level = "warning" if abs(drift) > 0.02 else "ok"
    return level, f"C/(6ND) runs from {ratio.min():.2f} to {ratio.max():.2f} and goes as N^{drift:+.3f}"


def ridge(made: Fit) -> tuple[str, str]:
    lacking = identify.missing_from_rows(made.model)
    if lacking:
        return "warning", "; ".join(lacking)
    level = "warning" if made.condition > identify.CONDITION else "ok"
    return level, f"condition number of the scaled Jacobian {made.condition:.3g}"


def ranking_rule(made: Fit) -> tuple[str, str]:
    cuts = cuts_inside(made)
    if not cuts:
        return "note", "too few rows to hold any back: this law has not been tested on larger runs"
    error = float(np.mean([np.sqrt(np.mean(cut.errors**2)) for cut in cuts]))
    return "ok", f"held-back larger runs are missed by {error:.2%} (mean of {len(cuts)} cuts); R² is not used"


def interval_coverage(made: Fit) -> tuple[str, str]:
    own = own_coverage(cuts_inside(made), made.options.level)
    if own is None:
        return "note", f"not measured on this table; {MEASURED_COVERAGE:.0%} on the public tables"
    return "ok" if own >= 0.8 else "warning", (
        f"prediction intervals of nominal {made.options.level:.0%} covered {own:.0%} of rows held back here, and"
        f" {MEASURED_COVERAGE:.0%} on the public tables; predictions stop {DECADES:g} decades beyond the data"
    )


def validity(made: Fit) -> tuple[str, str]:
    if made.law.name.startswith("broken"):
        return "note", "a break is described only where it lies inside the data"
    if made.law.target == "metric":
        return "note", "a jump in a thresholded metric needs a continuous metric beside it"
    if made.law.columns == ("C",):
        route = envelope_route(made.points) if "N" in made.points.columns else None
        at = (
            ""
            if route is None or not len(route.budgets)
            else f" ({len(route.budgets)} of {len(made.points)} rows lie on it)"
        )
        return (
            "note",
            f"a power law with compute holds on the compute-optimal frontier{at}, above its floor, within the range",
        )
    return "ok", "a joint law; it holds within the range of its data"


CHECKS: tuple[tuple[str, Callable[[Fit], tuple[str, str]]], ...] = (
    ("stopped early", stationary),
    ("returned its start", moved),
    ("several minima", several_minima),
    ("boundary", at_a_bound),
    ("sensitivity to the loss", sensitivity),
    ("rounded parameters", rounding),
    ("rows of one run", independence),
    ("untuned runs", tuned),
    ("what is counted", counting),
    ("ridge", ridge),
    ("ranked by back-test", ranking_rule),
    ("coverage of intervals", interval_coverage),
    ("range of validity", validity),
)


def diagnose(made: Fit) -> list[Diagnostic]:
    """All thirteen, in the order of the guide."""
    return [Diagnostic(i, name, *check(made)) for i, (name, check) in enumerate(CHECKS, start=1)]
