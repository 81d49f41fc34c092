"""Colours and the look of every panel. A panel is drawn at 1 unit = 1 CSS pixel, narrow enough for a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from orchestrator.report import wording

WIDTH, HEIGHT = 360, 270
LETTER = 6.6  # pixels of a tick label's letters, about
MARKERS = "osD^vPXd"


@dataclass(frozen=True)
class Colour:
    """`drawn` is what Matplotlib is told, a stand-in that the page replaces by the variable `--name`."""

    name: str
    drawn: str
    light: str
    dark: str


def _palette() -> dict[str, Colour]:
    roles = (
        ("ink", "#1f2328", "#e8e6e1"),
        ("muted", "#6b7077", "#a3a6ab"),
        ("grid", "#e4e2dd", "#33363b"),
        ("paper", "#ffffff", "#1b1d21"),
        ("complete", "#3f7d5c", "#6fbf95"),
        ("pruned", "#b9b4a8", "#6f6d68"),
        ("diverged", "#b3261e", "#f2867e"),
        ("failed", "#7a4b9a", "#c79be3"),
        ("running", "#8aa9c4", "#51718c"),
    )
    # After M. Okabe and K. Ito's colour-blind-safe set, darkened (light page) and lightened (dark page) for contrast.
    hues = (
        ("#0068a8", "#5fb7f2"),
        ("#bb4913", "#f2925f"),
        ("#00805e", "#45c8a1"),
        ("#9c4f96", "#dc9bd5"),
        ("#8c6707", "#e3bb4a"),
        ("#46525e", "#c3cbd3"),
        ("#1d7a93", "#8fdcec"),
        ("#84603c", "#c9a985"),
    )
    families = [(f"family-{place}", *pair) for place, pair in enumerate(hues)]
    return {
        name: Colour(name, f"#0a0b{place:02x}", light, dark)
        for place, (name, light, dark) in enumerate([*roles, *families])
    }


PALETTE: Mapping[str, Colour] = _palette()
FAMILY_COLOURS = sum(name.startswith("family-") for name in PALETTE)


def drawn(name: str) -> str:
    return PALETTE[name].drawn


# A family has its place here on every page, whatever else is on it; one that is not named takes the first that is free.
# The table of models can't be asked: but for what generators make, a report needs no torch.
USUAL_ORDER = (
    *("perceptron", "mlp", "lenet", "alexnet", "vgg", "resnet", "inception", "efficientnet", "vit", "unet", "gnn"),
    *("rnn", "lstm", "gru", "gpt", "seq2seq", "transformer", "bert", "vae", "gan", "diffusion"),
)


class Dress:
    """One colour and one marker a family, the same in every figure; colours repeat after eight, markers differ.

    The same on every page, too, unless two families of a page would share a colour: then the later one moves on.
    """

    def __init__(self, families: Sequence[str]) -> None:
        self._places: dict[str, int] = {}
        usual = {family: place for place, family in enumerate(USUAL_ORDER)}
        for family in sorted(families, key=lambda name: usual.get(name, len(usual))):
            wanted = usual.get(family, 0) % FAMILY_COLOURS
            turns = [(wanted + step) % FAMILY_COLOURS for step in range(FAMILY_COLOURS)]
            beyond = range(FAMILY_COLOURS, FAMILY_COLOURS + len(families))
            taken = self._places.values()
            self._places[family] = next(place for place in (*turns, *beyond) if place not in taken)

    def variable(self, family: str) -> str:
        return f"family-{self._places[family] % FAMILY_COLOURS}"

    def colour(self, family: str) -> str:
        return drawn(self.variable(family))

    def marker(self, family: str) -> str:
        place = self._places[family]
        return MARKERS[(place + place // FAMILY_COLOURS) % len(MARKERS)]


def style(name: str) -> AbstractContextManager[Any]:
    """Matplotlib's settings for drawing figure `name`, whose ids in the SVG then depend on nothing but the name."""
    ink, muted, grid = drawn("ink"), drawn("muted"), drawn("grid")
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "font.family": "sans-serif",
            "font.size": 11,
            "text.color": ink,
            "axes.edgecolor": muted,
            "axes.labelcolor": muted,
            "axes.linewidth": 0.8,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": grid,
            "grid.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "xtick.color": muted,
            "ytick.color": muted,
            "xtick.labelsize": 10.5,
            "ytick.labelsize": 10.5,
            "xtick.major.size": 3,
            "ytick.major.size": 0,
            "axes.titlesize": 11.5,
            "axes.titlelocation": "left",
            "axes.unicode_minus": True,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "lines.solid_capstyle": "round",
            "lines.linewidth": 1.8,
        }
    )


