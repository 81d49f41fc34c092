"""Families on one law: shared or separate exponents, compute-equivalent gain, crossover, plain ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling import identify
from orchestrator.report.scaling.derivative import Array, Form, log_sum
from orchestrator.report.scaling.fit import FEWEST_RUNS, Fit, FitOptions, fit, too_few_runs
from orchestrator.report.scaling.law import Columns, Law
from orchestrator.report.scaling.points import Points

BOOTSTRAP = 200
COMMON = 0.05  # relative difference of size within which two families count as having a size in common


@dataclass(frozen=True)
class Interval:
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Pair:
    """B against A: `gain` is how many times A's cost B needs for A's loss at `cost` (above 1: B needs more)."""

    a: str
    b: str
    cost: float
    gain: Interval
    crossover: Interval
    crossover_probability: float  # share of resamples in which the order changes within the data and a decade beyond
    a_better: float  # share of resamples in which A has the lower loss at `cost`
    verdict: str


def shared_exponents(law: Law, families: tuple[str, ...]) -> Law:
    """`law` with coefficients and floors of each family and exponents common to all; for sums of powers."""
    if not law.terms:
        raise UserError(f"law {law.name}: exponents can be shared only in a sum of powers")
    exponents = tuple(parameter for parameter in law.parameters if parameter.role == "exponent")
    own = [parameter for parameter in law.parameters if parameter.role != "exponent"]
    parameters = exponents + tuple(replace(p, name=f"{p.name}[{family}]") for family in families for p in own)

    def formula(p: Mapping[str, Form], x: Mapping[str, Array]) -> Form:
        logs = []
        for term in law.terms:
            # every row belongs to one family, so the sum of indicator × coefficient is that family's coefficient
            parts = [p[f"{term.coefficient}[{family}]"] * x[f"is {family}"] for family in families]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            for variable, power in term.powers.items():
                total = total + p[power] * (term.sign * x[variable])
            logs.append(total)
        return log_sum(*logs) if len(logs) > 1 else logs[0]

    indicators = {f"is {family}": indicator(number) for number, family in enumerate(families, start=1)}
    shifts = {f"{name}[{family}]": shift for name, shift in law.shifts.items() for family in families}
    return replace(
        law,
        name=f"{law.name} (shared exponents)",
        parameters=parameters,
        formula=formula,
        terms=(),
        shifts=shifts,
        variables={**law.variables, **indicators},
        linear=law.linear | frozenset(indicators),
        draw=None,
    )


def indicator(number: int) -> Callable[[Columns], Array]:
    return lambda columns: (columns["family"] == number).astype(float)


def fit_shared(law: Law, points: Points, group: Array, separate: Mapping[str, Fit], options: FitOptions) -> Fit:
    """The shared-exponent fit, begun from each family's own exponents."""
    families = tuple(separate)
    joined = shared_exponents(law, families)

    def draw(rng: np.random.Generator, x: Mapping[str, Array], loss: Array) -> dict[str, float]:
        chosen = separate[families[int(rng.integers(len(families)))]]
        start = {name: float(chosen.theta[law.names.index(name)]) for name in law.exponents}
        for family, own in separate.items():
            # each family is centred on its own rows: carry its coefficients over to the common centre
            theta = own.model.natural_map()[0] @ own.theta + own.model.natural_map()[1]
            common = dict(zip(law.names, theta, strict=True))
            for p in law.parameters:
                if p.role != "exponent":
                    moved = sum(
                        (-1.0 if str(amount).startswith("-") else 1.0)
                        * common[str(amount).lstrip("-")]
                        * float(np.mean(np.log(law.variables[v](points.columns))))
                        for amount, v in law.shifts.get(p.name, ())
                    )
                    start[f"{p.name}[{family}]"] = common[p.name] - moved + rng.normal(0.0, 0.05)
        return start

    numbered = replace(points, columns={**points.columns, "family": 1.0 + np.searchsorted(families, group)})
    return fit(replace(joined, draw=draw), numbered, replace(options, starts=8, bootstrap=0))


