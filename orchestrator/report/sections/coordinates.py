"""What each trial of the search tried: parallel coordinates, one line a trial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from orchestrator.records import DIVERGED
from orchestrator.report import svg, theme, wording
from orchestrator.report.influence import Influence
from orchestrator.report.pieces import Context, Figure

MOST_COORDINATES, MOST_LINES = 7, 150
TOP = 0.25


def by_importance(context: Context, found: Sequence[Influence], family: str | None = None) -> list[str]:
    """The searched hyperparameters, the most important (in any family, or in one) first."""

    def share(name: str) -> float:
        mine = [one for one in found if one.hyperparameter == name and family in (None, one.family)]
        return max((one.share or 0.0 for one in mine), default=-1.0)

    names = [name for name in context.frames.hyperparameters if family is None or share(name) >= 0]
    return sorted(names, key=lambda name: -share(name))


def thinned(trials: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows, evenly spread over the trials."""
    if len(trials) <= most:
        return trials
    return trials.sort_values("trial").iloc[np.linspace(0, len(trials) - 1, most).astype(int)]


def figure(context: Context, trials: pd.DataFrame, found: Sequence[Influence]) -> Figure:
    name = "parallel-coordinates"
    caption = Markup(
        "One line a trial of the search, one axis a hyperparameter (the most important first), at the right its "
        "rank within its cell. Conditional ones are left out. In colour: the best "
        "quarter of each cell. Red and dotted: diverged."
    )
    panels = []
    for family in context.frames.families:
        rows = thinned(trials[trials["family"] == family], MOST_LINES)
        # A conditional hyperparameter would cut most lines in two.
        common = {name for name in context.frames.hyperparameters if rows[f"config.{name}"].notna().mean() > 0.8}
        names = [name for name in by_importance(context, found, family) if name in common][:MOST_COORDINATES]
        if len(rows) > 1 and names:
            with theme.style(f"{name}-{family}"):
                panels.append(_lines(context, family, rows, names))
    lacking = "" if panels else "Too few trials to draw."
    return Figure(
        name,
        "Parallel coordinates of the search by family; the trials table lists the same numbers.",
        caption,
        panels,
        columns=1,
        wide=True,
        lacking=lacking,
    )


def _lines(context: Context, family: str, rows: pd.DataFrame, names: Sequence[str]) -> str:
    width = 170 + max(118, 560 // len(names)) * len(names)
    drawing, axes = theme.panel(width, 250, left=66, right=74, top=52, bottom=16)
    columns = []
    for place, hyperparameter in enumerate(names):
        heights, ticks = along_axis(context, rows[f"config.{hyperparameter}"], hyperparameter)
        columns.append(heights)
        _axis(axes, place, hyperparameter.replace("_", " "), ticks)
    columns.append(rows["rank"].to_numpy(float))
    _axis(axes, len(names), "rank in cell", [(0.0, "worst"), (1.0, "best")])
    heights = np.stack(columns, axis=1)
    wild = (rows["status"] == DIVERGED).to_numpy()
    top = (rows["rank"] >= 1 - TOP).to_numpy() & ~wild
    colour = context.dress.colour(family)
    looks: tuple[tuple[np.ndarray, dict[str, Any]], ...] = (
        (~wild & ~top, {"colors": theme.drawn("muted"), "linewidths": 0.7, "alpha": 0.35}),
        (wild, {"colors": theme.drawn("diverged"), "linewidths": 0.8, "linestyles": ":", "alpha": 0.7}),
        (top, {"colors": colour, "linewidths": 1.3, "alpha": 0.75}),
    )
    for chosen, look in looks:
        lines = [segment for row in heights[chosen] for segment in _runs(row)]
        axes.add_collection(LineCollection(lines, **look))
    axes.set(xlim=(0, len(names)), ylim=(-0.04, 1.04), xticks=[], yticks=[])
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title(family, pad=28, color=colour, fontweight="bold")
    return svg.text_of(drawing)


def _runs(heights: np.ndarray) -> list[np.ndarray]:
    """The drawn stretches of a line [k, 2]: it breaks where a conditional hyperparameter does not apply."""
    known = np.flatnonzero(np.isfinite(heights))
    pieces = np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)
    return [np.stack([piece, heights[piece]], axis=1) for piece in pieces if len(piece) > 1]


def along_axis(
    context: Context, values: pd.Series, hyperparameter: str, middle: bool = False
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights in [0, 1] (NaN where the trial lacks it), and the labelled ticks of the axis, with one at 0.5 or not."""
    known = values.dropna()
    if not context.frames.is_choice(hyperparameter):
        scale = np.log if context.frames.is_log(hyperparameter) and (known.astype(float) > 0).all() else np.asarray
        numbers = pd.to_numeric(values).astype(float)
        low, high = float(numbers.min()), float(numbers.max())
        bottom, span = float(scale(low)), float(scale(high) - scale(low)) or 1.0
        between = math.sqrt(low * high) if scale is np.log else (low + high) / 2
        marks = [(0.0, low), *([(0.5, between)] if middle else []), (1.0, high)]
        return (scale(numbers.to_numpy()) - bottom) / span, [(place, wording.setting(mark)) for place, mark in marks]
    labels = sorted(known.unique(), key=lambda value: (isinstance(value, str), value))
    places = {value: (place / (len(labels) - 1) if len(labels) > 1 else 0.5) for place, value in enumerate(labels)}
    return values.map(places).to_numpy(float), [
        (height, wording.setting(label)[:12]) for label, height in places.items()
    ]


def _axis(axes: Axes, x: float, title: str, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([x, x], [0, 1], color=theme.drawn("grid"), linewidth=1.2, zorder=0, clip_on=False)
    axes.annotate(
        title,
        (x, 1),
        xytext=(0, 14),
        textcoords="offset pixels",
        ha="center",
        color=theme.drawn("ink"),
        fontsize=10.5,
        annotation_clip=False,
    )
    for height, text in ticks:
        axes.annotate(
            text,
            (x, height),
            xytext=(-5, 0),
            textcoords="offset pixels",
            ha="right",
            va="center_baseline",
            color=theme.drawn("muted"),
            fontsize=9.5,
            annotation_clip=False,
        )
