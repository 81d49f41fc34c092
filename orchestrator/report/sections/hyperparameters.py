"""How do the best learning rate and batch size move with the size of the network and with the data?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from orchestrator.records import SAMPLED
from orchestrator.report import influence, svg, theme, tuned, wording
from orchestrator.report.pieces import (
    Column,
    Context,
    Figure,
    Row,
    Section,
    Table,
    families_marked,
    family_mark,
    paragraph,
    trial_link,
)
from orchestrator.report.tuned import Trend

WORDS = {"params": "parameters", "train_samples": "training rows"}


def section(context: Context) -> Section:
    table = tuned.points(context.frames)
    trends = tuned.trends(table, context.frames.families)
    numbers: dict[str, float | int | None] = {
        f"{one.family}.{one.hyperparameter}_power_of_{one.axis}": one.power.value
        for one in trends
        if one.power and one.told
    }
    return Section(
        question="Which learning rate and batch size at which scale?",
        answer=_answer(context, table, trends),
        blocks=[_figure(context, table, trends), _trends(context, trends), _points(context, table), _method()],
        numbers=numbers,
        answered=table.empty,
    )


def _answer(context: Context, table: pd.DataFrame, trends: Sequence[Trend]) -> Markup:
    frames = context.frames
    names = [name for name in tuned.NAMES if name in frames.hyperparameters]
    if not names:
        return Markup("Not known: neither the learning rate nor the batch size was varied.")
    if len(frames.sizes) < 2 and len(frames.fractions) < 2:
        return Markup("Not known: all networks have one size and one amount of data; to see a trend, run several.")
    if table.empty:
        return _too_few(context)
    told = [one for one in trends if one.told]
    text = Markup(" ").join(_said(context, one) for one in told[:4])
    if len(told) > 4:
        text += Markup(" {} more trends are in the table.").format(len(told) - 4)
    questions = [one for one in trends if one.axis in _varied(context)]
    silent = len(questions) - len(told)
    if silent and not told:
        listed = wording.listing([name.replace("_", " ") for name in names], "or")
        text = Markup("Cannot tell whether the best {} rises or falls with scale: what is seen may be chance.").format(
            listed
        )
    elif silent:
        text += Markup(" In {} of {} trends nobody can tell from these trials: the table says why.").format(
            silent, len(questions)
        )
    return text + _edges(context, table)


def _too_few(context: Context) -> Markup:
    """Why no cell has a best value."""
    trials = influence.ranked(context.frames)
    trials = trials[np.isfinite(trials["goodness"]) & (trials["origin"] == SAMPLED)]
    most = int(trials.groupby("cell").size().max()) if len(trials) else 0
    if most < tuned.BEST_OF or "config.optimizer" not in trials:
        return Markup(
            "Not known yet: what is best in a cell is read from its {0} best trials, and no cell has {0} trials that "
            "came to a value."
        ).format(tuned.BEST_OF)
    return Markup(
        "Not known yet: values are compared among trials of one optimizer, for each has rates of its own, and of the "
        "one that won most often no cell has {}. (A cell has up to {}, over {} optimizers.)"
    ).format(tuned.BEST_OF, wording.plural(most, "trial"), trials["config.optimizer"].map(str).nunique())


def _varied(context: Context) -> list[str]:
    amounts = {"params": len(context.frames.sizes), "train_samples": len(context.frames.fractions)}
    return [axis for axis, amount in amounts.items() if amount > 1]


def _said(context: Context, trend: Trend) -> Markup:
    assert trend.tenfold is not None
    factor, low, high = trend.tenfold
    return Markup("For {}, the best {} {} with {}: ten times as many want {} times the value ({} to {}).").format(
        family_mark(context, trend.family),
        trend.hyperparameter.replace("_", " "),
        "falls" if factor < 1 else "rises",
        WORDS[trend.axis],
        wording.number(factor, 2),
        wording.number(low, 2),
        wording.number(high, 2),
    )


def _edges(context: Context, table: pd.DataFrame) -> Markup:
    text = Markup("")
    for name, rows in table[table["at_edge"].astype(bool)].groupby("hyperparameter", sort=False):
        total = int((table["hyperparameter"] == name).sum())
        families = [family for family in context.frames.families if (rows["family"] == family).any()]
        text += Markup(
            " In {} of {} ({}) the best {} lies at the end of what was tried: better may lie beyond."
        ).format(
            len(rows), wording.plural(total, "cell"), families_marked(context, families), str(name).replace("_", " ")
        )
    return text


def _figure(context: Context, table: pd.DataFrame, trends: Sequence[Trend]) -> Figure:
    name = "hyperparameters-against-scale"
    caption = Markup(
        "Each point is a cell: the geometric mean of its {} best trials, the whisker their range. Bold: the largest "
        "data fraction, or the largest size; a thin line joins them. A thick line is a law that the points tell from "
        "chance."
    ).format(tuned.BEST_OF)
    axes_shown = [axis for axis in WORDS if len(table) and table[axis].nunique() > 1]
    if not axes_shown:
        lacking = "There is one scale only." if len(table) else "No cell has trials enough to compare."
        return Figure(name, "Nothing to draw.", caption, lacking=lacking)
    panels = []
    for hyperparameter in dict.fromkeys(table["hyperparameter"]):
        for axis in axes_shown:
            with theme.style(f"{name}-{hyperparameter}-{axis}"):
                mine = [one for one in trends if (one.hyperparameter, one.axis) == (hyperparameter, axis)]
                panels.append(_panel(context, table[table["hyperparameter"] == hyperparameter], axis, mine))
    said = "; ".join(f"{row.cell} {row.hyperparameter} {wording.setting(row.best)}" for row in table.itertuples())
    return Figure(
        name,
        f"Best hyperparameters of each cell against {wording.listing([WORDS[axis] for axis in axes_shown])}, on "
        f"logarithmic axes: {said}.",
        caption,
        panels,
        columns=2,
    )


def _panel(context: Context, table: pd.DataFrame, axis: str, trends: Sequence[Trend]) -> str:
    drawing, axes = theme.panel(right=82, left=52)
    theme.log_axis(axes, "x", table[axis].to_numpy(float))
    span = float(table[axis].max() / table[axis].min())
    theme.log_axis(axes, "y", np.concatenate([table["low"], table["high"]]).astype(float), wording.setting)
    ends = []
    for place, trend in enumerate(trends):
        colour = context.dress.colour(trend.family)
        mine = table[table["family"] == trend.family]
        # Amounts of data are the same for all families: whiskers side by side.
        aside = span ** (0.02 * (place - (len(trends) - 1) / 2)) if axis == "train_samples" else 1.0
        held = "data_fraction" if axis == "params" else "params"
        chosen = mine[mine[held] == mine[held].max()].sort_values(axis)
        _dots(context, axes, (axis, aside), mine[~mine["cell"].isin(chosen["cell"])], 0.3)
        _dots(context, axes, (axis, aside), chosen, 1.0)
        if chosen.empty:
            continue
        axes.plot(chosen[axis] * aside, chosen["best"], color=colour, linewidth=0.9, alpha=0.8)
        if trend.told:
            axes.plot(*_line(trend, chosen), color=colour, linewidth=2.4, alpha=0.9)
        last = chosen.iloc[-1]
        ends.append((float(last[axis]), float(last["best"]), trend.family, colour))
    theme.label_ends(axes, ends)
    above = f"Best {str(table['hyperparameter'].iloc[0]).replace('_', ' ')} against {WORDS[axis]}"
    theme.titles(axes, above, WORDS[axis].capitalize())
    return svg.text_of(drawing)


def _line(trend: Trend, chosen: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The law along its axis, at the other axis's value of the bold points."""
    assert trend.fitted is not None
    along = np.geomspace(chosen[trend.axis].min(), chosen[trend.axis].max(), 20)
    columns = {tuned.AXES[axis]: np.full(20, float(chosen[axis].max())) for axis in tuned.AXES}
    columns[tuned.AXES[trend.axis]] = along
    return along, trend.fitted.value({symbol: columns[symbol] for symbol in trend.fitted.points.columns})