def frontier_loss(made: Fit, costs: Array, theta: Array | None = None) -> Array:
    """Log of the lowest loss [batch, costs] that the law gives at each cost, over all sizes where it has N and D."""
    theta = made.theta[None] if theta is None else theta
    law = made.law
    if set(law.columns) == {"N", "D"}:
        grid = np.geomspace(made.points.columns["N"].min() / 30.0, made.points.columns["N"].max() * 30.0, 61)
        sizes, budgets = (part.ravel() for part in np.meshgrid(grid, costs))
        value, _ = made.model.log_loss(theta, {"N": sizes, "D": budgets / (6.0 * sizes)})
        lowest: Array = value.reshape(len(theta), len(costs), len(grid)).min(axis=2)
        return lowest
    if len(law.columns) == 1:
        return made.model.log_loss(theta, {law.columns[0]: costs})[0]
    raise UserError(f"law {law.name}: families are compared on laws of N and D, or of one variable")


def cost_axis(made: Fit) -> Array:
    """What a family's points cost, in the unit that `frontier_loss` reads."""
    if set(made.law.columns) == {"N", "D"}:
        return 6.0 * made.points.columns["N"] * made.points.columns["D"]
    return made.points.columns[made.law.columns[0]]


def compare_pair(a: str, b: str, fits: Mapping[str, Fit]) -> Pair:
    """Compute-equivalent gain of A over B at the largest cost common to both, and where their curves cross."""
    low = max(cost_axis(fits[a]).min(), cost_axis(fits[b]).min())
    cost = float(min(cost_axis(fits[a]).max(), cost_axis(fits[b]).max()))
    grid = np.geomspace(low, 10.0 * cost, 41) if low < cost else np.geomspace(cost / 10, cost * 10, 41)
    reach = np.geomspace(cost * 1e-4, cost * 1e4, 161)
    theta = [np.concatenate([fits[name].theta[None], draws_of(fits[name])]) for name in (a, b)]
    at_cost = [frontier_loss(fits[name], np.array([cost]), t)[:, 0] for name, t in zip((a, b), theta, strict=True)]
    curve_b = frontier_loss(fits[b], reach, theta[1])
    gains = np.array(
        [
            np.exp(np.interp(-level, -curve, np.log(reach), left=np.nan, right=np.inf)) / cost
            for level, curve in zip(at_cost[0], np.minimum.accumulate(curve_b, axis=1), strict=True)
        ]
    )
    differences = frontier_loss(fits[a], grid, theta[0]) - frontier_loss(fits[b], grid, theta[1])
    crossings = np.array([first_crossing(grid, row) for row in differences])
    inside = np.isfinite(crossings)
    level = fits[a].options.level
    gain = interval(gains[1:], gains[0], level)
    crossing = (
        interval(crossings[inside], crossings[0], level) if inside[1:].mean() > 0.05 else Interval(None, None, None)
    )
    return Pair(
        a,
        b,
        cost,
        gain,
        crossing,
        float(inside[1:].mean()),
        float(np.mean(at_cost[0][1:] < at_cost[1][1:])),
        gain_verdict(a, b, gain),
    )


def gain_verdict(a: str, b: str, gain: Interval) -> str:
    if gain.low is not None and gain.low > 1.0:
        return f"{b} needs more compute than {a} for the same loss"
    if gain.high is not None and gain.high < 1.0:
        return f"{a} needs more compute than {b} for the same loss"
    return f"cannot tell {a} and {b} apart at this cost"


def draws_of(made: Fit) -> Array:
    if made.draws is None:
        raise ValueError("families are compared on resamples: fit with bootstrap")
    return made.draws


def first_crossing(grid: Array, difference: Array) -> float:
    """The cost at which the sign of `difference` changes first, nan where it never does."""
    signs = np.flatnonzero(np.diff(np.sign(difference)) != 0)
    if not len(signs):
        return float("nan")
    i = int(signs[0])
    share = difference[i] / (difference[i] - difference[i + 1])
    return float(np.exp(np.log(grid[i]) + share * (np.log(grid[i + 1]) - np.log(grid[i]))))


