"""What went wrong: diverged and failed trials, and what the diverged had in common."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

from orchestrator.records import COMPLETE, DIVERGED, FAILED, PRUNED
from orchestrator.report import wording
from orchestrator.report.pieces import Column, Context, Section, Table, family_mark, trial_link

MOST_ROWS = 100


def section(context: Context) -> Section:
    trials = context.frames.trials
    broken = trials[trials["status"].isin((DIVERGED, FAILED))]
    settings = [f"config.{name}" for name in context.frames.hyperparameters]
    frame = broken[["trial", "cell", "family", "status", "epochs", "reason", *settings]].reset_index(drop=True)
    return Section(
        question="What went wrong?",
        answer=_answer(context, frame),
        blocks=[_table(context, frame)],
        numbers={"broken_trials": len(frame)},
        answered=frame.empty,
    )


def _answer(context: Context, frame: pd.DataFrame) -> Markup:
    trials = context.frames.trials
    total = len(trials)
    diverged, failed = (int((frame["status"] == status).sum()) for status in (DIVERGED, FAILED))
    if not len(frame):
        return Markup("Nothing: none of {} diverged or failed.").format(wording.plural(total, "trial"))
    parts = [f"{count:,} {word}" for count, word in ((diverged, "diverged"), (failed, "failed")) if count]
    text = Markup("Of {}, {} ({}).").format(
        wording.plural(total, "trial"), wording.listing(parts), wording.percent(len(frame) / total)
    )
    rate = "config.learning_rate"
    if rate in trials and diverged:
        fine = pd.to_numeric(trials.loc[trials["status"].isin((COMPLETE, PRUNED)), rate]).median()
        wild = pd.to_numeric(frame.loc[frame["status"] == DIVERGED, rate]).median()
        if pd.notna(fine) and pd.notna(wild):
            text += Markup(" The median learning rate of the diverged was {}, of the others {}.").format(
                wording.number(float(wild), 2), wording.number(float(fine), 2)
            )
    return text


def _table(context: Context, frame: pd.DataFrame) -> Table:
    shown = frame.head(MOST_ROWS)
    more = f" (the first {MOST_ROWS} of {len(frame):,}; the CSV holds all)" if len(frame) > MOST_ROWS else ""

    def setting(name: str) -> Column:
        return Column(name.replace("_", " "), lambda row: wording.setting(row[f"config.{name}"]), True)

    numeric = [name for name in ("learning_rate", "batch_size", "optimizer") if name in context.frames.hyperparameters]
    return Table(
        "failures",
        f"Diverged and failed trials{more}",
        frame,
        [
            Column("Run", lambda row: trial_link(row["trial"])),
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Status", lambda row: Markup('<span class="status {0}">{0}</span>').format(row["status"])),
            Column("Epochs", lambda row: wording.count(row["epochs"]), True),
            Column("Reason", lambda row: str(row["reason"] or wording.NOTHING)[:200], words=True),
            *(setting(name) for name in numeric),
        ],
        rows=shown,
        tall=True,
    )
