"""The compute-optimal frontier by three routes, and whether they agree.

Joint fit: closed form from the law. Budgets: the best size of each budget, interpolated (Akima) or by a parabola.
Envelope: the lower convex hull of all rows. A route's own bias is measured by sending the fitted surface through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import Akima1DInterpolator
from scipy.spatial import ConvexHull, QhullError

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.fit import Fit, too_few_runs
from orchestrator.report.scaling.identify import COLLINEAR
from orchestrator.report.scaling.points import Points

SEED_NOISE = 0.002  # standard deviation of the loss between seeds, where the table has no repeats (Porian et al. 2024)
ALIKE = 1.5  # times that sizes by two routes may differ and be said to agree
GRID = 25  # interpolated sizes between two neighbouring sizes
ALLOCATIONS = {"chinchilla": ("A", "alpha", "B", "beta"), "chinchilla_shared": ("A", "alpha", "B", "alpha")}


@dataclass(frozen=True)
class Cost:
    """cost = factor · N^n · D^d; 6ND by default, or fitted to measured FLOPs or worker-hours."""

    factor: float = 6.0
    n: float = 1.0
    d: float = 1.0
    scatter: float = 0.0  # standard deviation of log cost about this form
    name: str = "6ND"

    @classmethod
    def measured(cls, points: Points, cost: Array, name: str) -> Cost:
        """The nearest product of powers to measured costs [rows]."""
        design = np.stack([np.ones(len(points)), np.log(points.columns["N"]), np.log(points.columns["D"])], axis=1)
        solution, _, rank, _ = np.linalg.lstsq(design, np.log(cost), rcond=1e-10)
        if rank < 3 or solution[1] <= 0 or solution[2] <= 0:
            raise UserError(f"cost {name}: it does not rise with both N and D over these rows; use 6ND")
        scatter = float(np.std(np.log(cost) - design @ solution))
        return cls(float(np.exp(solution[0])), float(solution[1]), float(solution[2]), scatter, name)

    def data(self, budget: Array, size: Array) -> Array:
        """The D that spends `budget` at N = `size`."""
        return (budget / (self.factor * size**self.n)) ** (1.0 / self.d)


@dataclass(frozen=True)
class Route:
    """N* = factor · C^exponent, the same for D, with intervals; `budgets`, `optima`: the points it went through."""

    name: str
    exponent: float | None = None
    low: float | None = None
    high: float | None = None
    factor: float | None = None
    data_exponent: float | None = None
    level: float = 0.95
    budgets: Array = field(default_factory=lambda: np.zeros(0))
    optima: Array = field(default_factory=lambda: np.zeros(0))
    warnings: tuple[str, ...] = ()

    def size(self, budget: float) -> float | None:
        if self.exponent is None or self.factor is None:
            return None
        return float(self.factor * budget**self.exponent)


def allocation(values: Mapping[str, float], law: str, cost: Cost, budgets: Array) -> tuple[Array, Array]:
    """Optimal N and D at `budgets` for E + A·N^-alpha + B·D^-beta at a cost of powers (Hoffmann et al. 2022, eq. 4)."""
    a, alpha, b, beta = (values[name] for name in ALLOCATIONS[law])
    balance = np.log(alpha * a * cost.d / (beta * b * cost.n))
    log_size = (balance + beta / cost.d * np.log(budgets / cost.factor)) / (alpha + beta * cost.n / cost.d)
    size = np.exp(log_size)
    return size, cost.data(budgets, size)


def joint_route(made: Fit, cost: Cost | None = None, level: float = 0.95) -> Route:
    """From the fitted law in closed form; the interval from the bootstrap by run, where there is one."""
    cost = cost or Cost()
    if made.law.name not in ALLOCATIONS:
        return Route("joint fit", warnings=(f"law {made.law.name} has no closed-form frontier",))
    if not made.identified:
        status = made.status.replace("_", " ")
        return Route("joint fit", warnings=(f"the fit has no exponents ({status}): {'; '.join(made.reasons)}",))
    budgets = np.geomspace(made.points.cost.min(), made.points.cost.max(), 9)

    def line(natural: Array) -> tuple[float, float]:
        values = dict(zip(made.law.names, natural, strict=True))
        sizes, _ = allocation(values, made.law.name, cost, np.array([1.0, np.e]))
        return float(np.log(sizes[1] / sizes[0])), float(sizes[0])

    natural = made.model.natural(made.theta)
    exponent, factor = line(natural)
    low = high = None
    if made.draws is not None and not too_few_runs(made.points):
        slopes = [line(draw)[0] for draw in made.model.natural(made.draws)]
        low, high = (float(v) for v in np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2]))
    warnings = (
        () if cost.scatter < 0.1 else (f"cost {cost.name} scatters by {cost.scatter:.0%} about a product of powers",)
    )
    data_exponent = (1.0 - cost.n * exponent) / cost.d
    sizes, _ = allocation(dict(zip(made.law.names, natural, strict=True)), made.law.name, cost, budgets)
    return Route("joint fit", exponent, low, high, factor, data_exponent, level, budgets, sizes, warnings)


@dataclass(frozen=True)
class BudgetOptions:
    """How the best size of a budget is found; `noise` is the seed's standard deviation of the loss."""

    method: str = "akima"
    redraws: int = 1000
    noise: float = SEED_NOISE
    seed: int = 0
    level: float = 0.95


