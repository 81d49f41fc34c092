"""Did it help that larger cells began where the smaller ones led? How far the prediction missed, what it saved."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orchestrator.report import head_start, svg, theme, wording
from orchestrator.report.head_start import Typical
from orchestrator.report.pieces import (
    Block,
    Column,
    Context,
    Figure,
    Row,
    Section,
    Table,
    family_mark,
    paragraph,
    trial_link,
)

NAME = "transfer"
# Of the stairs: colour and width.
SIDES = {"with": ("ink", 2.2), "without": ("muted", 1.6)}
ASK = "to know what it saved, name a sweep of the same ladder without transfer as options.without_transfer in the YAML"


def section(context: Context) -> Section | None:
    """None where no sweep of the report ran with `transfer: true`."""
    frames, twin = context.frames, context.without_transfer
    if not head_start.ran_with_transfer(frames):
        return None
    missed = head_start.misses(frames, twin)
    saved = head_start.savings(frames, twin) if twin else None
    numbers: dict[str, float | int | None] = {
        f"transfer.{name}_missed_by": head_start.miss(missed, name) for name in dict.fromkeys(missed["hyperparameter"])
    }
    blocks: list[Block] = [_figure(context, missed, saved), _details(missed, saved), _misses(context, missed)]
    if saved is not None:
        trials = _typical(context, saved, "trials_factor")
        numbers |= {"transfer.cells": trials.count, "transfer.trials_factor": trials.value}
        numbers |= {"transfer.trials_factor_low": trials.low, "transfer.trials_factor_high": trials.high}
        blocks.append(_savings(context, saved))
    return Section(
        question="Did it help larger networks to begin where smaller ones led?",
        answer=_answer(context, missed, saved),
        blocks=[*blocks, _method(context, saved)],
        numbers=numbers,
    )


def _typical(context: Context, saved: pd.DataFrame, column: str) -> Typical:
    return head_start.typical(saved[column].to_numpy(float), context.options.confidence)


def _answer(context: Context, missed: pd.DataFrame, saved: pd.DataFrame | None) -> Markup:
    if missed.empty:
        return Markup("Not known yet: no larger network has been given a configuration that smaller ones led to.")
    if saved is None:
        return Markup("{} What that saved this sweep alone cannot say: {}.").format(_missed(missed), ASK)
    return Markup("{} {}").format(_saved(context, saved), _missed(missed))


def _missed(missed: pd.DataFrame) -> str:
    """How far the predictions lay from what was best; rather from what was found without knowing them."""
    own, other = (_listed(missed, column) for column in ("factor", "factor_without"))
    if not own and not other:
        return "How far the prediction missed is not known: no best trial has the same optimizer."
    if not other:
        return f"In the median cell the prediction was off by {own} from the best that was found."
    itself = f"; from the best of its own search by {own}" if own else ""
    return f"In the median cell the prediction was off by {other} from the best of the search without it{itself}."


def _listed(missed: pd.DataFrame, column: str) -> str:
    found = {name: head_start.miss(missed, name, column) for name in dict.fromkeys(missed["hyperparameter"])}
    parts = [
        f"{'nothing' if off < 1.05 else f'{wording.number(off, 2)} times'} in {name.replace('_', ' ')}"
        for name, off in found.items()
        if off
    ]
    return wording.listing(parts) if parts else ""


def _details(missed: pd.DataFrame, saved: pd.DataFrame | None) -> Markup:
    """How the predicted trials ranked, and what each search took to come to the end of the other."""
    said = []
    ranks = missed.drop_duplicates("cell").dropna(subset=["rank"])
    if len(ranks):
        quarter = np.ceil(ranks["trials"] / 4)
        by_chance = float((quarter / ranks["trials"]).sum())
        said.append(
            "Compared after as many epochs as all trials of its cell were trained for, the predicted trial was among "
            f"the best quarter in {int((ranks['rank'] <= quarter).sum())} of {wording.plural(len(ranks), 'cell')}; "
            f"chance alone would bring it there in about {by_chance:.0f}."
        )
    known = saved.dropna(subset=["target"]) if saved is not None else pd.DataFrame()
    if len(known):
        # One that never came there took longer than it had.
        shares = {side: (known[f"reached_{side}"] / known["trials"]).fillna(np.inf) for side in ("with", "without")}
        middle = float(np.median(shares["with"]))
        when = f" (in the median cell after {wording.percent(middle)} of its trials)" if np.isfinite(middle) else ""
        counts = {side: int(np.isfinite(share).sum()) for side, share in shares.items()}
        said.append(
            f"In {counts['with']} of {wording.plural(len(known), 'cell')} the search with transfer found something at "
            f"least as good as the best of the search without it{when}; the other way round that holds in "
            f"{counts['without']}. So it ended better in {len(known) - counts['without']} cells and worse in "
            f"{len(known) - counts['with']}; were transfer worth nothing, these would be about equally many."
        )
    return paragraph("{}", " ".join(said))


def _saved(context: Context, saved: pd.DataFrame) -> Markup:
    """The verdict on trials, by the interval of the typical cell."""
    trials, flops = (_typical(context, saved, column) for column in ("trials_factor", "flops_factor"))
    if trials.value is None:
        return Markup("Not known yet what it saved: no search of a larger network is over.")
    compute = f" and {wording.number(flops.value, 2)} times the compute" if flops.value is not None else ""
    needed = f"{wording.number(trials.value, 2)} times the trials{compute} in a typical cell"
    cells = wording.plural(trials.count, "cell")
    if trials.low is None or trials.high is None:
        fewest = head_start.fewest(context.options.confidence)
        return Markup(
            "Cannot tell whether it saved trials: to come equally far, the search without it needed {}, but of {} "
            "nobody can tell that from chance; {} are needed."
        ).format(needed, cells, fewest)
    interval = f"{_beside_one(trials.low)} to {_beside_one(trials.high)} times the trials"
    verdict = "Yes, it saved trials" if trials.low > 1 else "No, it cost trials"
    return Markup("{}: to come equally far, the search without it needed {} ({:g} % interval over {}: {}){}.").format(
        verdict if trials.told else "Cannot tell whether it saved trials",
        needed,
        100 * context.options.confidence,
        cells,
        interval,
        "" if trials.told else "; so it may have saved nothing",
    )


def _beside_one(factor: float) -> str:
    """With as many digits as it takes to see on which side of 1 it is."""
    if factor == 1:
        return "exactly 1"
    return wording.number(factor, next(digits for digits in range(2, 20) if float(f"{factor:.{digits}g}") != 1))


def _figure(context: Context, missed: pd.DataFrame, saved: pd.DataFrame | None) -> Figure:
    caption = "Predicted over best-found value of each larger cell: on the line the prediction was right."
    hollow = missed["factor_without"].notna().any()
    caption += " Hollow: over the best of the search without transfer." if hollow else ""
    raced = saved.dropna(subset=["target"]) if saved is not None else pd.DataFrame()
    if len(raced):
        caption += " The stairs: in how many of the cells a search had come to what both searches reached."
    known = missed[missed["factor"].notna() | missed["factor_without"].notna()]
    if known.empty and raced.empty:
        return Figure(NAME, "Nothing to draw.", Markup(caption), lacking="No prediction can be compared yet.")
    panels, said = [], []
    for name, rows in known.groupby("hyperparameter", sort=False):
        with theme.style(f"{NAME}-{name}"):
            panels.append(_miss_panel(context, rows))
        said += [f"{row.cell} {row.hyperparameter} {wording.number(row.factor, 2)}" for row in rows.itertuples()]
    alt = f"Predicted over best-found hyperparameters against parameters: {'; '.join(said)}."
    if len(raced):
        with theme.style(f"{NAME}-race"):
            panels.append(_race_panel(raced))
        alt += " Share of cells that had come equally far against trials, with and without transfer."
    return Figure(NAME, alt, Markup(caption), panels)


def _miss_panel(context: Context, rows: pd.DataFrame) -> str:
    drawing, axes = theme.panel(right=82, left=46)
    theme.log_axis(axes, "x", rows["params"].to_numpy(float))
    factors = np.concatenate([rows["factor"], rows["factor_without"], [0.5, 2.0]]).astype(float)
    theme.log_axis(axes, "y", factors[np.isfinite(factors)], wording.setting)
    axes.axhline(1, color=theme.drawn("muted"), linewidth=1)
    ends, notes = [], dict[str, str]()
    for family, mine in rows.groupby("family", sort=False):
        colour, marker = context.dress.colour(str(family)), context.dress.marker(str(family))
        other = mine[mine["factor_without"].notna()]
        axes.scatter(other["params"], other["factor_without"], s=30, facecolors="none", edgecolors=colour,
                     marker=marker, linewidths=1.0, alpha=0.7)  # fmt: skip
        own = mine[mine["factor"].notna()].sort_values("params")
        dots = axes.scatter(own["params"], own["factor"], s=26, color=colour, marker=marker, linewidths=0, zorder=3)
        addresses = [f"#trial-{trial}" for trial in own["predicted_trial"]]
        dots.set_urls(addresses)
        notes |= {
            address: f"{row.cell}: predicted {wording.setting(row.predicted)}, best {wording.setting(row.best)}"
            for address, row in zip(addresses, own.itertuples(), strict=True)
        }
        if len(own):
            ends.append((float(own["params"].iloc[-1]), float(own["factor"].iloc[-1]), str(family), colour))
    theme.label_ends(axes, ends)
    name = str(rows["hyperparameter"].iloc[0]).replace("_", " ")
    theme.titles(axes, f"{name.capitalize()}: predicted over best", "Parameters")
    return svg.text_of(drawing, notes)


def _race_panel(raced: pd.DataFrame) -> str:
    """Of the cells, the share in which a search had come to the common target, against its number of trials."""
    drawing, axes = theme.panel(right=82, left=46)
    most = int(raced["trials"].max())
    steps = np.arange(most + 1)
    shares = {side: (raced[f"trials_{side}"].to_numpy(float) <= steps[:, None]).mean(axis=1) for side in SIDES}
    for side, (colour, width) in SIDES.items():
        axes.step(steps, shares[side], where="post", color=theme.drawn(colour), linewidth=width)
    axes.set(xlim=(0, most), ylim=(0, 1.03))
    # Both end at one: labelled where they lie furthest apart.
    apart = int(np.argmax(np.abs(shares["with"] - shares["without"])))
    for side, (colour, _) in SIDES.items():
        above = (side == "with") == (shares["with"][apart] >= shares["without"][apart])
        axes.annotate(side, (apart, shares[side][apart]), xytext=(4, 5 if above else -13), color=theme.drawn(colour),
                      textcoords="offset pixels", fontsize=10.5)  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: wording.percent(value)))
    theme.titles(axes, "Cells that had come equally far", "Trials of the search")
    return svg.text_of(drawing)


def _misses(context: Context, missed: pd.DataFrame) -> Table:
    twin = context.without_transfer is not None
    other = [
        Column("Best without", lambda row: wording.setting(row["best_without"]), True),
        Column("Factor", lambda row: _factor(row, "best_without", "factor_without"), True),
    ]
    return Table(
        "transfer-predictions",
        "What was predicted for each larger cell, and what was best in the end",
        missed,
        [
            Column("Hyperparameter", lambda row: row["hyperparameter"].replace("_", " ")),
            Column("Cell", lambda row: row["cell"]),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Predicted", lambda row: wording.setting(row["predicted"]), True),
            Column("Best found", lambda row: wording.setting(row["best"]), True),
            Column("Factor", lambda row: _factor(row, "best", "factor"), True),
            *(other if twin else []),
            Column("Rank", _rank, True),
            Column("Runs", lambda row: _runs(row)),
        ],
        group="cell",
        tall=True,
    )


def _factor(row: Row, best: str, factor: str) -> str:
    if wording.missing(row[factor]):
        return wording.NOTHING if wording.missing(row[best]) else "another optimizer"
    return wording.number(row[factor], 2)


def _rank(row: Row) -> str:
    return wording.NOTHING if wording.missing(row["rank"]) else f"{int(row['rank'])} of {int(row['trials'])}"


def _runs(row: Row) -> Markup:
    links = [trial_link(row["predicted_trial"], "predicted")]
    if not wording.missing(row["best_trial"]):
        links.append(trial_link(row["best_trial"], "best"))
    return Markup(" ").join(links)


def _savings(context: Context, saved: pd.DataFrame) -> Table:
    def told(row: Row, side: str) -> str:
        if wording.missing(row["target"]):
            return wording.NOTHING
        never = wording.missing(row[f"reached_{side}"])
        return f"not in {row['trials']:.0f}" if never else f"{row[f'reached_{side}']:.0f} of {row['trials']:.0f}"

    def pair(row: Row, name: str, say: str) -> str:
        both = [row[f"{name}_{side}"] for side in ("with", "without")]
        shown = wording.flop if say == "flop" else wording.count
        return wording.NOTHING if wording.missing(row["target"]) else " / ".join(map(shown, both))

    return Table(
        "transfer-saving",
        "Trials and compute that the search needed with transfer, and without",
        saved,
        [
            Column("Cell", lambda row: row["cell"]),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Trials with it, to match the best without", lambda row: told(row, "with"), True),
            Column("Trials without it, to match the best with", lambda row: told(row, "without"), True),
            Column("Trials to what both reached, with / without", lambda row: pair(row, "trials", "count"), True),
            Column("Times", lambda row: wording.number(row["trials_factor"], 2), True),
            Column("Compute to what both reached", lambda row: pair(row, "flops", "flop"), True),
            Column("Times", lambda row: wording.number(row["flops_factor"], 2), True),
            Column("Run", lambda row: _came(row)),
        ],
        group="family",
        tall=True,
    )


def _came(row: Row) -> Markup | str:
    return wording.NOTHING if wording.missing(row["trial_with"]) else trial_link(row["trial_with"], "with")


def _method(context: Context, saved: pd.DataFrame | None) -> Markup:
    text = (
        "The predicted learning rate and batch size follow a law through the best trials of the smaller cells of the "
        "family; the rest is taken over from the nearest of them. The factor is predicted over best-found; where the "
        "best trial has another optimizer there is none, for each has rates of its own. The search goes on from the "
        "prediction, so what it finds best may owe something to it. Rank 1 is the best trial of the cell, after "
        "as many epochs as all were trained for."
    )
    if saved is None:
        return paragraph(text)
    return paragraph(
        text + " Both searches of a cell are cut to the same number of trials and raced to what both reached: the end "
        "of the one that came less far. Trials count in the order in which they were asked, whatever became of them: "
        "sampled, predicted, copied, stopped, diverged, failed. {} to which nothing was transferred are left out, for "
        "there both searches begin alike. The typical cell is the middle of the averages of all pairs, its interval "
        "that of the signed-rank test, which takes cells as independent. That larger networks wait for smaller ones "
        "is not counted.",
        wording.plural(head_start.untouched(context.frames), "cell"),
    )
