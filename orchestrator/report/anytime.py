"""What a search of k trials would have come to, against what it costs. Numbers only.

The expected best of k trials drawn from the K that there were, without putting any back: unbiased for a search of k
trials that are drawn alike (Dodge et al. 2019, arXiv 1909.03004, put them back, which is biased; Tang et al. 2020,
arXiv 2004.13705). A trial counts with what it cost, whatever became of it: stopped, diverged or failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

from orchestrator.records import COMPLETE, ENDED, PRUNED, SAMPLED
from orchestrator.report.frames import Frames

# Numbers of trials at which a curve is drawn, at most.
POINTS = 60
COLUMNS = ("family", "cell", "trials", "worker_hours", "flops", "expected_best")


@dataclass(frozen=True)
class Search:
    """The search of one cell, by its ended trials.

    `finished`: best validation values of those that ran to their end; `stopped`: of those that were stopped early;
    `count`: of all, also those that diverged or failed. `worker_hours` (of which training, where the run did not
    note more) and `flops` (training) are of all of them. `led`: some of its trials are what the searches of smaller
    cells led to, whose spend is not in it.
    """

    finished: tuple[float, ...]
    stopped: tuple[float, ...]
    count: int
    worker_hours: float
    flops: float
    led: bool = False

    def ordered(self, direction: str) -> list[float]:
        """All values from the worst to the best, as a winner is chosen: what was stopped wins only where none ended."""
        down = direction == "min"
        return [*sorted(self.stopped, reverse=down), *sorted(self.finished, reverse=down)]


def search_of(frames: Frames, cell: str) -> Search:
    """The search of a cell, as far as its trials have ended."""
    rows = frames.search[(frames.search["cell"] == cell) & frames.search["status"].isin(ENDED)]
    busy = pd.to_numeric(rows["worker_seconds"]).astype(float)
    values = {
        status: tuple(rows.loc[(rows["status"] == status) & rows["value"].notna(), "value"].astype(float))
        for status in (COMPLETE, PRUNED)
    }
    hours = float(busy.where(busy > 0, rows["seconds"]).sum()) / 3600
    # What was spent counts the epoch in which a trial broke off.
    flops = (
        rows["flops_spent"].where(rows["flops_spent"] > 0, rows["flops"]) if "flops_spent" in rows else rows["flops"]
    )
    led = bool((rows["origin"] != SAMPLED).any())
    return Search(values[COMPLETE], values[PRUNED], len(rows), hours, float(flops.sum()), led)


def expected_best(values: Sequence[float], count: int, trials: Sequence[int]) -> np.ndarray:
    """Expected best value of k of `count` trials, for each k in `trials`; `values` from the worst to the best.

    Trials without a value (`count` less the number of `values`) count as draws that came to nothing; that all k draws
    come to nothing is left out. NaN without any value.
    """
    if not len(values):
        return np.full(len(trials), np.nan)
    rank = np.arange(count - len(values) + 1, count + 1)
    result = []
    for k in trials:
        # The one of this rank is the best of k draws in C(rank − 1, k − 1) of the C(count, k) ways.
        ways = np.where(rank >= k, gammaln(rank) - gammaln(np.maximum(rank - k, 0) + 1), -np.inf)
        weight = np.exp(ways - ways.max())
        result.append(float(weight @ np.asarray(values, float) / weight.sum()))
    return np.array(result)


def gain(search: Search, trials: int, direction: str) -> float:
    """How much better the best of all trials is expected to be than that of `trials` of them; never negative."""
    if trials >= search.count:
        return 0.0
    values = search.ordered(direction)
    fewer, all_of_them = expected_best(values, search.count, [max(trials, 1), search.count])
    more = float(all_of_them - fewer)
    return max(more if direction == "max" else -more, 0.0)


def curve(search: Search, family: str, cell: str, direction: str) -> pd.DataFrame:
    """Expected best validation value against spend, at up to 60 numbers of trials."""
    most = max(search.count, 1)
    trials = np.unique(np.round(np.geomspace(1, most, POINTS)).astype(int))[: search.count]
    share = trials / most
    return pd.DataFrame(
        {
            "family": family,
            "cell": cell,
            "trials": trials,
            "worker_hours": share * search.worker_hours,
            "flops": share * search.flops,
            "expected_best": expected_best(search.ordered(direction), search.count, trials.tolist()),
        },
        columns=list(COLUMNS),
    )


def at_spend(curves: pd.DataFrame, unit: str = "worker_hours") -> tuple[float, dict[str, float]]:
    """The largest spend that every family reached, and each family's expected best there (the last whole trial)."""
    known = curves[curves["expected_best"].notna()]
    if known.empty:
        return 0.0, {}
    common = float(known.groupby("family")[unit].max().min())
    within = known[known[unit] <= common * (1 + 1e-9)]
    return common, {str(family): float(rows["expected_best"].iloc[-1]) for family, rows in within.groupby("family")}