def budgets_of(points: Points) -> list[np.ndarray]:
    """Rows of each budget (equal cost to 2 %), those with at least four sizes, by rising cost."""
    order = np.argsort(points.cost, kind="stable")
    breaks = np.flatnonzero(np.diff(np.log(points.cost[order])) > 0.02) + 1
    groups = np.split(order, breaks)
    return [
        group
        for group in groups
        if len(np.unique(points.columns["N"][group])) >= 4 and np.ptp(np.log(points.cost[group])) < 0.1
    ]


def best_of_sizes(points: Points, rows: np.ndarray) -> tuple[Array, Array]:
    """Log sizes, rising, and the log of the smallest loss at each."""
    sizes, inverse = np.unique(points.columns["N"][rows], return_inverse=True)
    smallest = np.full(len(sizes), np.inf)
    np.minimum.at(smallest, inverse, points.loss[rows])
    return np.log(sizes), np.log(smallest)


def minima_of_budget(x: Array, y: Array, method: str) -> tuple[Array, float]:
    """Log size of the minimum for each column of `y` [sizes, redraws] (nan at an edge), and the grid's step."""
    grid = np.linspace(x[0], x[-1], (len(x) - 1) * GRID)
    if method == "akima":
        at = np.argmin(Akima1DInterpolator(x, y, axis=0)(grid), axis=0)
        places = grid[at]
        return np.where((at == 0) | (at == len(grid) - 1), np.nan, places), float(grid[1] - grid[0])
    centre = x.mean()
    design = np.stack([np.ones_like(x), x - centre, (x - centre) ** 2], axis=1)
    fitted = np.linalg.lstsq(design, y, rcond=None)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        places = centre - fitted[1] / (2.0 * fitted[2])
    good = (fitted[2] > 0) & (places > x[0]) & (places < x[-1])
    return np.where(good, places, np.nan), float(grid[1] - grid[0])


