"""Which family is best? Each family's best cell on the test split, the verdict on every pair, and what it cost."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from orchestrator.report import answers, svg, theme, verdict, wording
from orchestrator.report.pieces import (
    Column,
    Context,
    Figure,
    Section,
    Table,
    family_mark,
    paragraph,
    trial_links,
)
from orchestrator.report.sections import anytime
from orchestrator.report.verdict import BETTER, EQUAL, Standing, Verdict

# What some networks note of themselves is no result: `signs.py` shows it.
NOTED = ("test_attention_entropy", "test_smoothness", "test_active_units")

TALL = 10  # pairs: those of five families stand on the page as they are, more are scrolled


def section(context: Context) -> Section:
    found = verdict.judge(context.frames, context.options.confidence, context.options.delta or None)
    metric = wording.metric(f"test_{context.frames.metric}")
    numbers: dict[str, float | int | None] = {
        f"{standing.family}.test_{context.frames.metric}": standing.mean for standing in found.standings
    }
    numbers |= {f"{one.family}.test_{context.frames.metric}_sd": one.spread for one in found.standings}
    numbers |= {f"{one.family}.seeds": len(one.values) for one in found.standings}
    return Section(
        question="Which family is best?",
        answer=answers.overall(found, partial(family_mark, context)),
        blocks=[
            (_figure(context, found, metric), _standings(context, found), *_comparisons(context, found)),
            (anytime.figure(context, found), anytime.table(found), _method(context, found)),
        ],
        numbers=numbers
        | {
            "pairs_of_families": len(found.comparisons),
            "pairs_separated": sum(pair.answer == BETTER for pair in found.comparisons),
            "pairs_level": sum(pair.answer == EQUAL for pair in found.comparisons),
        },
        answered=not found.standings,
    )


def _figure(context: Context, found: Verdict, metric: str) -> Figure:
    name, caption = (
        "best-of-each-family",
        Markup(
            "Each dot is one finalist: the best configuration of the family’s best cell, trained again on a "
            "fresh seed. The tick is the mean, the bar one standard deviation over seeds, and the thin line how far "
            "off another search might have come out."
        ),
    )
    if not found.standings:
        return Figure(name, "Nothing to draw.", caption, lacking="No finalist has been trained to its end.")
    with theme.style(name):
        figure, axes = theme.panel(height=96 + 46 * len(found.standings), left=14, right=22, top=34, bottom=44)
        notes: dict[str, str] = {}
        for place, one in enumerate(found.standings):
            _draw_standing(context, axes, -place, one, notes)
        values = [value for one in found.standings for value in (*one.values, *_reach(one))]
        air = max((max(values) - min(values)) * 0.12, abs(max(values)) * 1e-3, 1e-9)
        axes.set_xlim(min(values) - air, max(values) + air)
        axes.set_ylim(-len(found.standings) + 0.45, 0.75)
        axes.set_yticks([])
        theme.linear_axis(axes, "x")
        better = "larger is better" if context.frames.direction == "max" else "smaller is better"
        theme.titles(axes, f"{wording.capital(metric)}, {better}")
        panel = svg.text_of(figure, notes)
    said = "; ".join(f"{one.family} {wording.number(one.mean)} {answers.seeds(one)}" for one in found.standings)
    return Figure(name, f"Dot plot of {metric} by family: {said}.", caption, [panel])


def _reach(one: Standing) -> tuple[float, float]:
    """A standard error to both sides of the mean over seeds, with the luck of the search in it."""
    seeds = (one.spread or 0.0) / math.sqrt(len(one.values))
    reach = math.hypot(seeds, one.luck.deviation if one.luck else 0.0)
    return one.mean - reach, one.mean + reach


def _draw_standing(context: Context, axes: Axes, y: float, one: Standing, notes: dict[str, str]) -> None:
    colour = context.dress.colour(one.family)
    if one.spread is not None:
        axes.plot([one.mean - one.spread, one.mean + one.spread], [y, y], color=colour, linewidth=5, alpha=0.25)
    axes.plot(_reach(one), [y, y], color=colour, linewidth=1, alpha=0.6)
    axes.plot([one.mean], [y], marker="|", markersize=17, markeredgewidth=2.2, color=colour)
    dots = axes.scatter(
        one.values,
        [y] * len(one.values),
        s=34,
        color=colour,
        alpha=0.75,
        linewidths=0,
        marker=context.dress.marker(one.family),
        clip_on=False,
        zorder=3,
    )
    addresses = [f"#trial-{trial}" for trial in one.trials]
    dots.set_urls(addresses)
    notes.update(
        {
            address: f"{trial}: {wording.number(value)}"
            for address, trial, value in zip(addresses, one.trials, one.values, strict=True)
        }
    )
    label = f"{one.family}  {wording.number(one.mean)}"
    axes.annotate(
        label,
        (0, y),
        xytext=(0, 15),
        xycoords=("axes fraction", "data"),
        textcoords="offset pixels",
        color=colour,
        fontsize=11.5,
        fontweight="bold",
        va="center",
    )


def _standings(context: Context, found: Verdict) -> Table:
    metric = f"test_{context.frames.metric}"
    finals = context.frames.finals.set_index("trial")
    measured = [name for name in finals.columns if name.startswith("test_") and finals[name].notna().any()]
    apart = () if context.frames.losses_compare else ("test_loss",)
    others = [name for name in measured if name not in (metric, *NOTED, *apart)]
    rows = [
        {"family": one.family, "cell": one.cell, "size": one.size, "data_fraction": one.data_fraction,
         metric: one.mean, f"{metric}_sd": one.spread, **finals.loc[list(one.trials), others].mean().to_dict(),
         "seeds": len(one.values), "search_luck": one.luck and one.luck.deviation, "searched": one.search.count,
         "worker_hours": one.search.worker_hours, "flops": one.search.flops, "trials": " ".join(one.trials)}
        for one in found.standings
    ]  # fmt: skip
    columns = ["family", "cell", "size", "data_fraction", metric, f"{metric}_sd", *others, "seeds",
               "search_luck", "searched", "worker_hours", "flops", "trials"]  # fmt: skip

    def mean_of(name: str) -> Column:
        return Column(wording.capital(wording.metric(name)), lambda row: wording.number(row[name]), True)

    return Table(
        "best-of-each-family",
        "Best cell of each family, chosen by validation; means over its finalists, "
        f"best {wording.metric(context.frames.metric)} first",
        pd.DataFrame(rows, columns=columns),
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Cell", lambda row: row["cell"]),
            mean_of(metric),
            Column("± sd", lambda row: wording.number(row[f"{metric}_sd"], 2), True),
            *(mean_of(name) for name in others),
            Column("Seeds", lambda row: row["seeds"], True),
            Column("Luck, ± sd", lambda row: wording.number(row["search_luck"], 2), True),
            Column("Search trials", lambda row: wording.count(row["searched"]), True),
            Column("Worker time", lambda row: wording.duration(3600 * row["worker_hours"]), True),
            Column("Runs", lambda row: trial_links(row["trials"].split())),
        ],
    )


def _comparisons(context: Context, found: Verdict) -> list[Table]:
    if not found.comparisons:
        return []
    counts = {one.family: len(one.values) for one in found.standings}
    frame = pd.DataFrame(
        [
            {
                "ahead": pair.first,
                "behind": pair.second,
                "difference": pair.difference,
                "low": pair.interval and pair.interval[0],
                "high": pair.interval and pair.interval[1],
                "seeds": f"{counts[pair.first]} and {counts[pair.second]}",
                "answer": pair.answer,
                "more_seeds": pair.more_seeds,
            }
            for pair in found.comparisons
        ]
    )
    pairs = {(pair.first, pair.second): pair for pair in found.comparisons}
    return [
        Table(
            "comparisons",
            "Every pair of families: difference of the means",
            frame,
            [
                Column(
                    "Pair",
                    lambda row: Markup("{} – {}").format(
                        family_mark(context, row["ahead"]), family_mark(context, row["behind"])
                    ),
                ),
                Column("Difference", lambda row: wording.number(row["difference"], 3), True),
                Column(
                    f"{100 * found.confidence:g} % interval",
                    lambda row: answers.interval(pairs[row["ahead"], row["behind"]], found.metric),
                    True,
                ),
                Column("Seeds", lambda row: row["seeds"], True),
                Column(
                    "Answer",
                    lambda row: _capital(answers.of_pair_in_short(pairs[row["ahead"], row["behind"]], found.delta)),
                    words=True,
                ),
            ],
            tall=len(found.comparisons) > TALL,
        )
    ]


def _capital(words: str) -> str:
    return words if words.endswith("is better") else wording.capital(words)  # a family's name stays as it is


def _out_of_reach(found: Verdict) -> str:
    """That no pair could be called equal, where even the narrowest interval is wider than what counts as none."""
    known = [pair.interval for pair in found.comparisons if pair.interval and not pair.guess]
    widths = [(high - low) / 2 for low, high in known]
    if not widths or found.delta is None or min(widths) < found.delta:
        return ""
    return (
        f"Even the narrowest interval here reaches {wording.number(min(widths), 2)} to both sides: these runs could "
        "not have shown two families to be equal. If larger differences do not matter to you either, say so (options: "
        "delta). "
    )


def _method(context: Context, found: Verdict) -> Markup:
    rows = context.frames.card.get("sizes", {}).get("test")
    on = f" of {rows:,} rows" if rows else ""
    if len(found.standings) == 1:
        return paragraph(
            "How to read this: the bar is what fresh seeds change, the thin line also what another search would have "
            "found by luck, for better or worse (estimated from the spread of the best trials and from how much of its "
            "lead the winner kept on fresh seeds); neither covers what another test split{} would change.",
            on,
        )
    pairs = len(found.comparisons)
    at_once = (
        f"All {pairs} intervals hold at once (by Bonferroni’s correction: the more pairs, the wider each). "
        if pairs > 1
        else ""
    )
    if any(pair.guess for pair in found.comparisons):
        at_once += (
            "Where an interval is hardly known, its width would mostly be that of the guess at the searches’ luck, to "
            "which of each search only the better half of the trials counts, and those that were stopped early by "
            "half; the CSV has it. "
        )
    why = "as this report asks" if context.options.delta else "half of the standard deviation that seeds make"
    delta = (
        f"A difference of {wording.number(found.delta, 2)} or less is counted as none: {why}. {_out_of_reach(found)}"
        if found.delta is not None
        else ""
    )
    text = paragraph(
        "How to read this: an interval says between which values the true difference of two families probably lies. "
        "A family is better only where the whole interval is above zero. {}{}The intervals (Welch’s, which let each "
        "family scatter in its own way) cover what fresh seeds change, and what another search would have found by "
        "luck, for better or worse (estimated from the spread of the best trials "
        "and from how much of its lead the winner kept on fresh seeds); they do not cover what another test split{} "
        "would change.",
        delta,
        at_once,
        on,
    )
    if said := answers.unequal_trials(found):
        text += paragraph("{}", said)
    if spent := answers.equal_spend(found, partial(family_mark, context)):
        text += paragraph("{}", spent)
    return text
