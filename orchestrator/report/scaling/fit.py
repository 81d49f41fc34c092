"""Fit one law to points, and say honestly what came out.

>>> fit("chinchilla", Points({"N": params, "D": tokens}, loss), FitOptions(bootstrap=1000))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.report.scaling import identify, intervals
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.law import Columns, Law
from orchestrator.report.scaling.laws import law_named
from orchestrator.report.scaling.model import Model
from orchestrator.report.scaling.objective import Objective
from orchestrator.report.scaling.points import Points
from orchestrator.report.scaling.solve import Solution, polish, solve
from orchestrator.report.scaling.starts import starting_points

FEWEST_RUNS = 5  # of which some have several rows: from fewer nobody can say how runs differ
ONE_SIDED = 0.7  # skew of residuals: 0.45 at most on the public tables, 0.8 and more with a tenth of the runs untuned
STATUSES = ("converged", "multimodal", "boundary", "unidentified", "not_converged")


@dataclass(frozen=True)
class FitOptions:
    """`bootstrap`: repeats by run (0: intervals from curvature); `initial`: the only start, in natural parameters."""

    objective: Objective = field(default_factory=Objective)
    starts: int = 16
    seed: int = 0
    bootstrap: int = 0
    level: float = 0.9
    iterations: int = 200
    initial: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Estimate:
    """A parameter as shown to people; every field is None where the data do not identify it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True)
class Minimum:
    """A distinct minimum: its objective, how many starts reached it, the solver's parameters [p]."""

    objective: float
    reached_by: int
    theta: Array


@dataclass(frozen=True)
class Fit:
    """A fitted law. `parameters` withholds what is not identified; `theta` and `draws` still serve predictions."""

    model: Model
    options: FitOptions
    status: str
    reasons: tuple[str, ...]
    theta: Array  # [p], the solver's coordinates
    objective: float
    minima: tuple[Minimum, ...]
    covariance: Array  # [p, p], the solver's coordinates
    condition: float
    starts: Solution
    draws: Array | None = None  # [repeats, p]
    parameters: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def law(self) -> Law:
        return self.model.law

    @property
    def points(self) -> Points:
        return self.model.points

    @property
    def identified(self) -> bool:
        return self.status == "converged"

    def value(self, columns: Columns) -> Array:
        """Loss [rows] by the fitted law; within the data this needs no identified exponent."""
        given = {name: np.asarray(values, float) for name, values in columns.items()}
        return np.asarray(np.exp(self.model.log_loss(self.theta, given)[0][0]))

    @property
    def fresh_starts(self) -> Array:
        """Where the solver began [starts, p]: a refit of other rows begins there too."""
        return first_guesses(self.model, self.options)

    @property
    def residuals(self) -> Array:
        """Predicted minus measured, log loss [rows]."""
        return np.log(self.value(self.points.columns)) - np.log(self.points.loss)


def fit(law: Law | str, points: Points, options: FitOptions | None = None) -> Fit:
    """Fit `law` to `points`. Raises UserError where columns are missing or rows too few; all else is in the status."""
    options = options or FitOptions()
    law = law_named(law, points.columns) if isinstance(law, str) else law
    model = Model.over(law, points, options.objective)
    starts = first_guesses(model, options)
    solution = solve(model.problem, starts, points.row_weights, iterations=options.iterations)
    solution = polished(model, replace(solution, theta=ordered(law, solution.theta)))
    best = int(np.argmin(solution.objective))
    theta = solution.theta[best]
    spread, condition = identify.covariance(model, theta)
    made = Fit(
        model,
        options,
        "converged",
        (),
        theta,
        float(solution.objective[best]),
        distinct_minima(model, solution, np.sqrt(np.maximum(np.diag(spread), 0))),
        spread,
        condition,
        solution,
    )
    status, reasons = judge(made)
    made = replace(made, status=status, reasons=tuple(reasons))
    if options.bootstrap:
        made = replace(made, draws=bootstrap_draws(made, options))
    return replace(made, parameters=estimates(made))


def polished(model: Model, solution: Solution) -> Solution:
    """The best member brought to its minimum exactly, if it was near one."""
    best = int(np.argmin(solution.objective))
    if not solution.stationary[best]:
        return solution
    weights = model.points.row_weights
    exact = replace(model.problem, tolerance=1e-15, warm=True)
    again = solve(exact, solution.theta[best : best + 1], weights)
    theta = polish(model.problem, again.theta[0], weights)
    objective = float(model.problem.objective.total(model.problem.residuals(theta[None])[0][0], weights))
    if not objective < solution.objective[best]:
        return solution
    thetas, objectives = solution.theta.copy(), solution.objective.copy()
    thetas[best], objectives[best] = theta, objective
    return replace(solution, theta=thetas, objective=objectives)