def budget_route(
    points: Points, options: BudgetOptions | None = None, surface: Fit | None = None, cost: Cost | None = None
) -> Route:
    """Best size of each budget, then a weighted line of log N* on log C (Porian et al. 2024, arXiv 2406.19146).

    Seed noise is redrawn; a budget whose minimum lies at an edge is dropped, and so is one where half the redraws do.
    With a fitted `surface`, the route is applied to its noise-free losses at the same rows and its bias is stated.
    `cost` is the form of the points' cost (default: 6ND).
    """
    options, cost = options or BudgetOptions(), cost or Cost()
    name = f"budgets ({options.method})"
    if "N" not in points.columns or ("D" not in points.columns and "C" not in points.columns):
        return Route(name, warnings=("needs sizes and budgets: the columns N and C or D",))
    groups = budgets_of(points)
    if len(groups) < 3:
        return Route(name, warnings=(f"three budgets with at least four sizes are needed; there are {len(groups)}",))
    rng = np.random.default_rng(options.seed)
    kept, draws, errors, dropped = [], [], [], 0
    for group in groups:
        x, y = best_of_sizes(points, group)
        plain, step = minima_of_budget(x, y[:, None], options.method)
        noisy = np.log(np.exp(y)[:, None] + options.noise * rng.normal(size=(len(y), options.redraws)))
        places, _ = minima_of_budget(x, noisy, options.method)
        valid = np.isfinite(places)
        if np.isnan(plain[0]) or valid.mean() < 0.5:
            dropped += 1
            continue
        spread = max(float(np.std(places[valid])), 0.33 * GRID * step) / valid.mean()
        kept.append(float(np.mean(np.log(points.cost[group]))))
        draws.append(places)
        errors.append(spread)
    warnings = (
        [f"{dropped} of {len(groups)} budgets have their minimum at the smallest or largest size"] if dropped else []
    )
    if len(kept) < 3:
        return Route(
            name, warnings=(*warnings, f"three budgets with a minimum inside are needed; there are {len(kept)}")
        )
    c, places, weights = np.array(kept), np.stack(draws), 1.0 / np.array(errors) ** 2
    medians = np.nanmedian(places, axis=1)
    slope, intercept = weighted_line(c, medians[:, None], weights)
    slopes, _ = weighted_line(c, places, weights)
    low, high = np.nanquantile(slopes, [(1 - options.level) / 2, (1 + options.level) / 2])
    warnings += bias_warning(points, options, surface, cost)
    return Route(
        name,
        float(slope[0]),
        float(low),
        float(high),
        float(np.exp(intercept[0])),
        (1.0 - cost.n * float(slope[0])) / cost.d,
        options.level,
        np.exp(c),
        np.exp(medians),
        tuple(warnings),
    )


