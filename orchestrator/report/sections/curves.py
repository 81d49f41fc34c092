"""How did training go? Validation by epoch: the best trial of each cell in front, the others faint."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn
from markupsafe import Markup
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator

from orchestrator.records import COMPLETE, SIZES
from orchestrator.report import svg, theme, wording
from orchestrator.report.pieces import Column, Context, Figure, Section, Table, family_mark, trial_link

MOST_LABELS = 8
DASHES = ((), (4, 1.6), (1.2, 1.4), (6, 1.6, 1.2, 1.6))


def section(context: Context) -> Section:
    best = best_trials(context)
    return Section(
        question="How did training go?",
        answer=_answer(best),
        answered=best.empty,
        blocks=[_figure(context, best), _table(context, best)],
        numbers={"best_trials_still_improving": int(best["at_the_end"].sum())},
    )


def best_trials(context: Context) -> pd.DataFrame:
    """The best complete search trial of each cell; `at_the_end`: its best epoch was its last of several."""
    search = context.frames.search
    done = search[(search["status"] == COMPLETE) & search["value"].notna()]
    done = done.sort_values("value", ascending=context.frames.best_first(), kind="stable").groupby("cell").head(1)
    rank = {size: place for place, size in enumerate(SIZES)}
    place = {family: place for place, family in enumerate(context.frames.families)}
    done = done.assign(_family=done["family"].map(place), _size=done["size"].map(rank))
    done = done.sort_values(["_family", "data_fraction", "_size", "cell"])
    done = done.assign(at_the_end=(done["best_epoch"] == done["epochs"]) & (done["epochs"] > 1))
    return done[["cell", "family", "size", "data_fraction", "trial", "epochs", "best_epoch", "value", "at_the_end"]]


def _answer(best: pd.DataFrame) -> Markup:
    if best.empty:
        return Markup("Not known yet: no trial of the search has run to its end.")
    if best["epochs"].max() == 1:
        return Markup("Every training had one epoch, from which nobody knows whether more would improve it.")
    improving, all_cells = int(best["at_the_end"].sum()), len(best)
    if improving == 0:
        return Markup("The best trial of every cell had stopped improving before it ended: {} were enough.").format(
            "its epochs" if all_cells == 1 else "the epochs"
        )
    share = (
        "The best trial of every cell was"
        if improving == all_cells
        else (f"In {improving} of {wording.plural(all_cells, 'cell')} the best trial was")
    )
    return Markup("{} still at its best in its last epoch: more epochs would likely improve {}.").format(
        share, "them" if improving > 1 else "it"
    )


def _figure(context: Context, best: pd.DataFrame) -> Figure:
    name, column = "learning-curves", f"validation_{context.frames.metric}"
    caption = Markup(
        "Solid or dashed: the best trial of each cell (the label gives size and data fraction), with a dot at its "
        "best epoch and an arrow where it leaves the panel. Faint: the family’s other trials of the search{}."
    ).format(_limit(context))
    reports = context.frames.reports
    if best.empty or column not in reports:
        return Figure(name, "Nothing to draw.", caption, lacking="No trial of the search has run to its end.")
    curves = reports[np.isfinite(reports[column])].sort_values(["trial", "epoch"])
    front = curves[curves["trial"].isin(best["trial"])]
    logarithmic = context.frames.best_first(column) and float(front[column].min()) > 0
    panels = []
    for family in context.frames.families:
        with theme.style(f"{name}-{family}"):
            panels.append(
                _panel(context, family, best, curves, (column, logarithmic, _limits(front[column], logarithmic)))
            )
    said = "; ".join(
        f"{row.cell}: {wording.number(row.value)} at epoch {row.best_epoch:.0f}" for row in best.itertuples()
    )
    return Figure(
        name, f"Learning curves by family, {wording.metric(column)} by epoch. Best trials: {said}.", caption, panels
    )


def _limit(context: Context) -> str:
    counts = context.frames.search.groupby("family").size()
    return f" (at most {context.options.curves} of them)" if counts.max() > context.options.curves else ""


def _limits(values: pd.Series, logarithmic: bool) -> tuple[float, float]:
    """The range of the best trials' curves, less the worst twentieth: first epochs should not press the rest flat."""
    low, high = (
        float(values.quantile(0.0 if logarithmic else 0.05)),
        float(values.quantile(0.97 if logarithmic else 1.0)),
    )
    if logarithmic:
        return low / 1.1, high * 1.1
    air = max((high - low) * 0.05, 1e-6)
    return low - air, high + air