def interval(draws: Array, value: float, level: float) -> Interval:
    """Quantiles of the draws; an end beyond the reach of the curves is None."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return Interval(finite(value), None, None)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Interval(finite(value), finite(low), finite(high))


def finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def plain_ranking(points: Points, group: Array) -> dict[str, Any]:
    """The best loss of each family at the largest size that all of them ran: no law, no extrapolation."""
    name = next((name for name in ("N", "C", "D", "T") if name in points.columns), next(iter(points.columns)))
    values = points.columns[name]
    families = sorted(set(group.tolist()))
    for size in sorted(set(values.tolist()), reverse=True):
        near = np.abs(np.log(values / size)) <= COMMON
        if all((near & (group == family)).any() for family in families):
            rows = [
                {
                    "family": family,
                    "loss": float(points.loss[near & (group == family)].min()),
                    "rows": int((near & (group == family)).sum()),
                }
                for family in families
            ]
            return {
                "column": name,
                "size": float(size),
                "ranking": sorted(rows, key=lambda row: float(str(row["loss"]))),
            }
    return {
        "column": name,
        "size": None,
        "ranking": [],
        "note": f"no {name} is common to all families within {COMMON:.0%}",
    }


@dataclass(frozen=True)
class SharedVerdict:
    """The shared-exponent fit beside the sum of the separate objectives, and whether the exponents differ."""

    fitted: Fit
    separate: float
    p_value: float
    verdict: str


@dataclass(frozen=True)
class FamilyComparison:
    """`fits` of each family, those that `failed` with the reason, every pair, the plain `ranking`, the shared fit."""

    fits: Mapping[str, Fit]
    failed: Mapping[str, str]
    pairs: tuple[Pair, ...]
    ranking: Mapping[str, Any]
    shared: SharedVerdict | None = None


def compare_families(law: Law, points: Points, group: Array, options: FitOptions | None = None) -> FamilyComparison:
    """Everything about families on one law; `group` [rows] names the family of each row."""
    options = options or FitOptions()
    group = np.asarray(group, dtype=str)
    families = sorted(set(group.tolist()))
    if len(families) < 2:
        raise UserError(f"group: one family ({families[0]}): at least two are compared")
    repeats = options.bootstrap or BOOTSTRAP
    fits, failed = {}, {}
    for family in families:
        own = points.rows(group == family)
        if too_few_runs(own):
            failed[family] = f"{len(np.unique(own.runs))} runs: fewer than {FEWEST_RUNS} say nothing of how runs differ"
            continue
        try:
            fits[family] = fit(law, own, replace(options, bootstrap=repeats))
        except UserError as error:
            failed[family] = str(error)
    pairs = tuple(compare_pair(a, b, fits) for a, b in combinations(fits, 2)) if comparable(law) else ()
    shared = None
    if law.terms and len(fits) > 1:
        kept = np.isin(group, list(fits))
        shared = shared_verdict(law, points.rows(kept), group[kept], fits, options)
    return FamilyComparison(fits, failed, pairs, plain_ranking(points, group), shared)


def comparable(law: Law) -> bool:
    return set(law.columns) == {"N", "D"} or len(law.columns) == 1


def shared_verdict(
    law: Law, points: Points, group: Array, fits: Mapping[str, Fit], options: FitOptions
) -> SharedVerdict:
    """The shared-exponent fit, and whether the families' own exponents differ by more than chance would make them."""
    shared = fit_shared(law, points, group, fits, options)
    apart = sum(made.objective for made in fits.values())
    probability = same_exponents(law, fits)
    verdict = "the exponents differ" if probability < 0.05 else "the data do not tell the exponents apart"
    return SharedVerdict(shared, apart, probability, verdict)


def same_exponents(law: Law, fits: Mapping[str, Fit]) -> float:
    """The chance of exponents at least so different were they the same: Wald's test on the bootstrap's covariances.

    A ratio of likelihoods would stand on the form of the residuals: with Huber's loss on normal ones it found a
    difference in 37 % of 40 tables that had none, this one in 2 %.
    """
    from scipy.stats import f

    places = [law.names.index(name) for name in law.exponents]
    values = [made.theta[places] for made in fits.values()]
    sure = [np.linalg.pinv(np.atleast_2d(np.cov(draws_of(made)[:, places].T))) for made in fits.values()]
    common = np.linalg.pinv(sum(sure)) @ sum(weight @ value for weight, value in zip(sure, values, strict=True))
    apart = sum((value - common) @ weight @ (value - common) for weight, value in zip(sure, values, strict=True))
    freedom = (len(fits) - 1) * len(places)
    rows = sum(identify.effective_rows(made.model, made.theta) - len(made.theta) for made in fits.values())
    return float(f.sf(apart / freedom, freedom, max(rows, 1.0)))
