"""How good a search is expected to be after how much spend: the curves of each family's best cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from orchestrator.report import svg, theme, wording
from orchestrator.report.pieces import Column, Context, Figure, Table
from orchestrator.report.verdict import Verdict

NAME = "best-against-spend"
# Column of a curve → what makes it the unit shown, how a number reads, what stands below the axis.
UNITS: Mapping[str, tuple[float, Callable[[float], str], str]] = {
    "worker_hours": (3600.0, wording.duration, "Time of workers in the search"),
    "flops": (1.0, wording.tick, "Training compute of the search, FLOP"),
}


def figure(context: Context, found: Verdict) -> Figure:
    """Expected best validation value against worker time and against training compute, one line a family."""
    curves = found.curves[found.curves["expected_best"].notna() & (found.curves["worker_hours"] > 0)]
    caption = Markup(
        "The best validation value to expect from a search that had cost so much, with trials that were stopped, "
        "diverged or failed counted; an arrow: the line goes on beyond. The verdict is on test; this is on validation, "
        "which flatters long searches."
    )
    if curves.empty:
        return Figure(NAME, "Nothing to draw.", caption, lacking="No search has come to a value yet.")
    panels = []
    for unit, (factor, say, below) in UNITS.items():
        if (curves[unit] <= 0).any():
            continue
        with theme.style(f"{NAME}-{unit}"):
            drawn, axes = theme.panel(left=46, right=92, top=34, bottom=44)
            _draw(context, axes, curves.assign(spend=factor * curves[unit]), say)
            better = "larger is better" if found.direction == "max" else "smaller is better"
            theme.titles(axes, f"Best validation {wording.metric(found.metric)}, {better}", below)
            panels.append(svg.text_of(drawn))
    ends = {str(family): rows.iloc[-1] for family, rows in curves.groupby("family", sort=False)}
    said = "; ".join(
        f"{family} {wording.number(end['expected_best'])} after {wording.duration(3600 * end['worker_hours'])} or "
        f"{wording.flop(end['flops'])}"
        for family, end in ends.items()
    )
    return Figure(
        NAME, f"Lines of the expected best validation {wording.metric(found.metric)}: {said}.", caption, panels
    )


def table(found: Verdict) -> Table:
    """The curves as CSV; folded on the page."""
    return Table(
        NAME,
        f"Expected best validation {wording.metric(found.metric)} of a search, by number of trials",
        found.curves,
        [
            Column("Family", lambda row: row["family"]),
            Column("Cell", lambda row: row["cell"]),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("Worker time", lambda row: wording.duration(3600 * row["worker_hours"]), True),
            Column("Compute", lambda row: wording.flop(row["flops"]), True),
            Column("Expected best", lambda row: wording.number(row["expected_best"]), True),
        ],
        tall=True,
        folded=True,
    )


def _draw(context: Context, axes: Axes, curves: pd.DataFrame, say: Callable[[float], str]) -> None:
    """Against the column `spend`."""
    ends = []
    for family, rows in curves.groupby("family", sort=False):
        colour = context.dress.colour(str(family))
        spend = rows["spend"].to_numpy()
        axes.plot(spend, rows["expected_best"], color=colour)
        axes.plot(
            spend[-1:],
            rows["expected_best"].iloc[-1:],
            marker=context.dress.marker(str(family)),
            markersize=6,
            color=colour,
            clip_on=False,
        )
        ends.append((float(spend[-1]), float(rows["expected_best"].iloc[-1]), str(family), colour))
    theme.log_axis(axes, "x", curves["spend"].to_numpy(), lambda value: say(float(value)))
    # The first trials of a bad draw would press the part that matters into a line.
    values = curves["expected_best"].to_numpy()
    last = np.array([value for _, value, _, _ in ends])
    reach = max(float(np.ptp(last)), float(np.ptp(values)) / 3, abs(float(last.mean())) * 1e-3, 1e-9)
    low, high = max(values.min(), last.min() - 2 * reach), min(values.max(), last.max() + 2 * reach)
    air = max(high - low, 1e-9) * 0.06
    axes.set_ylim(low - air, high + air)
    for family, rows in curves.groupby("family", sort=False):
        theme.mark_leaving(axes, rows["spend"], rows["expected_best"], context.dress.colour(str(family)))
    theme.linear_axis(axes, "y")
    theme.label_ends(axes, ends)