def ordered(law: Law, theta: Array) -> Array:
    """`theta` [batch, p] with interchangeable groups (two breaks) in rising order of their first parameter."""
    if not law.interchangeable:
        return theta
    places = np.array([[law.names.index(name) for name in group] for group in law.interchangeable])
    theta = theta.copy()
    rank = np.argsort(theta[:, places[:, 0]], axis=1, kind="stable")
    theta[:, places] = np.take_along_axis(theta[:, places], rank[:, :, None], axis=1)
    return theta


def bootstrap_draws(made: Fit, options: FitOptions) -> Array:
    starts = np.stack([minimum.theta for minimum in made.minima[:2]])
    return intervals.resample(made.model, starts, options.bootstrap, options.seed + 1)


def first_guesses(model: Model, options: FitOptions) -> Array:
    if options.initial is not None:
        return model.internal(options.initial)[None]
    x = model.variables(model.points.columns)
    return starting_points(model.law, x, model.points.loss, (options.starts, options.seed))


def distinct_minima(model: Model, solution: Solution, errors: Array) -> tuple[Minimum, ...]:
    """Stationary points, best first, that differ by more than a tenth of a standard error from better ones."""
    found: list[Minimum] = []
    scale = np.maximum(0.1 * errors, 1e-4)
    for i in np.argsort(solution.objective, kind="stable"):
        theta, objective = solution.theta[i], float(solution.objective[i])
        if not np.isfinite(objective):
            continue
        twin = next((j for j, m in enumerate(found) if np.all(np.abs(m.theta - theta) <= scale)), None)
        if twin is not None:
            found[twin] = replace(found[twin], reached_by=found[twin].reached_by + 1)
        elif solution.stationary[i] or not found:
            found.append(Minimum(objective, 1, theta))
    return tuple(found)


def judge(made: Fit) -> tuple[str, list[str]]:
    """The status and its reasons, the gravest first."""
    model, solution = made.model, made.starts
    lacking = identify.missing_from_rows(model)
    if lacking:
        return "unidentified", lacking
    best = int(np.argmin(solution.objective))
    if not np.isfinite(made.objective) or not solution.stationary[best]:
        if np.isfinite(made.objective) and made.condition > identify.CONDITION:
            return "unidentified", [valley_sentence(made)]
        return "not_converged", [
            f"the solver stopped after {int(solution.iterations[best])} steps at a point that is not stationary"
            f"{'' if solution.moved[best] else ', which is its start'}: allow more steps or starts"
        ]
    lacking = mixed_runs(made) + one_sided_rows(made)
    if lacking:
        return "unidentified", lacking
    edge = at_bounds(made)
    if edge:
        return "boundary", edge
    weak = weak_exponents(made)
    if weak:
        return "unidentified", weak
    rows = identify.effective_rows(model, made.theta)
    rivals = [
        m
        for m in made.minima[1:]
        if identify.evidence(model, m.objective, made.objective, rows) < identify.LIKELIHOOD_STEP
    ]
    if rivals:
        return "multimodal", [
            f"{len(rivals) + 1} distinct minima fit alike (objectives {made.objective:.6g}, {rivals[0].objective:.6g})"
        ]
    return "converged", []


def at_bounds(made: Fit) -> list[str]:
    """Parameters that ran to a bound, and a floor that the data cannot tell from zero."""
    model, law = made.model, made.law
    said = []
    for j, parameter in enumerate(law.parameters):
        low, high, value = model.problem.low[j], model.problem.high[j], made.theta[j]
        bound = high if high - value < value - low else low
        if parameter.role == "floor":
            gone = np.exp(value) < 1e-3 * model.points.loss.min()
            if gone or floor_is_idle(made, j):
                said.append(floor_sentence(law, parameter.name))
        elif parameter.role == "exponent" and abs(value - bound) < 1e-3 * max(2.0, abs(bound)):
            said.append(
                f"{parameter.name} runs to its bound {bound:g}: no power of this variable is seen{_if_rising(made)}"
            )
        elif parameter.role == "break" and abs(value - bound) < 1e-3 * (high - low):
            said.append(f"the break {parameter.name} runs to the edge of the data: a break is seen only inside them")
    return said


def _if_rising(made: Fit) -> str:
    """A hint where the column grows with scale, as no loss does."""
    logs = [np.log(values) for values in made.points.columns.values() if np.ptp(values) > 0]
    rising = [np.corrcoef(values, np.log(made.points.loss))[0, 1] > 0.2 for values in logs]
    return " (it rises with scale: an accuracy? give what it leaves to 1)" if logs and all(rising) else ""


def floor_sentence(law: Law, name: str) -> str:
    return (
        f"the floor {name} is not told apart from zero, and the exponent hangs on it: run larger sizes or more data,"
        f" or fit a law without floor"
    )


