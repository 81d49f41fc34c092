"""Where in the space did training diverge? A map a family, how often by setting, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from orchestrator.records import DIVERGED
from orchestrator.report import divergence, svg, theme, wording
from orchestrator.report.divergence import Danger, Rate
from orchestrator.report.pieces import Column, Context, Figure, Row, Section, Table, families_marked, family_mark
from orchestrator.report.sections import coordinates

MOST_POINTS, TILES, FEWEST_IN_A_TILE = 200, 6, 3
MOST_SAID = 4
# What is shown of families for which nothing stands out: a matter of one or two numbers, as a rule.
USUAL = ("learning_rate", "batch_size")
CAUSES = {
    "nan": "the loss was no longer a number",
    "inf": "the loss became infinite",
    "validation nan": "the validation loss was no longer a number",
    "validation inf": "the validation loss became infinite",
    "gradient": "a gradient was no longer a number, or infinite",
    "explosion": "the loss exploded",
    "stuck": "the loss never moved off its start",
}


def section(context: Context) -> Section:
    ended, found = divergence.outcomes(context.frames), divergence.dangers(context.frames)
    wild = int(ended["wild"].sum())
    return Section(
        question="Where did training diverge?",
        answer=_answer(context, ended, found),
        blocks=[_figure(context, ended, found), _endings(context), _rates(context, found)],
        numbers={"search_diverged_share": wild / len(ended) if len(ended) else None},
        # A finalist may diverge where no trial of the search did.
        answered=not (context.frames.trials["status"] == DIVERGED).any(),
    )


def _answer(context: Context, ended: pd.DataFrame, found: Sequence[Danger]) -> Markup:
    total, wild = len(ended), int(ended["wild"].sum())
    if not total:
        return Markup("Not known yet: no trial of the search has ended.")
    if not wild:
        return Markup("Nowhere: none of the {} of the search diverged.").format(wording.plural(total, "trial"))
    text = Markup("{} of {} of the search diverged ({}).").format(
        f"{wild:,}", wording.plural(total, "trial"), wording.percent(wild / total)
    )
    said = []
    for family in context.frames.families:
        danger = next((one for one in found if one.family == family and one.stands_out), None)
        if danger:
            said.append(_said(context, danger))
    if said:
        more = f"; {len(said) - MOST_SAID} more families are in the table" if len(said) > MOST_SAID else ""
        text += Markup(" Most dangerous: {}{}.").format(Markup("; ").join(said[:MOST_SAID]), more)
    known = {one.family for one in found}
    rest = [family for family in known if not any(one.stands_out for one in found if one.family == family)]
    broken = set(ended.loc[ended["wild"], "family"])
    few = [family for family in context.frames.families if family in broken - known]
    if rest:
        names = families_marked(context, [family for family in context.frames.families if family in rest])
        text += Markup(" For {} no setting stands out from chance.").format(names)
    if few:
        text += Markup(" Too few trials diverged, or were left, to say what did it for {}.").format(
            families_marked(context, few)
        )
    return text


def _said(context: Context, danger: Danger) -> Markup:
    return Markup("for {}, {}, where {} diverged, elsewhere {}").format(
        family_mark(context, danger.family),
        _where(danger.worst),
        wording.percent(danger.worst.rate),
        "none" if danger.elsewhere == 0 else wording.percent(danger.elsewhere),
    )


def _where(rate: Rate) -> str:
    name = rate.hyperparameter.replace("_", " ")
    if rate.low is None or rate.low == rate.high:
        return f"{name} {wording.setting(rate.value)}"
    if rate.top:
        return f"a {name} of {wording.setting(rate.low)} and more"
    if rate.bottom:
        return f"a {name} of {wording.setting(rate.high)} and less"
    return f"a {name} from {wording.setting(rate.low)} to {wording.setting(rate.high)}"


def _figure(context: Context, ended: pd.DataFrame, found: Sequence[Danger]) -> Figure:
    name = "divergence-map"
    caption = Markup(
        "Each family’s trials by the two settings that had most to do with divergence. Red cross: diverged; dot: not. "
        "The redder a tile, the larger the share of its trials that diverged (tiles of fewer than {} are left "
        "blank){}."
    ).format(FEWEST_IN_A_TILE, _limit(ended))
    panels, said = [], []
    for family in context.frames.families:
        rows = ended[ended["family"] == family]
        names = _axes_of(context, family, rows, found)
        if rows["wild"].any() and len(names) == 2:
            with theme.style(f"{name}-{family}"):
                panels.append(_map(context, family, rows, names))
            said.append(f"{family}: {int(rows['wild'].sum())} of {len(rows)} diverged, by {names[0]} and {names[1]}")
    none = "No trial of the search diverged." if not ended["wild"].any() else "Fewer than two settings were varied."
    lacking = "" if panels else none
    alt = f"Maps of the search space with the trials that diverged. {'; '.join(said)}."
    return Figure(name, alt, caption, panels, lacking=lacking)


def _limit(ended: pd.DataFrame) -> str:
    counts = ended.groupby(["family", "wild"]).size()
    return f"; at most {MOST_POINTS} of either kind are drawn" if len(counts) and counts.max() > MOST_POINTS else ""


def _axes_of(context: Context, family: str, rows: pd.DataFrame, found: Sequence[Danger]) -> list[str]:
    """The two settings of the map: those that had most to do with divergence, of what nearly all trials have."""
    telling = [one.hyperparameter for one in found if one.family == family]
    searched = context.frames.hyperparameters
    usual = [name for name in USUAL if name in searched]
    names = dict.fromkeys([*telling, *usual, *searched])
    return [
        name
        for name in names
        if rows[f"config.{name}"].notna().mean() > 0.8 and rows[f"config.{name}"].map(str).nunique() > 1
    ][:2]


def _map(context: Context, family: str, rows: pd.DataFrame, names: Sequence[str]) -> str:
    drawing, axes = theme.panel(left=64, right=20)
    places: list[np.ndarray] = []
    ticks: list[list[tuple[float, str]]] = []
    rows = rows.dropna(subset=[f"config.{name}" for name in names])
    for turn, name in enumerate(names):
        heights, marks = coordinates.along_axis(context, rows[f"config.{name}"], name, middle=True)
        # Choices lie on a few lines: spread, evenly and the same from build to build.
        steps = (np.arange(len(rows)) * (0.618034, 0.754878)[turn]) % 1 - 0.5
        spread = steps * 0.5 / max(len(marks) - 1, 1) if context.frames.is_choice(name) else 0.0
        places.append(heights + spread)
        ticks.append(marks)
        low, high = _reach(context, name, marks)
        (axes.set_ylim if turn else axes.set_xlim)(low, high)
    wild = rows["wild"].to_numpy(bool)
    for low, high, bottom, top, share in _tiles(context, names, ticks, places, wild):
        red = theme.drawn("diverged")
        axes.add_patch(Rectangle((low, bottom), high - low, top - bottom, color=red, alpha=0.45 * share, linewidth=0))
    colour = context.dress.colour(family)
    calm, lost = _some(np.flatnonzero(~wild)), _some(np.flatnonzero(wild))
    axes.scatter(places[0][calm], places[1][calm], s=13, color=colour, alpha=0.55, linewidths=0,
                 marker=context.dress.marker(family), clip_on=False)  # fmt: skip
    axes.scatter(places[0][lost], places[1][lost], s=24, marker="x", color=theme.drawn("diverged"), linewidths=1.2,
                 clip_on=False)  # fmt: skip
    _label(axes, ticks)
    theme.titles(axes, f"{family}: {names[1].replace('_', ' ')}", names[0].replace("_", " ").capitalize(), colour)
    return svg.text_of(drawing)


def _some(places: np.ndarray) -> np.ndarray:
    if len(places) <= MOST_POINTS:
        return places
    chosen: np.ndarray = places[np.linspace(0, len(places) - 1, MOST_POINTS).astype(int)]
    return chosen


def _label(axes: Axes, ticks: Sequence[Sequence[tuple[float, str]]]) -> None:
    axes.set_xticks([place for place, _ in ticks[0]], [text for _, text in ticks[0]])
    axes.set_yticks([place for place, _ in ticks[1]], [text for _, text in ticks[1]])


def _edges(context: Context, name: str, ticks: Sequence[tuple[float, str]]) -> np.ndarray:
    """Edges of the tiles along one axis: one a choice, else a few of equal width."""
    if not context.frames.is_choice(name):
        return np.linspace(0, 1, TILES + 1)
    half = 0.5 / max(len(ticks) - 1, 1)
    return np.linspace(-half, 1 + half, len(ticks) + 1)


def _reach(context: Context, name: str, ticks: Sequence[tuple[float, str]]) -> tuple[float, float]:
    edges = _edges(context, name, ticks)
    return float(edges[0]) - 0.02, float(edges[-1]) + 0.02


def _tiles(
    context: Context,
    names: Sequence[str],
    ticks: Sequence[Sequence[tuple[float, str]]],
    places: Sequence[np.ndarray],
    wild: np.ndarray,
) -> list[tuple[float, float, float, float, float]]:
    """Left, right, bottom, top and the share that diverged, of each tile with trials enough and some diverged."""
    edges = [_edges(context, name, marks) for name, marks in zip(names, ticks, strict=True)]
    all_of_them, *_ = np.histogram2d(places[0], places[1], bins=edges)
    lost, *_ = np.histogram2d(places[0][wild], places[1][wild], bins=edges)
    return [
        (edges[0][i], edges[0][i + 1], edges[1][j], edges[1][j + 1], float(lost[i, j] / all_of_them[i, j]))
        for i, j in zip(*np.nonzero((all_of_them >= FEWEST_IN_A_TILE) & (lost > 0)), strict=True)
    ]


def _endings(context: Context) -> Table:
    """By family and cause, over all trials, finalists included: when it broke, and at which loss."""
    trials = context.frames.trials
    broken = trials[trials["status"] == DIVERGED]
    broken = broken.assign(cause=[cause if isinstance(cause, str) and cause else "?" for cause in broken["cause"]])
    rows = []
    for (family, cause), part in broken.groupby(["family", "cause"], sort=True):
        rate = pd.to_numeric(part["config.learning_rate"]) if "config.learning_rate" in part else pd.Series(dtype=float)
        last = pd.to_numeric(part["last_finite"]).astype(float)
        rows.append(
            {"family": family, "cause": cause, "trials": len(part), "median_epochs": float(part["epochs"].median()),
             "median_last_finite_loss": last.median(), "lowest_learning_rate": rate.min(),
             "median_learning_rate": rate.median()}
        )  # fmt: skip
    columns = ["family", "cause", "trials", "median_epochs", "median_last_finite_loss", "lowest_learning_rate",
               "median_learning_rate"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    order = {family: place for place, family in enumerate(context.frames.families)}
    frame = frame.sort_values(
        ["family", "trials"], key=lambda values: values.map(order) if values.name == "family" else -values
    ).reset_index(drop=True)
    return Table(
        "divergence",
        "How the diverged trials ended (medians)",
        frame,
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("What was seen", lambda row: CAUSES.get(row["cause"], "not noted")),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("Whole epochs before", lambda row: wording.number(row["median_epochs"], 2), True),
            Column("Last finite loss", lambda row: wording.number(row["median_last_finite_loss"], 3), True),
            Column("Learning rate", lambda row: wording.setting(row["median_learning_rate"]), True),
            Column("Lowest", lambda row: wording.setting(row["lowest_learning_rate"]), True),
        ],
        group="family",
    )


def _rates(context: Context, found: Sequence[Danger]) -> Table:
    columns = ["family", "hyperparameter", "value", "low", "high", "trials", "diverged", "rate", "p"]
    rows = [
        {**{key: getattr(rate, key) for key in columns[:-1]}, "p": danger.p}
        for danger in found
        for rate in danger.rates
    ]
    return Table(
        "divergence-rates",
        "Share of the search’s trials that diverged, by setting (numbers in groups of equal count)",
        pd.DataFrame(rows, columns=columns),
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Hyperparameter", lambda row: row["hyperparameter"].replace("_", " ")),
            Column("Value", _value, True),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("Diverged", lambda row: wording.count(row["diverged"]), True),
            Column("Share", lambda row: wording.percent(row["rate"]), True),
            Column("Chance does as much", lambda row: f"{100 * row['p']:.2g} % of the time", True),
        ],
        group="family",
        tall=True,
        folded=True,
    )


def _value(row: Row) -> str:
    if wording.missing(row["low"]) or row["low"] == row["high"]:
        return wording.setting(row["value"])
    return f"{wording.setting(row['low'])} to {wording.setting(row['high'])}"
