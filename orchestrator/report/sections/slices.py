"""Slices: the validation metric of every trial of the search against one hyperparameter at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from orchestrator.records import DIVERGED, PRUNED
from orchestrator.report import svg, theme, wording
from orchestrator.report.influence import Influence
from orchestrator.report.pieces import Context, Figure
from orchestrator.report.sections import coordinates

MOST_SLICES, MOST_POINTS = 9, 400


def figure(context: Context, trials: pd.DataFrame, found: Sequence[Influence]) -> Figure:
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
    names = [name for name in coordinates.by_importance(context, found) if shown[f"config.{name}"].notna().any()][
        :MOST_SLICES
    ]
    for hyperparameter in names:
        with theme.style(f"{name}-{hyperparameter}"):
            panels.append(_slice(context, shown, hyperparameter, (limits[0] - air, limits[1] + air)))
    return Figure(
        name,
        f"Scatter plots of validation {wording.metric(context.frames.metric)} against {', '.join(names)}, "
        "one dot a trial; the trials table lists the same numbers.",
        caption,
        panels,
    )


def _slice(context: Context, trials: pd.DataFrame, hyperparameter: str, limits: tuple[float, float]) -> str:
    drawing, axes = theme.panel(height=220, right=16, left=48)
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
        if context.frames.is_log(hyperparameter) and (rows["_x"] > 0).all():
            theme.log_axis(axes, "x", rows["_x"].to_numpy(float), wording.setting)
        else:
            whole = bool((rows["_x"] % 1 == 0).all())
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole))
    else:
        axes.set_xlim(-0.5, len(ticks) - 0.5)
        axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylim(*limits)
    theme.linear_axis(axes, "y", ticks=4)
    axes.set(xlabel="", ylabel="")
    theme.titles(axes, f"{hyperparameter.replace('_', ' ')}: validation {wording.metric(context.frames.metric)}")
    return svg.text_of(drawing)


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