def floor_is_idle(made: Fit, j: int) -> bool:
    """Whether a zero floor fits as well, within the 90 % step of the likelihood."""
    model = made.model
    start = made.theta.copy()
    start[j] = model.problem.low[j]
    free = np.arange(len(start)) != j
    starts = np.stack([start, *(np.where(free, theta, start) for theta in made.starts.theta[:3])])
    without = solve(model.problem, starts, model.points.row_weights, free)
    rows = identify.effective_rows(model, made.theta)
    gain = identify.evidence(model, float(without.objective.min()), made.objective, rows)
    return gain < identify.LIKELIHOOD_STEP


def valley_sentence(made: Fit) -> str:
    return (
        f"the law's parameters trade off against each other along a flat valley (condition number {made.condition:.1e})"
    )


def weak_exponents(made: Fit) -> list[str]:
    if made.condition > identify.CONDITION:
        return [valley_sentence(made)]
    said = []
    for name in made.law.exponents:
        j = made.law.names.index(name)
        error = float(np.sqrt(max(made.covariance[j, j], 0.0)))
        if error > max(identify.RELATIVE_ERROR * abs(made.theta[j]), 0.1):
            said.append(f"{name} is uncertain by {error:.2g}, too much to print: widen the range of its variable")
    return said


def mixed_runs(made: Fit) -> list[str]:
    """Repeated cells whose scatter is far above that of their best runs: untuned runs are mixed in."""
    points, law = made.points, made.law
    keys = np.stack([np.round(values, 6) for values in law.raw_variables(points.columns).values()], axis=1)
    cells = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    count = int(cells.max()) + 1
    if count == len(points) or count < len(law.parameters) + 1 or len(points) - count < 3:
        return []
    order = np.lexsort((points.loss, cells))
    best = order[np.unique(cells[order], return_index=True)[1]]
    gap = np.log(points.loss) - np.log(points.loss[best])[cells]
    others = np.setdiff1d(np.arange(len(points)), best)
    spread = float(np.median(gap[others]))
    model = Model.over(law, points.rows(best), made.options.objective)
    again = solve(model.problem, made.starts.theta[:4], model.points.row_weights)
    winner = again.theta[int(np.argmin(again.objective))]
    scatter = float(np.median(np.abs(np.log(model.points.loss) - model.log_loss(winner, model.points.columns)[0][0])))
    if spread > max(0.01, 4.0 * scatter):
        return [
            f"runs of one cell differ by {spread:.1%} while their best follow the law within {scatter:.1%}:"
            f" {_what_varies(made, cells)}"
        ]
    return []


def _what_varies(made: Fit, cells: np.ndarray) -> str:
    """Why runs that the law takes for alike differ: another column, where one does, else how well they were tuned."""
    for name, values in made.points.columns.items():
        if name not in made.law.columns and any(np.ptp(np.log(values[cells == cell])) > 0.01 for cell in set(cells)):
            return f"they differ in {name}, which this law leaves out; fit a law of it too, or rows of one {name}"
    return (
        "untuned runs are mixed in (keep the best of each cell),"
        " or they differ in what no column given here tells (--data, --group)"
    )


def one_sided(made: Fit) -> tuple[float, float]:
    """Skew of measured over predicted (−1 to 1, by quantiles); how far its upper twentieth lies above the middle."""
    low, middle, high = np.quantile(-made.residuals, [0.05, 0.5, 0.95])
    return float((high + low - 2 * middle) / max(high - low, 1e-300)), float(high - middle)


def one_sided_rows(made: Fit) -> list[str]:
    """Runs that are not repeated but lie far above the law on one side only; fair tables have a skew below 0.5."""
    skew, above = one_sided(made)
    if len(made.points) < 20 or skew < ONE_SIDED or above < 0.02:
        return []
    return [
        f"a part of the rows lies up to {above:.1%} above the law and none as far below:"
        " untuned or broken runs are mixed in;"
        " keep tuned runs only, or drop the highest losses"
    ]


def too_few_runs(points: Points) -> bool:
    """Whether the rows are of so few runs that no interval can be had: rows of one run are no repeats."""
    runs = len(np.unique(points.runs))
    return runs < len(points) and runs < FEWEST_RUNS


def estimates(made: Fit) -> dict[str, Estimate]:
    """Natural parameters with intervals (of too few runs without); withheld unless converged, save one on its bound."""
    law, model = made.law, made.model
    if not made.identified:
        kept = {}
        for j, parameter in enumerate(law.parameters):
            at_zero = parameter.role == "floor" and np.exp(made.theta[j]) < 1e-3 * model.points.loss.min()
            kept[parameter.name] = Estimate(0.0) if made.status == "boundary" and at_zero else Estimate()
        return kept
    values = model.natural(made.theta)
    if too_few_runs(made.points):
        return {name: Estimate(float(values[j])) for j, name in enumerate(law.names)}
    if made.draws is not None:
        low, high, errors = intervals.from_draws(model.natural(made.draws), made.options.level)
    else:
        low, high, errors = intervals.from_curvature(model, made.theta, made.covariance, made.options.level)
    return {
        name: Estimate(float(values[j]), float(low[j]), float(high[j]), float(errors[j]))
        for j, name in enumerate(law.names)
    }