def panel(
    width: int = WIDTH, height: int = HEIGHT, left: int = 46, right: int = 14, top: int = 34, bottom: int = 42
) -> tuple[Figure, Axes]:
    """An empty panel with margins in pixels, so that plots side by side line up."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))
    return figure, axes


def titles(axes: Axes, above: str, below: str = "", colour: str = "") -> None:
    """What the vertical axis shows, written above it and not turned, and what the horizontal one shows, below."""
    axes.set_title(above, pad=12, x=0.0, color=colour or drawn("ink"))
    axes.set_xlabel(below, loc="left", labelpad=6)


def linear_axis(axes: Axes, which: str, ticks: int = 5) -> None:
    """An axis of few, round ticks, with the digits that tell each from its neighbours."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def log_axis(
    axes: Axes, which: str, values: Sequence[float] | np.ndarray, say: Callable[[float], str] = wording.tick
) -> None:
    """A logarithmic axis with a little air and few, readable ticks."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = float(np.min(values)), float(np.max(values))
    air = max((high / low) ** 0.06, 1.06)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low / air, high * air)
    ticks = _log_ticks(low / air, high * air)
    axis.set_major_locator(FixedLocator(_with_room(ticks, high * air / (low / air), say) if which == "x" else ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: say(value)))


def side_by_side(ticks: Sequence[float], say: Callable[[float], str]) -> list[float]:
    """As many of the ticks as have room for their labels along a panel: all, every second, every third, …"""
    for step in range(1, len(ticks) + 1):
        some = ticks[::step]
        if sum(len(say(tick)) + 2 for tick in some) <= WIDTH / LETTER:
            break
    return list(some)


def _with_room(ticks: Sequence[float], ratio: float, say: Callable[[float], str]) -> list[float]:
    """Those of a logarithmic axis, whose ends have this ratio, that do not touch the label of the one before."""
    some: list[float] = []
    pixels = (WIDTH - 120) / math.log(ratio)
    for tick in ticks:
        half = len(say(some[-1])) / 2 + 1 + len(say(tick)) / 2 if some else 0
        if not some or math.log(tick / some[-1]) * pixels >= half * LETTER:
            some.append(tick)
    return some


def _log_ticks(low: float, high: float) -> list[float]:
    """Between three and six ticks: whole decades where there are enough, else also 2 and 5 (or finer) of each."""
    for subs in (
        (1.0,),
        (1.0, 3.0),
        (1.0, 2.0, 5.0),
        tuple(map(float, np.arange(1, 10))),
        tuple(map(float, np.arange(1, 10, 0.5))),
        tuple(map(float, np.arange(1, 10, 0.1))),
    ):
        ticks = [tick for tick in LogLocator(subs=subs, numticks=200).tick_values(low, high) if low <= tick <= high]
        if len(ticks) >= 3:
            break
    return list(ticks[:: max(1, round(len(ticks) / 5))])


def apart(positions: Sequence[float], gap: float) -> list[float]:
    """Positions moved as little as is needed to lie `gap` apart, their order kept: for labels at the ends of lines."""
    order = np.argsort(positions, kind="stable")
    blocks: list[list[float]] = []  # [sum of wishes less their offsets, members]
    for place in order:
        blocks.append([float(positions[place]), 1])
        while len(blocks) > 1:
            (sum_a, n_a), (sum_b, n_b) = blocks[-2:]
            if sum_b / n_b - sum_a / n_a >= gap * (n_a + n_b) / 2:
                break
            blocks[-2:] = [[sum_a + sum_b, n_a + n_b]]
    moved = [0.0] * len(order)
    done = 0
    for total, members in blocks:
        for offset in range(int(members)):
            moved[order[done]] = total / members + (offset - (members - 1) / 2) * gap
            done += 1
    return moved


def mark_leaving(axes: Axes, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, colour: str) -> None:
    """A small arrow wherever a line leaves the axes at the top or at the bottom, whose limits are set by now."""
    points = axes.transData.transform(np.column_stack([x, y]).astype(float))
    for edge, marker in ((axes.bbox.y0, "v"), (axes.bbox.y1, "^")):
        height = points[:, 1] - edge
        for place in np.flatnonzero(height[:-1] * height[1:] < 0):
            share = height[place] / (height[place] - height[place + 1])
            across = points[place, 0] + share * (points[place + 1, 0] - points[place, 0])
            there = axes.transData.inverted().transform((across, edge))
            axes.plot(*there, marker=marker, markersize=6, color=colour, markeredgewidth=0, clip_on=False)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], size: float = 10.5) -> None:
    """Write (x, y, text, colour) to the right of the axes at the height of each y, moved apart where they collide."""
    if not ends:
        return
    to_pixels = axes.transData.transform([(x, y) for x, y, *_ in ends])[:, 1]
    bottom, top = axes.bbox.y0, axes.bbox.y1
    wanted = [min(max(float(y), bottom), top) for y in to_pixels]
    places = apart(wanted, size + 2)
    # The whole stack stays beside the axes.
    shift = min(0.0, top + 4 - max(places)) or max(0.0, bottom - min(places))
    for (_, _, text, colour), y in zip(ends, [place + shift for place in places], strict=True):
        axes.annotate(
            text,
            (1, 0),
            xytext=(6, y - bottom),
            xycoords="axes fraction",
            textcoords="offset pixels",
            va="center_baseline",
            ha="left",
            color=colour,
            fontsize=size,
            annotation_clip=False,
        )