def _dots(context: Context, axes: Axes, along: tuple[str, float], rows: pd.DataFrame, alpha: float) -> None:
    """Points with whiskers along an axis, moved by a factor."""
    if rows.empty:
        return
    family = str(rows["family"].iloc[0])
    colour = context.dress.colour(family)
    x = rows[along[0]] * along[1]
    reach = np.stack([rows["best"] - rows["low"], rows["high"] - rows["best"]]).astype(float)
    axes.errorbar(x, rows["best"], yerr=np.maximum(reach, 0), fmt="none", ecolor=colour, elinewidth=1.1,
                  alpha=alpha * 0.7)  # fmt: skip
    axes.scatter(x, rows["best"], s=26, color=colour, marker=context.dress.marker(family), linewidths=0,
                 alpha=alpha, zorder=3)  # fmt: skip


def _trends(context: Context, trends: Sequence[Trend]) -> Table:
    columns = ["hyperparameter", "family", "axis", "cells", "power", "low", "high", "told", "reason"]
    rows = [
        {"hyperparameter": one.hyperparameter, "family": one.family, "axis": one.axis, "cells": one.cells,
         "power": one.power and one.power.value, "low": one.ends[0], "high": one.ends[1], "told": one.told,
         "reason": one.reason}
        for one in trends
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("power", "low", "high"), float))
    return Table(
        "hyperparameter-trends",
        "When a scale grows ten times: by which factor the best value changes",
        frame,
        [
            Column("Best", lambda row: row["hyperparameter"].replace("_", " ")),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("With", lambda row: WORDS[row["axis"]]),
            Column("Cells", lambda row: row["cells"], True),
            Column("Factor", lambda row: _factor(row["power"]), True),
            Column(f"{100 * tuned.LEVEL:g} % interval", _interval, True),
            Column("What the points say", _verdict, words=True),
        ],
        group="hyperparameter",
        tall=True,
    )


