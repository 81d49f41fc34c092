"""Which hyperparameter mattered: three measures side by side, as bars, as a table, and in words."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from orchestrator.report import influence, svg, theme, wording
from orchestrator.report.influence import Influence
from orchestrator.report.pieces import Column, Context, Figure, Table, families_marked, family_mark, paragraph

NAME = "importance"
MOST_BARS = 8
MEASURES = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}


def answer(context: Context, found: Sequence[Influence]) -> Markup:
    """What mattered most in each family, and whether the other two measures say the same."""
    judged = [
        family
        for family in context.frames.families
        if any(one.family == family and one.share is not None for one in found)
    ]
    if not judged:
        return Markup("Too few trials to say what mattered: each family needs {} or more in the search.").format(
            influence.FEWEST_TRIALS
        )
    first = {family: next((one for one in found if one.family == family and one.stands_out), None) for family in judged}
    winners: dict[str, list[str]] = {}
    for family, one in first.items():
        winners.setdefault(one.hyperparameter if one else "", []).append(family)
    parts = [
        Markup("the {} for {}").format(name.replace("_", " "), families_marked(context, families))
        for name, families in winners.items()
        if name
    ]
    text = Markup("")
    if parts:
        listed = Markup(wording.listing([str(part) for part in parts]))
        text = Markup("What mattered most was {}.").format(listed) + _agreement(context, found, first)
    if winners.get(""):
        text += Markup(" For {} no hyperparameter stands out from chance.").format(
            families_marked(context, winners[""])
        )
    missing = [family for family in context.frames.families if family not in judged]
    if missing:
        text += Markup(" Too few trials to say for {}.").format(families_marked(context, missing))
    return text


def _agreement(context: Context, found: Sequence[Influence], first: dict[str, Influence | None]) -> Markup:
    """For how many of the families with a winner fANOVA and PED-ANOVA, where they tell, put the same one first."""
    alike: list[str] = []
    other: list[str] = []
    said: set[str] = set()
    for family, winner in first.items():
        if winner is not None:
            mine = [one for one in found if one.family == family]
            # fANOVA has no word on what does not apply to all trials.
            tops = {name: _top(mine, name) for name in MEASURES if getattr(winner, name) is not None}
            if tops:
                said |= set(tops)
                (alike if set(tops.values()) == {winner.hyperparameter} else other).append(family)
    names = wording.listing([title for name, title in MEASURES.items() if name in said])
    others = Markup("Two other measures, {},") if len(said) > 1 else Markup("Another measure, {},")
    say, do = ("say", "do not both say") if len(said) > 1 else ("says", "does not say")
    others = Markup(" ") + others.format(names)
    if not said:
        return Markup("")
    if not other:
        return Markup("{} {} the same.").format(others, say)
    if not alike:
        return Markup("{} {} so: read the order with care.").format(others, do)
    return Markup("{} {} the same for {}, not for {}.").format(
        others, say, families_marked(context, alike), families_marked(context, other)
    )


def _top(mine: Sequence[Influence], measure: str) -> str | None:
    known = [one for one in mine if getattr(one, measure)]
    return max(known, key=lambda one: float(getattr(one, measure))).hyperparameter if known else None


def figure(context: Context, found: Sequence[Influence]) -> Figure:
    """One panel a family: a bar by variance of ranks, a circle by fANOVA, a diamond by PED-ANOVA."""
    caption = Markup(
        "Bar and number: the share of the differences between trials of a cell that one hyperparameter alone "
        "explains; filled: more than chance would, hollow: not told apart from chance. Circle: the same by fANOVA "
        "(none where a hyperparameter does not apply to all trials). Diamond: its share in what sets the best tenth "
        "of the trials apart, by PED-ANOVA."
    )
    panels, said = [], []
    for family in context.frames.families:
        mine = [one for one in found if one.family == family and one.share is not None][:MOST_BARS]
        if mine:
            with theme.style(f"{NAME}-{family}"):
                panels.append(_bars(context, family, mine))
            said.append(
                f"{family}: " + ", ".join(f"{one.hyperparameter} {wording.percent(one.share)}" for one in mine[:3])
            )
    lacking = "" if panels else f"Too few trials: each family needs {influence.FEWEST_TRIALS} or more in the search."
    return Figure(NAME, f"Bars of importance. {'; '.join(said)}.", caption, panels, lacking=lacking)


def _bars(context: Context, family: str, mine: Sequence[Influence]) -> str:
    drawing, axes = theme.panel(height=62 + 24 * len(mine), left=112, right=44, top=30, bottom=30)
    colour = context.dress.colour(family)
    for place, one in enumerate(mine):
        share = one.share or 0.0
        axes.barh(-place, share, height=0.6, color=colour if one.stands_out else "none", edgecolor=colour, linewidth=1)
        _beside(axes, (1, -place), wording.percent(share), "muted", "left")
        _beside(axes, (0, -place), one.hyperparameter.replace("_", " "), "ink", "right")
        for value, marker in ((one.fanova, "o"), (one.ped_anova, "D")):
            if value is not None:
                axes.plot([value], [-place], marker, markersize=5.5 if marker == "o" else 4.5, clip_on=False, zorder=4,
                          markerfacecolor=theme.drawn("paper"), markeredgecolor=theme.drawn("ink"),
                          markeredgewidth=1.1)  # fmt: skip
    axes.set(yticks=[], xlim=(0, 1), ylim=(-len(mine) + 0.45, 0.55))
    axes.xaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    theme.titles(axes, family, colour=colour)
    return svg.text_of(drawing)


def _beside(axes: Axes, place: tuple[float, float], text: str, colour: str, side: str) -> None:
    axes.annotate(
        text,
        place,
        xytext=(-7 if side == "right" else 8, 0),
        textcoords="offset pixels",
        va="center_baseline",
        ha=side,
        color=theme.drawn(colour),
        fontsize=10.5,
        annotation_clip=False,
    )


def table(context: Context, found: Sequence[Influence]) -> Table:
    """Every family and hyperparameter; folded on the page."""
    columns = ["family", "hyperparameter", "trials", "share", "p", "fanova", "ped_anova"]
    frame = pd.DataFrame([{name: getattr(one, name) for name in columns} for one in found], columns=columns)
    frame = frame.astype(dict.fromkeys(columns[3:], float))
    return Table(
        NAME,
        "Importance of each hyperparameter, by three measures",
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
            Column("fANOVA", lambda row: wording.percent(row["fanova"]), True),
            Column("PED-ANOVA", lambda row: wording.percent(row["ped_anova"]), True),
        ],
        group="family",
        tall=True,
        folded=True,
    )


def _chance(p: float) -> str:
    if wording.missing(p):
        return wording.NOTHING
    return "always" if p >= 1 else f"{100 * p:.2g} % of the time"


def method() -> Markup:
    """How the three measures are made."""
    return paragraph(
        "Method: trials are ranked within their cell, diverged ones last; a hyperparameter’s values form groups "
        "(numbers: {} of equal count), and the bar is epsilon squared of a one-way analysis of variance of the "
        "ranks, that is the share of their variance which lies between the groups, less what chance would put there. "
        "A permutation test, corrected for the number of hyperparameters, tells what "
        "stands out. Early-stopped trials count with the best value they reached; under {} trials nothing is said. "
        "fANOVA (Hutter et al. 2014) and PED-ANOVA (Watanabe et al. 2023), as Optuna has them, see the same ranks; "
        "they know no chance: where a search has looked mostly at good places, they may differ. None of the three "
        "sees joint effects.",
        influence.GROUPS,
        influence.FEWEST_TRIALS,
    )
