"""What did the search try, and what mattered? Importance, slices, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from orchestrator.records import DIVERGED, PRUNED
from orchestrator.report import influence, svg, theme, wording
from orchestrator.report.influence import Influence
from orchestrator.report.pieces import Column, Context, Figure, Section, Table, families_marked, family_mark, paragraph
from orchestrator.report.sections import coordinates

MOST_BARS, MOST_SLICES, MOST_POINTS = 8, 9, 400


def section(context: Context) -> Section:
    found = influence.influences(context.frames)
    trials = influence.ranked(context.frames)
    return Section(
        question="What did the search try, and what mattered?",
        answer=_answer(context, found),
        blocks=[
            _importance_figure(context, found),
            _importance_table(found, context),
            _method(),
            _slices(context, trials, found),
            coordinates.figure(context, trials, found),
        ],
    )


def _answer(context: Context, found: Sequence[Influence]) -> Markup:
    judged = [
        family
        for family in context.frames.families
        if any(one.family == family and one.share is not None for one in found)
    ]
    if not judged:
        return Markup("Too few trials to say what mattered: each family needs {} or more in the search.").format(
            influence.FEWEST_TRIALS
        )
    winners: dict[str, list[str]] = {}
    for family in judged:
        first = next((one for one in found if one.family == family and one.stands_out), None)
        winners.setdefault(first.hyperparameter if first else "", []).append(family)
    parts = [
        Markup("the {} for {}").format(name.replace("_", " "), families_marked(context, families))
        for name, families in winners.items()
        if name
    ]
    text = (
        Markup("What mattered most was {}.").format(Markup(wording.listing([str(part) for part in parts])))
        if parts
        else Markup("")
    )
    if winners.get(""):
        text += Markup(" For {} no hyperparameter stands out from chance.").format(
            families_marked(context, winners[""])
        )
    missing = [family for family in context.frames.families if family not in judged]
    if missing:
        text += Markup(" Too few trials to say for {}.").format(families_marked(context, missing))
    return text


def _importance_figure(context: Context, found: Sequence[Influence]) -> Figure:
    name = "importance"
    caption = Markup(
        "Share of the differences between trials of a cell that one hyperparameter alone explains. "
        "Filled: more than chance would; hollow: not told apart from chance."
    )
    panels, said = [], []
    for family in context.frames.families:
        mine = [one for one in found if one.family == family and one.share is not None][:MOST_BARS]
        if mine:
            with theme.style(f"{name}-{family}"):
                panels.append(_bars(context, family, mine))
            said.append(
                f"{family}: " + ", ".join(f"{one.hyperparameter} {wording.percent(one.share)}" for one in mine[:3])
            )
    lacking = "" if panels else f"Too few trials: each family needs {influence.FEWEST_TRIALS} or more in the search."
    return Figure(name, f"Bars of importance. {'; '.join(said)}.", caption, panels, lacking=lacking)


def _bars(context: Context, family: str, mine: Sequence[Influence]) -> str:
    figure, axes = theme.panel(height=62 + 24 * len(mine), left=112, right=40, top=30, bottom=30)
    colour = context.dress.colour(family)
    for place, one in enumerate(mine):
        share = one.share or 0.0
        axes.barh(-place, share, height=0.6, color=colour if one.stands_out else "none", edgecolor=colour, linewidth=1)
        axes.annotate(
            wording.percent(share),
            (share, -place),
            xytext=(5, 0),
            textcoords="offset pixels",
            va="center_baseline",
            color=theme.drawn("muted"),
            fontsize=10,
        )
        axes.annotate(
            one.hyperparameter.replace("_", " "),
            (0, -place),
            xytext=(-7, 0),
            textcoords="offset pixels",
            va="center_baseline",
            ha="right",
            color=theme.drawn("ink"),
            fontsize=10.5,
        )
    axes.set(yticks=[], xlim=(0, 1), ylim=(-len(mine) + 0.45, 0.55))
    axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    theme.titles(axes, family, colour=colour)
    return svg.text_of(figure)


def _importance_table(found: Sequence[Influence], context: Context) -> Table:
    frame = pd.DataFrame(
        [
            {
                "family": one.family,
                "hyperparameter": one.hyperparameter,
                "trials": one.trials,
                "share": one.share,
                "p": one.p,
            }
            for one in found
        ],
        columns=["family", "hyperparameter", "trials", "share", "p"],
    )
    frame = frame.astype({"share": float, "p": float})
    return Table(
        "importance",
        "Importance of each hyperparameter, alone",
        frame,
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Hyperparameter", lambda row: row["hyperparameter"].replace("_", " ")),
            Column("Trials", lambda row: row["trials"], True),
            Column(
                "Explains",
                lambda row: wording.percent(row["share"]) if not wording.missing(row["share"]) else "too few trials",
                True,
            ),
            Column("Chance does as well", lambda row: _chance(row["p"]), True),
        ],
        group="family",
        tall=True,
        folded=True,
    )


def _chance(p: float) -> str:
    if wording.missing(p):
        return wording.NOTHING
    return "always" if p >= 1 else f"{100 * p:.2g} % of the time"


def _method() -> Markup:
    return paragraph(
        "Method: trials are ranked within their cell, diverged ones last; a hyperparameter’s values form groups "
        "(numbers: {} of equal count), and the share is epsilon squared of a one-way analysis of variance of the "
        "ranks, corrected for chance. A permutation test, corrected for the number of hyperparameters, tells what "
        "stands out. Early-stopped trials count with the best value they reached; joint effects are not seen; under "
        "{} trials nothing is said.",
        influence.GROUPS,
        influence.FEWEST_TRIALS,
    )


def _slices(context: Context, trials: pd.DataFrame, found: Sequence[Influence]) -> Figure:
    name = "slices"
    caption = Markup(
        "Every trial of the search by one hyperparameter at a time. Small and pale: stopped early. "
        "The crosses at the edge diverged. Each family keeps its colour."
    )
    column = "value"
    finite = trials[np.isfinite(trials[column]) & (trials["status"] != DIVERGED)]
    if finite.empty:
        return Figure(name, "Nothing to draw.", caption, lacking="No trial of the search has a value.")
    limits = float(finite[column].quantile(0.04)), float(finite[column].quantile(1.0))
    if context.frames.direction == "min":
        limits = float(finite[column].quantile(0.0)), float(finite[column].quantile(0.96))
    air = max((limits[1] - limits[0]) * 0.08, 1e-6)
    shown = coordinates.thinned(trials, MOST_POINTS)
    panels = []
    names = coordinates.by_importance(context, found)[:MOST_SLICES]
    for hyperparameter in names:
        with theme.style(f"{name}-{hyperparameter}"):
            panels.append(_slice(context, shown, hyperparameter, (limits[0] - air, limits[1] + air)))
    return Figure(
        name,
        f"Scatter plots of validation {context.frames.metric} against {', '.join(names)}, one dot a trial; "
        "the trials table lists the same numbers.",
        caption,
        panels,
    )


def _slice(context: Context, trials: pd.DataFrame, hyperparameter: str, limits: tuple[float, float]) -> str:
    figure, axes = theme.panel(height=220, right=16, left=48)
    rows = trials[trials[f"config.{hyperparameter}"].notna()].copy()
    positions, ticks = _positions(context, rows, hyperparameter)
    wild = (rows["status"] == DIVERGED).to_numpy()
    worst = limits[0] if context.frames.direction == "max" else limits[1]
    rows = rows.assign(_x=positions, _y=np.where(wild, worst, rows["value"].clip(*limits)))
    calm = rows[~wild]
    palette = {family: context.dress.colour(family) for family in context.frames.families}
    markers = {family: context.dress.marker(family) for family in context.frames.families}
    stopped = (calm["status"] == PRUNED).to_numpy()
    for part, size, alpha in ((calm[~stopped], 20, 0.75), (calm[stopped], 9, 0.4)):
        for family, mine in part.groupby("family", sort=False):
            axes.scatter(
                mine["_x"], mine["_y"], s=size, marker=markers[family], color=palette[family], alpha=alpha, linewidths=0
            )
    axes.scatter(
        rows["_x"][wild],
        rows["_y"][wild],
        marker="x",
        s=22,
        color=[palette[name] for name in rows["family"][wild]],
        linewidths=1.1,
        clip_on=False,
    )
    if ticks is None:
        if context.frames.is_log(hyperparameter):
            theme.log_axis(axes, "x", rows["_x"].to_numpy(float), wording.setting)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
    else:
        axes.set_xlim(-0.5, len(ticks) - 0.5)
        axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylim(*limits)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set(xlabel="", ylabel="")
    theme.titles(axes, f"{hyperparameter.replace('_', ' ')}: validation {context.frames.metric}")
    return svg.text_of(figure)


def _positions(context: Context, rows: pd.DataFrame, hyperparameter: str) -> tuple[np.ndarray, list[str] | None]:
    """Where each trial lies along the axis; for choices also the labels, trials spread a little around each."""
    values = rows[f"config.{hyperparameter}"]
    if not context.frames.is_choice(hyperparameter):
        return values.astype(float).to_numpy(), None
    labels = sorted(values.unique(), key=lambda value: (isinstance(value, str), value))
    places = values.map({value: place for place, value in enumerate(labels)}).to_numpy(float)
    family = rows["family"].map({name: place for place, name in enumerate(context.frames.families)}).to_numpy(float)
    # Families side by side, then an even, repeatable spread: not a random jitter that would change from build to build.
    spread = ((np.arange(len(rows)) * 0.618034) % 1 - 0.5) * 0.5 / len(context.frames.families)
    return places + (family - (len(context.frames.families) - 1) / 2) * 0.7 / len(context.frames.families) + spread, [
        wording.setting(label)[:10] for label in labels
    ]