def weighted_line(x: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Slope and intercept [columns] of `y` [points, columns] on `x`; a missing y leaves its point out."""
    w = np.where(np.isfinite(y), weights[:, None], 0.0)
    y = np.where(np.isfinite(y), y, 0.0)
    total = w.sum(axis=0)
    mx, my = (w * x[:, None]).sum(axis=0) / total, (w * y).sum(axis=0) / total
    dx = x[:, None] - mx
    slope = (w * dx * (y - my)).sum(axis=0) / (w * dx**2).sum(axis=0)
    return slope, my - slope * mx


def bias_warning(points: Points, options: BudgetOptions, surface: Fit | None, cost: Cost) -> list[str]:
    """What the route makes of noise-free losses of a known surface at these rows, a thousandfold beyond them."""
    said = []
    if options.method == "parabola":
        said.append("parabolas per budget are biased where the two exponents differ or the sizes are not centred")
    if surface is None or surface.law.name not in ALLOCATIONS or not surface.identified:
        return said
    smooth = Points(points.columns, surface.value(points.columns))
    quiet = BudgetOptions(options.method, 2, 0.0, options.seed, options.level)
    seen = budget_route(smooth, quiet)
    target = 1e3 * float(points.cost.max())
    values = dict(zip(surface.law.names, surface.model.natural(surface.theta), strict=True))
    truth = float(allocation(values, surface.law.name, cost, np.array([target]))[0][0])
    size = seen.size(target)
    if size is not None:
        off = size / truth - 1.0
        if options.method == "parabola" or abs(off) > 0.1:
            said.append(f"its own bias: at C = {target:.1e} it puts the fitted law's N* off by {off:+.0%}")
    return said


def envelope_route(points: Points, cost: Array | None = None) -> Route:
    """Lines of log N and log D on log cost over the lower convex hull (McLeish et al. 2025, arXiv 2502.06857).

    The hull is closed by a vantage point at twice the largest cost and loss; only strictly falling losses are kept.
    """
    if "N" not in points.columns:
        return Route("envelope", warnings=("needs the column N",))
    cost = points.cost if cost is None else cost
    logs = np.log(np.stack([cost, points.loss], axis=1))
    vantage = np.log([[2.0 * cost.max(), 2.0 * points.loss.max()]])
    try:
        corners = ConvexHull(np.concatenate([vantage, logs])).vertices
    except (QhullError, ValueError):  # on one line, or too few
        return Route("envelope", warnings=("the rows are too few, or all alike, for a hull",))
    if "D" in points.columns and together(points):
        why = "N and D went up together: the hull says only how the sizes were chosen"
        return Route("envelope", warnings=(why,))
    rows = np.sort(corners[corners != 0] - 1)
    rows = rows[np.argsort(cost[rows], kind="stable")]
    falling = np.concatenate([[True], np.diff(points.loss[rows]) < 0])
    rows = rows[falling]
    # runs of equal cost: the hull has an upright edge there, whose lower end alone is on the frontier
    rows = rows[np.concatenate([np.diff(np.log(cost[rows])) > 1e-9, [True]])]
    sizes = len(np.unique(points.columns["N"][rows]))
    if sizes < 3:
        return Route("envelope", warnings=(f"three sizes are needed on the lower hull; there are {sizes}",))
    x = np.log(cost[rows])
    slope, intercept = np.polyfit(x, np.log(points.columns["N"][rows]), 1)
    data_slope = np.polyfit(x, np.log(points.columns["D"][rows]), 1)[0] if "D" in points.columns else None
    return Route(
        "envelope",
        float(slope),
        None,
        None,
        float(np.exp(intercept)),
        None if data_slope is None else float(data_slope),
        budgets=cost[rows],
        optima=points.columns["N"][rows],
        warnings=("no interval: the hull rests on few runs; repeat it over resampled runs before trusting a digit",),
    )


def together(points: Points) -> bool:
    """Whether N and D are so nearly proportional, in logs, that nothing was chosen between them."""
    sizes, data = np.log(points.columns["N"]), np.log(points.columns["D"])
    return np.ptp(sizes) > 0 and np.ptp(data) > 0 and bool(np.corrcoef(sizes, data)[0, 1] > COLLINEAR)


def routes_of(made: Fit, cost: Cost | None = None) -> list[Route]:
    """The joint fit, the budgets by interpolation and by parabolas, and the envelope."""
    points = made.points
    return [
        joint_route(made, cost),
        budget_route(points, surface=made, cost=cost),
        budget_route(points, BudgetOptions("parabola"), made, cost),
        envelope_route(points),
    ]


def agreement(routes: Sequence[Route], budget: float) -> float | None:
    """How many times the sizes at `budget` differ between the routes that could be taken; None with fewer than two."""
    trusted = [route.size(budget) for route in routes if "parabola" not in route.name]
    sizes = [size for size in trusted if size is not None]
    return max(sizes) / min(sizes) if len(sizes) > 1 else None


def frontier(made: Fit, budget: float | None = None, cost: Cost | None = None) -> dict[str, object]:
    """All routes, their sizes at `budget` (default: ten times the largest cost), and whether they agree."""
    budget = budget or 10.0 * float(made.points.cost.max())
    routes = routes_of(made, cost)
    table = [
        {
            "route": route.name,
            "exponent": route.exponent,
            "low": route.low,
            "high": route.high,
            "data_exponent": route.data_exponent,
            "size": route.size(budget),
            "warnings": list(route.warnings),
        }
        for route in routes
    ]
    ratio = agreement(routes, budget)
    if ratio is None:
        verdict = "fewer than two routes could be taken: nothing confirms the frontier"
    else:
        agree = "agree" if ratio < ALIKE else "disagree"
        verdict = f"the routes {agree}: at C = {budget:.3g} the largest N* is {ratio:.2f} times the smallest"
    return {"budget": budget, "routes": table, "verdict": verdict}
