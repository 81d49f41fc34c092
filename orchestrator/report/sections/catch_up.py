"""How much more compute does one family need for the loss of another?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from orchestrator.report import catch_up, ladder, svg, theme, wording
from orchestrator.report.catch_up import Gain
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

NAME = "compute-to-catch-up"
MOST_SAID = 3
ROW = 34


def section(context: Context) -> Section:
    families = context.frames.families
    table = ladder.points(context.frames)
    found = catch_up.gains(
        catch_up.laws(table, families), catch_up.ends_of(table, families), context.options.confidence
    )
    ranking = catch_up.ranking(table, families)
    numbers: dict[str, float | int | None] = {
        f"{one.behind}.times_the_compute_of_{one.ahead}": one.times for one in found if one.times is not None
    }
    drawn = _figure(context, found)
    return Section(
        question="How much more compute does one family need for the loss of another?",
        answer=_answer(context, found, ranking),
        blocks=[
            replace(drawn, shown=bool(drawn.panels)),
            replace(_gains(context, found), shown=bool(drawn.panels)),
            _ranking(context, ranking),
            *([_method(context)] if drawn.panels else []),
        ],
        numbers=numbers,
        answered=len(ranking) < 2,
    )


def _answer(context: Context, found: Sequence[Gain], ranking: pd.DataFrame) -> Markup:
    if len(ranking) < 2:
        return Markup("Not known: losses of two tested families or more are needed to compare.")
    known = _against_the_first(found)
    if not known:
        return Markup("Cannot tell: no two families have points enough for a law of loss against compute. {}{}").format(
            _measured(context, ranking), _by_loss(context)
        )
    text = Markup(" ").join(_said(context, one) for one in known[:MOST_SAID])
    if len(known) > MOST_SAID:
        text += Markup(" {} more are in the table.").format(len(known) - MOST_SAID)
    silent = dict.fromkeys(one.reason.partition(":")[0] for one in found if one.reason.startswith("no law"))
    if silent:
        text += Markup(" There is {}: the table says why.").format(wording.listing(list(silent)))
    return text + _by_loss(context)


def _measured(context: Context, ranking: pd.DataFrame) -> Markup:
    """Who is ahead with no law, within the compute that all spent."""
    rows = ranking.dropna(subset=["loss_within"]).sort_values("loss_within")
    if len(rows) < 2:
        return Markup("Nor were two families measured at the same compute.")
    first, *others = (family_mark(context, family) for family in rows["family"])
    text = Markup("As measured, with the same compute at most, {} has the smallest loss, then {}").format(
        first, Markup(wording.listing([str(one) for one in others]))
    )
    if late := ranking.loc[ranking["loss_within"].isna(), "family"].tolist():
        text += Markup("; no cell of {} was that cheap").format(families_marked(context, late, "or"))
    return text + Markup(".")


def _by_loss(context: Context) -> str:
    metric = context.frames.metric
    return "" if metric == "loss" else f" This is about the loss, not about {wording.metric(metric)}."


def _against_the_first(found: Sequence[Gain]) -> list[Gain]:
    """The pairs of the family that is ahead of most others, those that are told first."""
    known = [one for one in found if one.times is not None]
    ahead = [one.ahead for one in known]
    first = max(dict.fromkeys(ahead), key=ahead.count, default="")
    return sorted((one for one in known if one.ahead == first), key=lambda one: not one.told)


def _said(context: Context, one: Gain) -> Markup:
    behind, ahead, at = family_mark(context, one.behind), family_mark(context, one.ahead), wording.flop(one.cost)
    if not one.told:
        return Markup(
            "Cannot tell whether {} needs more compute than {} for the loss of the latter at {}: {} times as much, but "
            "anything from {} is possible."
        ).format(behind, ahead, at, _times(one.times, one.limit), _interval(one))
    return Markup("For the loss that {} has at {}, {} needs {} times the compute ({}).").format(
        ahead, at, behind, _times(one.times, one.limit), _interval(one)
    )


def _times(value: float | None, limit: float | None) -> str:
    if value is None or limit is None or wording.missing(value):
        return wording.NOTHING
    return f"over {wording.number(limit, 2)}" if np.isinf(value) else wording.number(value, 2)


def _interval(one: Gain) -> str:
    """The interval in words; further than `limit` the laws are not read."""
    if one.low is not None and np.isinf(one.low):
        return "all of the interval lies beyond what can be read"
    return f"{_times(one.low, one.limit)} to {_times(one.high, one.limit)}"


def _figure(context: Context, found: Sequence[Gain]) -> Figure:
    known = _against_the_first(found)
    caption = Markup(
        "How many times the compute a family needs for the loss of the one that is ahead: dot and interval. At the "
        "line both need the same. An arrow leads beyond {} times what the family ran, where its law is not read."
    ).format(f"{catch_up.REACH:g}")
    if not known:
        return Figure(NAME, "Nothing to draw.", caption, lacking="No two families have a law of loss against compute.")
    with theme.style(NAME):
        drawing, axes = theme.panel(height=76 + ROW * len(known), left=12, right=20)
        _draw(context, axes, known)
        theme.titles(axes, f"Compute for the loss of {known[0].ahead}", "Times its compute")
        panel = svg.text_of(drawing)
    said = "; ".join(f"{one.behind} {_times(one.times, one.limit)} times ({_interval(one)})" for one in known)
    return Figure(NAME, f"Compute that is needed for the loss of {known[0].ahead}: {said}.", caption, [panel])


def _draw(context: Context, axes: Axes, known: Sequence[Gain]) -> None:
    ends = [min(end, one.limit or end) for one in known for end in (one.low, one.times, one.high) if end]
    theme.log_axis(axes, "x", [1.0, 2.0, *ends], wording.setting)
    left, right = axes.get_xlim()
    axes.axvline(1, color=theme.drawn("muted"), linewidth=1)
    for place, one in enumerate(known):
        colour = context.dress.colour(one.behind)
        low, high = min(max(one.low or left, left), one.limit or right), min(one.high or right, right)
        axes.plot([low, high], [-place, -place], color=colour, linewidth=2.2, clip_on=False)
        if high == right:
            axes.scatter([right], [-place], s=34, color=colour, marker=">", clip_on=False, linewidths=0)
        if one.times and np.isfinite(one.times):
            axes.scatter([one.times], [-place], s=34, color=colour, marker=context.dress.marker(one.behind), zorder=3)
        axes.annotate(one.behind, (low, -place), xytext=(0, 7), textcoords="offset pixels", color=colour, fontsize=10.5)
    axes.set(ylim=(0.4 - len(known), 0.9), yticks=[])


def _gains(context: Context, found: Sequence[Gain]) -> Table:
    columns = ["ahead", "behind", "cost", "times", "low", "high", "limit", "changes", "crossing", "reason"]
    frame = pd.DataFrame([{name: getattr(one, name) for name in columns} for one in found], columns=columns)
    frame = frame.astype(dict.fromkeys(columns[2:-1], float))
    return Table(
        NAME,
        "Every pair of families: how many times the compute the second needs for the loss of the first",
        frame,
        [
            Column("Loss of", lambda row: family_mark(context, row["ahead"])),
            Column("Reached by", lambda row: family_mark(context, row["behind"])),
            Column("At its", lambda row: wording.flop(row["cost"]), True),
            Column("Times", lambda row: _times(row["times"], row["limit"]), True),
            Column(f"{100 * context.options.confidence:g} % interval", _row_interval, True),
            Column("Order may change", lambda row: wording.percent(row["changes"]), True),
            Column("The laws cross at", _crossing, True),
            Column("What the points say", _verdict, words=True),
        ],
        group="ahead",
        tall=True,
    )


def _row_interval(row: Row) -> str:
    low, high = (_times(row[end], row["limit"]) for end in ("low", "high"))
    return low if low in (wording.NOTHING, high) else f"{low} to {high}"


def _crossing(row: Row) -> str:
    if wording.missing(row["changes"]):
        return wording.NOTHING
    return "not there" if wording.missing(row["crossing"]) else wording.flop(row["crossing"])


def _verdict(row: Row) -> str:
    if wording.missing(row["low"]):
        return str(row["reason"])
    return "needs more" if row["low"] > 1 else "cannot tell"


def _ranking(context: Context, ranking: pd.DataFrame) -> Table:
    def run(row: Row, suffix: str) -> Markup | str:
        trial = row[f"trial{suffix}"]
        return trial_link(trial, row[f"cell{suffix}"]) if isinstance(trial, str) else "none"

    return Table(
        "plain-ranking",
        "As measured, with no law: at the largest size that all share, and within the compute that all spent",
        ranking,
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("At the same size", lambda row: run(row, "")),
            Column("Test loss", lambda row: wording.number(row["loss"]), True),
            Column("Compute", lambda row: wording.flop(row["flops"]), True),
            Column("Within common compute", lambda row: run(row, "_within")),
            Column("Test loss", lambda row: wording.number(row["loss_within"]), True),
            Column("Compute", lambda row: wording.flop(row["flops_within"]), True),
        ],
    )


def _method(context: Context) -> Markup:
    return paragraph(
        "From the laws of loss against training compute of the scaling section, one point a cell on the lower envelope "
        "of each family (the cells that no cheaper one beats, a choice that the intervals do not reckon with); "
        "Student’s intervals, {} draws of each law, all pairs at once with {} % (Bonferroni’s correction: the more "
        "pairs, the wider each). That the order may change is the share of draws in which the two curves cross, within "
        "what both ran and {} times beyond. Compute is that of training one finalist: what the search took is not in "
        "it. A size is a word of the ladder; families of one size differ in parameters and compute.",
        f"{catch_up.REPEATS:,}",
        f"{100 * context.options.confidence:g}",
        f"{catch_up.REACH:g}",
    )
