"""What a sweep was spent on, and what of it was wasted. Numbers only.

Worker time is that for which workers were busy, loading, checkpoints and work done again included; runs that did not
note it are reckoned by training time. Compute is that of training, the epoch in which a trial broke off included, as
the budget counts it; that of epochs done again is not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestrator.records import COMPLETE, DIVERGED, FAILED, FINAL, PRUNED, SEARCH
from orchestrator.report.frames import Frames

# In the order in which they are shown: use → what a reader calls it.
USES: Mapping[str, str] = {
    "searched": "search to the end",
    "stopped": "search stopped early",
    "finalists": "finalists",
    "former": "finalists since surpassed",
    "diverged": "diverged",
    "failed": "failed",
    "repeated": "done again",
    "open": "not ended yet",
}
WASTE = ("diverged", "failed", "repeated")


def of_trials(frames: Frames) -> pd.DataFrame:
    """Per trial: trial, family, use, seconds of workers, of which `again` on work done again, and flops.

    Done again: where workers began with a trial more than once (a worker was lost, the driver was killed, it was
    paused), the time beyond what its epochs usually keep a worker busy for, by those of the family that began once.
    """
    trials = frames.trials
    busy, training = _column(trials, "worker_seconds"), trials["seconds"].fillna(0.0)
    busy = busy.where(busy > 0, training)
    flops = _column(trials, "flops_spent")
    once = (_column(trials, "attempts") <= 1) & trials["status"].isin((COMPLETE, PRUNED)) & (training > 0)
    usual = (busy / training)[once].groupby(trials["family"]).median()
    expected = training * trials["family"].map(usual).fillna(1.0)
    waste = trials["status"].isin((DIVERGED, FAILED))
    again = (busy - expected).clip(lower=0.0).where((_column(trials, "attempts") > 1) & ~waste, 0.0)
    return pd.DataFrame(
        {
            "trial": trials["trial"],
            "family": trials["family"],
            "use": [_use(kind, status) for kind, status in zip(trials["kind"], trials["status"], strict=True)],
            "seconds": busy - again,
            "again": again,
            "flops": flops.where(flops > 0, trials["flops"].fillna(0.0)),
        }
    )


def by_use(costs: pd.DataFrame, family: str | None = None) -> pd.DataFrame:
    """use (those that occur, in the order of USES), trials, worker_hours, flops."""
    mine = costs if family is None else costs[costs["family"] == family]
    table = mine.groupby("use").agg(trials=("trial", "size"), seconds=("seconds", "sum"), flops=("flops", "sum"))
    again = mine[mine["again"] > 0]
    if len(again):
        table.loc["repeated"] = [len(again), float(again["again"].sum()), 0.0]
    table = table.reindex([use for use in USES if use in table.index]).astype({"trials": int}).reset_index()
    return table.assign(worker_hours=table["seconds"] / 3600)[["use", "trials", "worker_hours", "flops"]]


def share_of_waste(table: pd.DataFrame, unit: str) -> float | None:
    """Of all `unit` ("worker_hours" or "flops"), what went into WASTE; None of nothing."""
    total = float(table[unit].sum())
    return float(table.loc[table["use"].isin(WASTE), unit].sum()) / total if total else None


def _use(kind: str, status: str) -> str:
    if status == DIVERGED:
        return "diverged"
    if status == FAILED:
        return "failed"
    if status not in (COMPLETE, PRUNED):
        return "open"
    if kind == SEARCH:
        return "searched" if status == COMPLETE else "stopped"
    return "finalists" if kind == FINAL else "former"


def _column(trials: pd.DataFrame, name: str) -> pd.Series:
    """A column of numbers, zero where it is missing."""
    if name not in trials:
        return pd.Series(0.0, index=trials.index)
    return pd.to_numeric(trials[name]).astype(float).fillna(0.0)
