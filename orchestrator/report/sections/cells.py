"""What is best in each cell, and with which hyperparameters? Chosen by validation, as the verdict's cells are."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from orchestrator.records import ENDED, SIZES
from orchestrator.report import verdict, wording
from orchestrator.report.pieces import (
    Column,
    Context,
    Row,
    Section,
    Table,
    configuration,
    family_mark,
    trial_link,
    trial_links,
)

# With a column of their own on the page: what people look for. All of them are columns of the CSV.
APART = ("learning_rate", "batch_size", "optimizer")


def section(context: Context) -> Section:
    frame = cells(context)
    return Section(
        question="What was best in each cell?", answer=_answer(context, frame), blocks=[_table(context, frame)]
    )


def cells(context: Context) -> pd.DataFrame:
    """The cells table with each best trial's hyperparameters, the trials of its search, and the ids of the finalists.

    `searched` and `searched_<status>` count trials of the search alone; `asked` and the others, as the journal does,
    also finalists.
    """
    frames = context.frames
    settings = [f"config.{name}" for name in frames.hyperparameters]
    best = frames.trials.set_index("trial")[settings]
    table = frames.cells.join(best, on="best_trial")
    finals = frames.finals.sort_values("number").groupby("cell")["trial"].agg(" ".join)
    table["searched"] = table["cell"].map(frames.search["cell"].value_counts()).fillna(0).astype(int)
    for status in ENDED:
        counts = frames.search.loc[frames.search["status"] == status, "cell"].value_counts()
        table[f"searched_{status}"] = table["cell"].map(counts).fillna(0).astype(int)
    table["final_trials"] = [finals.get(cell, "") for cell in table["cell"]]
    families = {family: place for place, family in enumerate(frames.families)}
    sizes = {size: place for place, size in enumerate(SIZES)}
    order = table.assign(_f=table["family"].map(families), _s=table["size"].map(sizes))
    return order.sort_values(["_f", "_s", "data_fraction", "cell"]).drop(columns=["_f", "_s"]).reset_index(drop=True)


def _answer(context: Context, frame: pd.DataFrame) -> Markup:
    finals, metric = verdict.tested(context.frames), context.frames.metric
    empty = int(frame["best"].isna().sum())
    without = f" {wording.plural(empty, 'cell')} of {len(frame)} found no usable configuration." if empty else ""
    if finals.empty:
        found = frame[frame["best"].notna()]
        if found.empty:
            return Markup("No cell has a result yet.")
        row = found.sort_values("best", ascending=context.frames.best_first(), kind="stable").iloc[0]
        return (
            Markup("{} has the best validation {}: {} ({}); nothing has been tested yet.").format(
                row["cell"], wording.metric(metric), wording.number(row["best"]), trial_link(row["best_trial"])
            )
            + without
        )
    best = verdict.best_cell(finals, context.frames.direction)
    text = Markup("By validation {} is the best of {}: its mean test {} is {}.").format(
        Markup("<strong>{}</strong>").format(best),
        wording.plural(finals["cell"].nunique(), "tested cell"),
        wording.metric(metric),
        _tested(finals, best, metric),
    )
    lead = _leader(context, finals)
    if lead != best:
        text += Markup(
            " The family that is ahead on test has, also chosen by validation, <strong>{}</strong>: {}."
        ).format(lead, _tested(finals, lead, metric))
    return text + without


def _leader(context: Context, finals: pd.DataFrame) -> str:
    """The cell of the family that the verdict names first."""
    families = [finals[finals["family"] == family] for family in context.frames.families]
    chosen = [verdict.best_cell(rows, context.frames.direction) for rows in families if len(rows)]
    means = finals.groupby("cell")[f"test_{context.frames.metric}"].mean()
    best = max if context.frames.direction == "max" else min
    return best(chosen, key=lambda cell: float(means[cell]))


def _tested(finals: pd.DataFrame, cell: str, metric: str) -> Markup:
    rows = finals[finals["cell"] == cell]
    return Markup("{} over {} ({})").format(
        wording.number(float(rows[f"test_{metric}"].mean())),
        wording.plural(len(rows), "seed"),
        trial_links(list(rows["trial"])),
    )


def _table(context: Context, frame: pd.DataFrame) -> Table:
    metric = wording.metric(context.frames.metric)

    def setting(name: str) -> Column:
        return Column(name.replace("_", " "), lambda row: wording.setting(row[f"config.{name}"]), True)

    apart = [name for name in APART if name in context.frames.hyperparameters]
    rest = [name for name in context.frames.hyperparameters if name not in apart]
    counted = frame["params_without_embeddings"].notna() & (frame["params_without_embeddings"] != frame["params"])
    bare = Column("… without embeddings", lambda row: wording.count(row["params_without_embeddings"]), True)
    other = frame["best_params"].notna() & (frame["best_params"] != frame["params"])
    own = Column("… of the best", lambda row: wording.count(row["best_params"]), True)
    return Table(
        "cells",
        f"Every cell: its size with the family's defaults; hyperparameters of its best trial by validation {metric}",
        frame,
        [
            Column("Cell", lambda row: family_mark(context, row["family"], row["cell"])),
            Column("Parameters", lambda row: wording.count(row["params"]), True),
            *([bare] if counted.any() else []),
            *([own] if other.any() else []),
            Column("Rows", lambda row: wording.count(row["train_samples"]), True),
            Column("FLOP a row", lambda row: wording.short(row["flops"]), True),
            Column("Search trials", _counts, True),
            Column(f"Validation {metric}", lambda row: _best(row), True),
            Column(f"Test {metric}", _test, True),
            Column("Finalists", lambda row: trial_links(row["final_trials"].split())),
            *(setting(name) for name in apart),
            Column("The rest", lambda row: configuration({name: row[f"config.{name}"] for name in rest}), words=True),
        ],
        group="family",
        tall=True,
    )


def _best(row: Row) -> Markup | str:
    if wording.missing(row["best"]):
        return wording.NOTHING
    return trial_link(row["best_trial"], wording.number(row["best"]))


def _test(row: Row) -> str:
    if wording.missing(row["test"]):
        return wording.NOTHING
    spread = "" if wording.missing(row["test_sd"]) else f" ± {wording.number(row['test_sd'], 2)}"
    return f"{wording.number(row['test'])}{spread}"


def _counts(row: Row) -> Markup:
    counts = [f"{row[f'searched_{status}']} {status}" for status in ENDED if row[f"searched_{status}"]]
    return Markup('<span title="{}">{}</span>').format(", ".join(counts), row["searched"])