def _panel(
    context: Context,
    family: str,
    best: pd.DataFrame,
    curves: pd.DataFrame,
    scale: tuple[str, bool, tuple[float, float]],
) -> str:
    column, logarithmic, limits = scale
    figure, axes = theme.panel(right=66, left=48)
    colour = context.dress.colour(family)
    mine = best[best["family"] == family]
    if logarithmic:
        theme.log_axis(axes, "y", limits, lambda value: f"{value:.2g}")
    else:
        theme.linear_axis(axes, "y")
    axes.add_collection(
        LineCollection(
            _others(context, family, mine, curves, column), colors=theme.drawn("muted"), linewidths=0.7, alpha=0.28
        ),
        autolim=False,
    )
    front = curves[curves["trial"].isin(mine["trial"])].merge(mine[["trial", "data_fraction", "cell"]], on="trial")
    if len(front):
        fractions = context.frames.fractions[::-1]
        dashes = {fraction: DASHES[place % len(DASHES)] for place, fraction in enumerate(fractions)}
        seaborn.lineplot(
            front,
            x="epoch",
            y=column,
            units="trial",
            estimator=None,
            style="data_fraction",
            dashes=dashes,
            color=colour,
            linewidth=1.5,
            legend=False,
            ax=axes,
        )
        at_best = front.merge(mine[["trial", "best_epoch"]], on="trial").query("epoch == best_epoch")
        axes.scatter(at_best["epoch"], at_best[column], s=16, color=colour, linewidths=0, zorder=3)
    axes.set_ylim(*limits)
    axes.set_xlim(1, max(2, float(curves["epoch"].max())))
    for _, one in front.groupby("trial", sort=True):
        theme.mark_leaving(axes, one["epoch"], one[column], colour)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    theme.label_ends(axes, _ends(context, mine, front, column), size=9.5)
    axes.set_ylabel("")
    theme.titles(axes, f"{family}: {wording.metric(column)}", "Epoch", colour)
    return svg.text_of(figure)


def _others(context: Context, family: str, mine: pd.DataFrame, curves: pd.DataFrame, column: str) -> list[np.ndarray]:
    search = context.frames.search
    names = sorted(set(search.loc[search["family"] == family, "trial"]) - set(mine["trial"]))
    most = context.options.curves
    if len(names) > most:
        names = [names[place] for place in np.linspace(0, len(names) - 1, most).astype(int)] if most else []
    chosen = curves[curves["trial"].isin(names)]
    return [rows[["epoch", column]].to_numpy(float) for _, rows in chosen.groupby("trial", sort=True) if len(rows) > 1]


def _ends(
    context: Context, mine: pd.DataFrame, front: pd.DataFrame, column: str
) -> list[tuple[float, float, str, str]]:
    labelled = mine
    if len(mine) > MOST_LABELS:
        labelled = mine[mine["data_fraction"] == mine["data_fraction"].max()]
    ends = []
    for row in labelled.itertuples():
        last = front[front["trial"] == row.trial].iloc[-1]
        share = f" · {100 * row.data_fraction:g} %" if len(context.frames.fractions) > 1 else ""
        ends.append((float(last["epoch"]), float(last[column]), f"{row.size}{share}", context.dress.colour(row.family)))
    return ends


def _table(context: Context, best: pd.DataFrame) -> Table:
    metric = wording.metric(context.frames.metric)
    return Table(
        "best-trials",
        f"The best trial of each cell, by validation {metric} at its best epoch",
        best,
        [
            Column("Cell", lambda row: row["cell"]),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column(f"Validation {metric}", lambda row: wording.number(row["value"]), True),
            Column("Best epoch", lambda row: f"{row['best_epoch']:.0f} of {row['epochs']:.0f}", True),
            Column("Still improving", lambda row: "yes" if row["at_the_end"] else "no"),
            Column("Run", lambda row: trial_link(row["trial"])),
        ],
        group="family",
        tall=True,
        folded=True,
    )