def _factor(power: float | None) -> str:
    return wording.NOTHING if power is None or wording.missing(power) else wording.number(10**power, 2)


def _interval(row: Row) -> str:
    return wording.NOTHING if wording.missing(row["low"]) else f"{_factor(row['low'])} to {_factor(row['high'])}"


def _verdict(row: Row) -> str:
    if wording.missing(row["power"]):
        return f"cannot tell: {row['reason']}" if row["reason"] else "cannot tell"
    if row["told"]:
        return "falls" if row["power"] < 0 else "rises"
    return "cannot tell: it may fall, rise or stay"


def _points(context: Context, table: pd.DataFrame) -> Table:
    optimizers = table["optimizer"].map(bool).any() if len(table) else False
    return Table(
        "best-hyperparameters",
        "The points: what the best trials of each cell had",
        table,
        [
            Column("Best", lambda row: row["hyperparameter"].replace("_", " ")),
            Column("Cell", lambda row: row["cell"]),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Parameters", lambda row: wording.count(row["params"]), True),
            Column("Training rows", lambda row: wording.count(row["train_samples"]), True),
            Column("Value", lambda row: wording.setting(float(row["best"])), True),
            Column("Of the best trials", lambda row: f"{wording.setting(row['low'])} to {wording.setting(row['high'])}",
                   True),
            *([Column("Optimizer", lambda row: row["optimizer"])] if optimizers else []),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("At the end of the range", lambda row: "yes" if row["at_edge"] else "no"),
            Column("Best run", lambda row: trial_link(row["best_trial"])),
        ],
        group="hyperparameter",
        tall=True,
        folded=True,
    )  # fmt: skip


def _method() -> Markup:
    return paragraph(
        "Law: best value = c · parameters<sup>a</sup> · rows<sup>b</sup>, least squares on logarithms, one point a "
        "cell; the factor is ten to the power a (or b). All intervals hold at once with {} % (Bonferroni’s correction: "
        "the more questions, the wider each); they "
        "reckon with the scatter of the cells, in which is the luck of a short search. Where optimizers were searched "
        "too, only trials of the one that won most often count. Trials that smaller cells led to do not; where there "
        "are such, the search went on around them, and the cells are less independent of each other than the interval "
        "takes them for. The value is the peak rate, before any schedule.",
        f"{100 * tuned.LEVEL:g}",
    )
