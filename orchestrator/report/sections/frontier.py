"""How large a network does a given amount of compute pay best for?"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from orchestrator.report import ladder, optimal, svg, theme, wording
from orchestrator.report.optimal import Optimum
from orchestrator.report.pieces import Column, Context, Figure, Row, Section, Table, family_mark, paragraph
from orchestrator.report.scaling import LAWS
from orchestrator.report.scaling.fit import floor_sentence
from orchestrator.report.scaling.frontier import ALIKE, Route
from orchestrator.report.sections.scaling import own_sizes

DASHES = {"joint fit": "-", "envelope": ":"}
MOST_SAID = 3
NAMES = {"joint fit": "joint fit", "budgets (akima)": "best of each budget", "envelope": "lower envelope"}


def section(context: Context) -> Section:
    question = "How large a network for how much compute?"
    if min(len(context.frames.sizes), len(context.frames.fractions)) < optimal.FEWEST:
        return Section(question, _too_small(context))
    found = optimal.optima(ladder.points(context.frames), context.frames.families)
    numbers: dict[str, float | int | None] = {
        f"{one.family}.optimal_params_exponent": one.main.exponent for one in found if one.main
    }
    return Section(
        question=question,
        answer=_answer(context, found),
        blocks=[_figure(context, found), _table(context, found), _next_runs(context, found), _method(context)],
        numbers=numbers,
    )


def _too_small(context: Context) -> Markup:
    frames = context.frames
    return Markup(
        "Not known: to split compute between parameters and data well, the same families have to be tuned at {} sizes "
        "and {} data fractions or more; here are {} and {}."
    ).format(
        optimal.FEWEST,
        optimal.FEWEST,
        wording.plural(len(frames.sizes), "size"),
        wording.plural(len(frames.fractions), "data fraction"),
    )


def _answer(context: Context, found: Sequence[Optimum]) -> Markup:
    settled = [one for one in found if one.main and one.main.low is not None and (one.agree or one.ratio is None)]
    parts = [_said(context, one) for one in settled]
    # Without an interval a factor is a number like any other: it stands in the table, not up here.
    if alone := [one for one in found if one.main and one.main.low is None and one.ratio is None]:
        parts += [_alone(context, one) for one in alone]
    if open_ones := [one for one in found if one.main and one not in settled and one not in alone]:
        listed = Markup("; ").join(_disagreement(context, one) for one in open_ones)
        told = Markup("Not settled: the routes disagree for {}. Larger sizes or more data would tell.").format(listed)
        parts.append(told)
    if silent := [one for one in found if not one.main]:
        reasons = Markup("; ").join(
            Markup("{}: {}").format(family_mark(context, one.family), _reason(one)) for one in silent[:3]
        )
        more = Markup("") if len(silent) <= 3 else Markup(" (and {} more)").format(len(silent) - 3)
        lead = Markup("") if parts else Markup("Cannot tell how compute is best split. ")
        parts.append(lead + Markup("No route could be taken for ") + reasons + more + ".")
    if context.frames.metric != "loss":
        parts.append(Markup("Best is meant by the loss, not by {}.").format(wording.metric(context.frames.metric)))
    if then := [one for one in found if one.then][:MOST_SAID]:
        parts.append(
            Markup("To know more, run next: {}.").format(Markup("; ").join(_next(context, one) for one in then))
        )
    return Markup(" ").join(parts)


def _next(context: Context, one: Optimum) -> Markup:
    assert one.then is not None
    return Markup("{} with about {} parameters on {} rows").format(
        family_mark(context, one.family), wording.short(one.then.params), wording.count(one.then.train_samples)
    )


def _alone(context: Context, one: Optimum) -> Markup:
    """The only route there was has no interval."""
    route = one.main
    assert route is not None
    what = (
        f"{NAMES[route.name]} alone (the cells that no cheaper one beats)"
        if route.name == "envelope"
        else (f"{NAMES[route.name]} alone")
    )
    return Markup(
        "Cannot tell for {} how compute is best split: there is the {}, through {}, with no interval and nothing to "
        "confirm it."
    ).format(family_mark(context, one.family), what, wording.plural(len(np.unique(route.optima)), "size"))


def _said(context: Context, one: Optimum) -> Markup:
    route = one.main
    assert route is not None and route.exponent is not None
    assert route.low is not None and route.high is not None
    interval = f" ({_factor(route.low)} to {_factor(route.high)})"
    sure = "only one route could be taken, so nothing confirms it" if one.ratio is None else "the routes agree"
    return Markup("For {}, ten times the compute is best spent on a network {} times as large{}; {}.").format(
        family_mark(context, one.family), _factor(route.exponent), interval, sure
    )


def _disagreement(context: Context, one: Optimum) -> Markup:
    sizes = [f"{NAMES[route.name]} {_factor(route.exponent)}" for route in one.taken if route.exponent is not None]
    return Markup("{} (for ten times the compute a network so many times as large: {})").format(
        family_mark(context, one.family), wording.listing(sizes)
    )


def _factor(exponent: float) -> str:
    return wording.number(10**exponent, 2)


def _reason(one: Optimum) -> str:
    return one.reason or "; ".join(_plain(warning) for route in one.routes[:1] for warning in route.warnings)


def _plain(warning: str) -> str:
    """A warning of the fit in words of this page."""
    words = {
        "N takes": "parameters take",
        "D takes": "training rows take",
        "N and D went up together: the hull says": "parameters and rows went up together: the envelope says",
        "the fit has no exponents (boundary): ": "the law through all points came out at the edge of what it may be: ",
        "the fit has no exponents (unidentified): ": "the points leave the law through all of them open: ",
        "unidentified: ": "not identified: ",
        floor_sentence(LAWS[optimal.LAW], "E"): "its floor, the loss that would be left however large the network, is "
        "not told apart from zero, and larger sizes or more data would tell",
        "three budgets with": "three amounts of compute with",
        "the lower hull": "the lower envelope",
        "for a hull": "for an envelope",
        "the hull rests on few runs": "the envelope rests on few cells",
        "; repeat it over resampled runs before trusting a digit": "",
    }
    for old, new in words.items():
        warning = warning.replace(old, new)
    for name, meant in (("alpha", "size"), ("beta", "data")):
        pattern = rf"{name} runs to its bound [^:;]*: no power of this variable is seen"
        warning = re.sub(pattern, f"no power law of {meant} is seen", warning)
    return warning


def _figure(context: Context, found: Sequence[Optimum]) -> Figure:
    name = "compute-optimal"
    caption = Markup(
        "Parameters against training compute. Each faint point is a cell, a darker one a smaller test loss; a line is "
        "the best size for each amount of compute by one route, within what was measured. Marks on a line are the "
        "points that it goes through."
    )
    panels, said = [], []
    for one in found:
        if one.taken:
            with theme.style(f"{name}-{one.family}"):
                panels.append(_panel(context, one))
            said.append(
                f"{one.family}: "
                + ", ".join(f"{NAMES[route.name]} N ~ C^{wording.number(route.exponent, 2)}" for route in one.taken)
            )
    lacking = "" if panels else "No family’s points say how compute is best split; the table says what is missing."
    return Figure(name, f"Best size against compute. {'; '.join(said)}.", caption, panels, lacking=lacking)


def _panel(context: Context, one: Optimum) -> str:
    drawing, axes = theme.panel(right=112, left=48)
    colour = context.dress.colour(one.family)
    rows = one.points
    # As far as the lines go, so that none ends outside.
    sizes = [rows["params"].to_numpy(float), *(route.optima for route in one.taken)]
    sizes += [_line(route)[1] for route in one.taken]
    theme.log_axis(axes, "x", rows["flops"].to_numpy(float))
    theme.log_axis(axes, "y", np.concatenate(sizes))
    # Darker is better, by rank: losses of one sweep may span decades.
    shades = 0.55 - 0.45 * (rows["loss"].rank() - 1) / max(len(rows) - 1, 1)
    axes.scatter(rows["flops"], rows["params"], s=26, color=colour, alpha=shades.to_numpy(float), linewidths=0,
                 marker=context.dress.marker(one.family))  # fmt: skip
    ends = []
    for route in one.taken:
        x, y = _line(route)
        axes.plot(x, y, color=colour, linestyle=DASHES.get(route.name, "--"), linewidth=1.8)
        if route.name != "joint fit":
            axes.scatter(route.budgets, route.optima, s=30, facecolors="none", edgecolors=colour, linewidths=1.2)
        ends.append((float(x[-1]), float(y[-1]), NAMES[route.name], colour))
    theme.label_ends(axes, ends, size=9.5)
    theme.titles(axes, f"{one.family}: parameters", "Training compute, FLOP", colour)
    return svg.text_of(drawing)


def _line(route: Route) -> tuple[np.ndarray, np.ndarray]:
    assert route.factor is not None and route.exponent is not None
    x = np.geomspace(route.budgets.min(), route.budgets.max(), 20)
    return x, route.factor * x**route.exponent


def _table(context: Context, found: Sequence[Optimum]) -> Table:
    columns = ["family", "route", "exponent", "low", "high", "data_exponent", "budget", "size", "ratio", "remarks"]
    rows: list[dict[str, object]] = []
    for one in found:
        if not one.routes:
            rows.append({"family": one.family, "route": "none", "remarks": one.reason})
        for route in one.routes:
            rows.append(
                {"family": one.family, "route": NAMES[route.name], "exponent": route.exponent, "low": route.low,
                 "high": route.high, "data_exponent": route.data_exponent, "budget": one.budget,
                 "size": route.size(one.budget), "ratio": one.ratio, "remarks": "; ".join(route.warnings)}
            )  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:-1], float))
    return Table(
        "compute-optimal",
        "Do the three routes agree? When compute grows ten times: by which factor the best size and the data grow",
        frame,
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Route", lambda row: row["route"].capitalize()),
            Column("Size", lambda row: _tenfold(row["exponent"]), True),
            Column("95 % interval", _interval, True),
            Column("Data", lambda row: _tenfold(row["data_exponent"]), True),
            Column("Best size at ten times the largest compute", lambda row: wording.short(row["size"]), True),
            Column("To know", lambda row: _plain(row["remarks"]) or "nothing against it", words=True),
        ],
        group="family",
    )


def _next_runs(context: Context, found: Sequence[Optimum]) -> Table:
    columns = ["family", "target", "params", "train_samples", "flops", "left", "lacking"]
    rows = [{"family": one.family, **(vars(one.then) if one.then else {"lacking": _lacking(one)})} for one in found]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[1:-1], float))
    return Table(
        "next-run",
        f"What to run next: for no more compute than the dearest run so far, the one that would tell most about a "
        f"network {optimal.FURTHER:g} times the largest, on all data",
        frame,
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("To know the loss of", lambda row: wording.short(row["target"]), True),
            Column("Run parameters", lambda row: wording.short(row["params"]), True),
            Column("on rows", lambda row: wording.count(row["train_samples"]), True),
            Column("Compute, about", lambda row: wording.flop(row["flops"]), True),
            Column("Leaves of the interval", lambda row: wording.percent(row["left"]), True),
            Column("What is missing", lambda row: row["lacking"] if isinstance(row["lacking"], str) else "nothing",
                   words=True),
        ],
        # Else it would say over again why no route was taken.
        shown=any(one.then for one in found),
    )  # fmt: skip


def _lacking(one: Optimum) -> str:
    """Why nothing can be said of the next run: no law yet."""
    joint = next((route for route in one.routes if route.name == "joint fit"), None)
    return one.reason or (_plain("; ".join(joint.warnings)) if joint and joint.warnings else "") or "no joint law"


def _tenfold(exponent: float) -> str:
    return wording.NOTHING if wording.missing(exponent) else _factor(exponent)


def _interval(row: Row) -> str:
    if wording.missing(row["low"]):
        return wording.NOTHING if wording.missing(row["exponent"]) else "not known"
    return f"{_factor(row['low'])} to {_factor(row['high'])}"


def _method(context: Context) -> Markup:
    return paragraph(
        "Three routes to the same answer, each wrong in its own way. Joint fit: loss = E + A·N<sup>−α</sup> + "
        "B·D<sup>−β</sup> through all points, least squares on the logarithm of the loss, intervals from {} resamples. "
        "Best of each budget: among cells of equal compute, if there are such. Lower envelope: the cells that no "
        "cheaper one beats. Routes agree where their sizes at ten times the largest compute differ less than {} times. "
        "Compute is the measured FLOPs of one finalist; what the search took is not in it.{}",
        optimal.BOOTSTRAP,
        f"{ALIKE:g}",
        own_sizes(context),
    )
