"""How does the loss fall with parameters, with data, with compute?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from orchestrator.report import ladder, svg, theme, wording
from orchestrator.report.ladder import PowerLaw
from orchestrator.report.pieces import (
    Column,
    Context,
    Figure,
    Row,
    Section,
    Table,
    family_mark,
    paragraph,
    trial_links,
)

WORDS = {"params": "parameters", "train_samples": "training rows", "flops": "training compute"}
TITLES = {"params": "Parameters", "train_samples": "Training rows", "flops": "Training compute, FLOP"}
READ_FROM = {
    "params": "at the largest data fraction",
    "train_samples": "at the largest size",
    "flops": "along the lower envelope",
}


def section(context: Context) -> Section:
    table = ladder.points(context.frames)
    laws = ladder.laws(table, context.frames.families)
    numbers: dict[str, float | int | None] = {
        f"{law.family}.exponent_{law.axis}": law.exponent.value for law in laws if law.exponent
    }
    return Section(
        question="How does the loss scale?",
        answer=_answer(context, table, laws),
        answered=table.empty,
        blocks=[
            _figure(context, table, laws),
            _laws_table(context, laws),
            _points_table(context, table),
            _method(context),
        ],
        numbers=numbers
        | {
            "cells_worse_than_a_smaller_one": sum(
                len(ladder.overtaken(table, family)) for family in context.frames.families
            )
        },
    )


def _answer(context: Context, table: pd.DataFrame, laws: Sequence[PowerLaw]) -> Markup:
    if table.empty and context.frames.finals.empty:
        return Markup("Not known yet: no finalist has been tested, so there is no point to draw.")
    if table.empty:
        return Markup("Cannot tell: no finalist has a test loss above 0, and a power law is of such alone.")
    changes = []
    for family in context.frames.families:
        factor = ladder.improvement(table, family, "params")
        if factor is not None:
            changes.append(Markup("{} {}").format(family_mark(context, family), _change(factor)))
    sized = Markup("")
    if changes:
        listed = Markup(wording.listing([str(change) for change in changes]))
        sized = Markup("From the smallest to the largest size, at the most data, the test loss of {}. ").format(listed)
    if context.frames.metric != "loss":
        sized += Markup("(This is about the loss; cells and finalists were chosen by {}.) ").format(
            wording.metric(context.frames.metric)
        )
    odd = sum(len(ladder.overtaken(table, family)) for family in context.frames.families)
    if odd:
        sized += Markup(
            "In {} of {} a larger network or more data came to a clearly larger loss than less: {}. "
        ).format(odd, wording.plural(len(table), "cell"), _why_odd(context))
    found = [law for law in laws if law.exponent]
    if not found:
        return sized + "The points identify no power law: the table says, family by family, what is missing."
    told = [
        Markup("against {}: {}").format(WORDS[axis], Markup(wording.listing(mine)))
        for axis in ladder.AXES
        if (mine := [_exponent(context, law) for law in found if law.axis == axis])
    ]
    text = sized + Markup("The points identify {} of {} power laws. Exponents {}.").format(
        len(found), len(laws), Markup("; ").join(told)
    )
    return text + _not_done(context)


def _why_odd(context: Context) -> str:
    """What may be behind it; the points do not tell which."""
    metric = context.frames.metric
    reasons = ["the search there was short or unlucky", "it overfits"]
    if metric != "loss":
        smoothed = " (as label smoothing does)" if "label_smoothing" in context.frames.hyperparameters else ""
        reasons.append(f"what was chosen by {wording.metric(metric)} costs loss{smoothed}")
    return f"perhaps {wording.listing(reasons, 'or')}"


def _not_done(context: Context) -> str:
    """That the laws are those of networks which were still learning, where most were."""
    undone, cells = ladder.undone(context.frames)
    if 2 * undone <= cells:
        return ""
    return (
        f" In {undone} of {cells} cells the finalists were still at their best in their last epoch: longer training "
        "would move these points, and the laws with them."
    )


def _exponent(context: Context, law: PowerLaw) -> str:
    assert law.exponent is not None
    low, high = wording.number(law.exponent.low, 2), wording.number(law.exponent.high, 2)
    mark = family_mark(context, law.family)
    return str(Markup("{} {} ({} to {})").format(mark, wording.number(law.exponent.value, 2), low, high))


def _change(factor: float) -> str:
    change = 1 - 1 / factor
    if abs(change) < 0.005:
        return "hardly changes"
    return f"{'falls' if change > 0 else 'rises'} by {wording.percent(abs(change))}"


def _figure(context: Context, table: pd.DataFrame, laws: Sequence[PowerLaw]) -> Figure:
    name = "loss-against-scale"
    caption = Markup(
        "Each point is a cell: its tuned finalists’ mean test loss; the whisker spans one standard deviation "
        "over seeds. Bold points are those from which the law is read (largest data fraction; largest size; lower "
        "envelope: the cells that no cheaper one beats). A thin line joins them; a thick line is a fitted power law."
    )
    drawn = [axis for axis in ladder.AXES if table[axis].nunique() > 1]
    if not drawn:
        return Figure(name, "Nothing to draw.", caption, lacking="Nothing is drawn: there is one point only.")
    if missing := [WORDS[axis] for axis in ladder.AXES if axis not in drawn]:
        caption += f" Against {wording.listing(missing)} nothing is drawn, for all cells with finalists have the same."
    panels = []
    for axis in drawn:
        with theme.style(f"{name}-{axis}"):
            panels.append(_panel(context, table, axis, [law for law in laws if law.axis == axis]))
    described = "; ".join(f"{row.cell} {wording.number(row.loss, 3)}" for row in table.itertuples())
    return Figure(
        name,
        f"Test loss against {wording.listing([WORDS[axis] for axis in drawn])}, on logarithmic axes. "
        f"Mean test loss by cell: {described}.",
        caption,
        panels,
    )


def _panel(context: Context, table: pd.DataFrame, axis: str, laws: Sequence[PowerLaw]) -> str:
    figure, axes = theme.panel(right=82, left=48)
    theme.log_axis(axes, "x", table[axis].to_numpy(float))
    spread = table["loss_sd"].fillna(0.0)
    low = np.maximum(table["loss"] - spread, table["loss"] * 0.5)
    fitted = [law.curve[1] for law in laws if law.curve]
    theme.log_axis(axes, "y", np.concatenate([low, table["loss"] + spread, *fitted]), lambda value: f"{value:.2g}")
    notes: dict[str, str] = {}
    ends = []
    for law in laws:
        colour = context.dress.colour(law.family)
        chosen = ladder.along(table, law.family, axis)
        rest = table[(table["family"] == law.family) & ~table["cell"].isin(chosen["cell"])]
        _points(context, axes, axis, rest, 0.3, notes)
        if chosen.empty:
            continue
        if law.curve:
            axes.plot(*law.curve, color=colour, linewidth=2.4, alpha=0.9)
        else:
            axes.plot(chosen[axis], chosen["loss"], color=colour, linewidth=0.9, alpha=0.8)
        _points(context, axes, axis, chosen, 1.0, notes)
        last = chosen.iloc[-1]
        ends.append((float(last[axis]), float(last["loss"]), law.family, colour))
    theme.label_ends(axes, ends)
    theme.titles(axes, f"Test loss against {WORDS[axis]}", TITLES[axis])
    return svg.text_of(figure, notes)


def _points(context: Context, axes: Axes, axis: str, rows: pd.DataFrame, alpha: float, notes: dict[str, str]) -> None:
    if rows.empty:
        return
    family = str(rows["family"].iloc[0])
    colour = context.dress.colour(family)
    axes.errorbar(
        rows[axis],
        rows["loss"],
        yerr=rows["loss_sd"].fillna(0.0),
        fmt="none",
        ecolor=colour,
        elinewidth=1.1,
        alpha=alpha * 0.8,
    )
    dots = axes.scatter(
        rows[axis],
        rows["loss"],
        s=26,
        color=colour,
        marker=context.dress.marker(family),
        linewidths=0,
        alpha=alpha,
        zorder=3,
    )
    addresses = [f"#trial-{trials[0]}" for trials in rows["trials"]]
    dots.set_urls(addresses)
    notes.update(
        {
            address: f"{row.cell}: {wording.number(row.loss)} ({wording.plural(row.seeds, 'seed')})"
            for address, row in zip(addresses, rows.itertuples(), strict=True)
        }
    )


def _laws_table(context: Context, laws: Sequence[PowerLaw]) -> Table:
    frame = pd.DataFrame(
        [
            {
                "family": law.family,
                "axis": law.axis,
                "points": law.points,
                "exponent": law.exponent and law.exponent.value,
                "low": law.exponent and law.exponent.low,
                "high": law.exponent and law.exponent.high,
                "scale": law.scale and law.scale.value,
                "floor": law.floor and law.floor.value,
                "reason": law.reason,
            }
            for law in laws
        ]
    )
    frame = frame.astype(dict.fromkeys(("exponent", "low", "high", "scale", "floor"), float))
    return Table(
        "power-laws",
        "Power laws, where the points identify one",
        frame,
        [
            Column("Against", lambda row: WORDS[row["axis"]].capitalize()),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Points", lambda row: row["points"], True),
            Column("Exponent α", lambda row: wording.number(row["exponent"], 3), True),
            Column(
                "90 % interval",
                lambda row: (
                    f"{wording.number(row['low'], 3)} to {wording.number(row['high'], 3)}"
                    if not wording.missing(row["exponent"])
                    else wording.NOTHING
                ),
                True,
            ),
            Column("What the points say", _said, words=True),
        ],
        group="axis",
    )


def _said(row: Row) -> str:
    if wording.missing(row["exponent"]):
        return f"not identified: {row['reason']}"
    where = READ_FROM[row["axis"]]
    if wording.missing(row["floor"]):
        return f"read {where}; a slope within this range, no floor seen"
    return f"read {where}; floor {wording.number(row['floor'], 3)}"


def _points_table(context: Context, table: pd.DataFrame) -> Table:
    frame = table.assign(trials=table["trials"].map(" ".join)) if len(table) else table
    return Table(
        "scaling",
        "The points: mean test loss of each cell’s finalists",
        frame,
        [
            Column("Cell", lambda row: row["cell"]),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Parameters", lambda row: wording.count(row["params"]), True),
            Column("Training rows", lambda row: wording.count(row["train_samples"]), True),
            Column("Compute", lambda row: wording.flop(row["flops"]), True),
            Column("Test loss", lambda row: wording.number(row["loss"]), True),
            Column("± sd", lambda row: wording.number(row["loss_sd"], 2), True),
            Column("Runs", lambda row: trial_links(row["trials"].split())),
        ],
        group="family",
        tall=True,
        folded=True,
    )


def own_sizes(context: Context) -> str:
    """That networks which were found are larger or smaller than their size says, where they are."""
    least, most = ladder.own_sizes(context.frames)
    if least >= 0.9 and most <= 1.1:
        return ""
    return (
        f" Parameters are those of a size with its family’s defaults; the networks that were found have "
        f"{wording.number(least, 2)} to {wording.number(most, 2)} times as many."
    )


def _method(context: Context) -> Markup:
    return paragraph(
        "Law: loss = E + A·x<sup>−α</sup> where there are {} points or more and they show a floor E (the loss that is "
        "left however large x gets), else "
        "loss = A·x<sup>−α</sup> with {} or more; least squares on the logarithm of the loss, one point a cell. "
        "The interval is that of the points around the law: it does not say that the law goes on beyond them. "
        "Intervals of laws hold in 90 % of cases, each by itself; those between families all at once, at the "
        "confidence that is said there. Along compute the points are chosen for their low losses, so that an interval "
        "holds less often the weaker the law (simulated, nine cells, losses known to a tenth: in 85 % with an exponent "
        "of 0.15, in 65 % of those told with 0.05); none is told where the losses of all cells fall with compute no "
        "more than by chance.{}",
        ladder.FEWEST_FOR_FLOOR,
        ladder.FEWEST,
        own_sizes(context),
    )
