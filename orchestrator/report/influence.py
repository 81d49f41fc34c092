"""How much each hyperparameter mattered. Numbers only.

Method: every trial is ranked within its cell (so that sizes, data fractions and their different levels drop out;
diverged trials rank last). The trials of a family are then grouped by a hyperparameter's value (numbers into four
groups of equal count) and epsilon squared, the share of the variance of the ranks that the grouping explains,
corrected for chance, is its importance (T. L. Kelley, PNAS 21, 1935; the one-way analysis of variance). It sees each
hyperparameter alone, not interactions. A permutation test tells what chance alone would reach. Beside it stand two
measures of Optuna (search/importance), over the same ranks: fANOVA and PED-ANOVA; neither tells what is chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from orchestrator.records import DIVERGED, ENDED, FAILED
from orchestrator.report.frames import Frames
from orchestrator.search.importance import importances

GROUPS = 4
FEWEST_TRIALS = 20
SHUFFLES = 999
CHANCE = 0.05


@dataclass(frozen=True)
class Influence:
    """`share` in [0, 1]; `p` is the share of shuffles that did as well, times the number of hyperparameters looked at.

    `fanova`: the share by fANOVA, None where it is conditional; `ped_anova`: among all hyperparameters, its share of
    what tells the best tenth of the trials apart. All are None with too few trials.
    """

    family: str
    hyperparameter: str
    trials: int
    share: float | None
    p: float | None
    fanova: float | None = None
    ped_anova: float | None = None

    @property
    def stands_out(self) -> bool:
        return self.p is not None and self.p < CHANCE


def ranked(frames: Frames) -> pd.DataFrame:
    """The ended trials of the search with `rank` in [0, 1] within their cell, 1 the best; failed ones are left out."""
    search = frames.search
    ended = search[search["status"].isin(ENDED) & (search["status"] != FAILED)].copy()
    goodness = ended["value"] if frames.direction == "max" else -ended["value"]
    ended["goodness"] = goodness.where((ended["status"] != DIVERGED) & goodness.notna(), -np.inf)
    in_cell = ended.groupby("cell")["goodness"]
    count = in_cell.transform("size")
    ended["rank"] = ((in_cell.rank() - 1) / (count - 1).clip(lower=1)).where(count > 1)
    return ended.dropna(subset=["rank"])


def influences(frames: Frames) -> list[Influence]:
    """One entry per family and varied hyperparameter, most influential first within the family."""
    trials = ranked(frames)
    found: list[Influence] = []
    for family in frames.families:
        rows = trials[trials["family"] == family]
        entries = [
            _influence(family, name, rows)
            for name in frames.hyperparameters
            if rows[f"config.{name}"].map(str).nunique() > 1
        ]
        looked_at = sum(entry.p is not None for entry in entries)
        entries = [replace(entry, p=entry.p and min(1.0, entry.p * looked_at)) for entry in entries]
        entries = _with_optunas(frames, rows, entries)
        found += sorted(entries, key=lambda entry: -1 if entry.share is None else entry.share, reverse=True)
    return found


def _influence(family: str, name: str, rows: pd.DataFrame) -> Influence:
    active = rows[rows[f"config.{name}"].notna()]
    if len(active) < FEWEST_TRIALS:
        return Influence(family, name, len(active), None, None)
    groups = grouped(active[f"config.{name}"])
    if groups.max() == 0:
        return Influence(family, name, len(active), None, None)
    share, p = epsilon_squared(groups, active["rank"].to_numpy(float))
    return Influence(family, name, len(active), share, p)


def _with_optunas(frames: Frames, rows: pd.DataFrame, entries: list[Influence]) -> list[Influence]:
    """The entries of one family with what fANOVA and PED-ANOVA say of the same `rows`."""
    if len(rows) < FEWEST_TRIALS:
        return entries
    columns = {one.hyperparameter: _plain(frames, rows, one.hyperparameter) for one in entries}
    said = importances(columns, rows["rank"].to_list())
    return [
        one
        if one.share is None
        else replace(one, fanova=said[one.hyperparameter].fanova, ped_anova=said[one.hyperparameter].ped_anova)
        for one in entries
    ]


def _plain(frames: Frames, rows: pd.DataFrame, name: str) -> list[float | str | None]:
    """Values as search/importance takes them: words for choices, logarithms of what is drawn on such a scale."""
    known = [None if value is None or value != value else value for value in rows[f"config.{name}"]]
    if frames.is_choice(name) or any(isinstance(value, str | bool) for value in known):
        return [None if value is None else str(value) for value in known]
    logarithmic = frames.is_log(name) and all(value > 0 for value in known if value is not None)
    return [None if value is None else math.log(value) if logarithmic else float(value) for value in known]


def grouped(values: pd.Series) -> np.ndarray:
    """Group numbers [n] from 0: four equal-count groups of a number, one group for each value of a choice."""
    is_number = values.map(lambda value: isinstance(value, int | float) and not isinstance(value, bool)).all()
    if is_number and values.nunique() > GROUPS:
        return np.asarray(pd.qcut(values.astype(float), GROUPS, labels=False, duplicates="drop"), dtype=int)
    return np.asarray(pd.factorize(values.map(str), sort=True)[0])


def epsilon_squared(groups: np.ndarray, ranks: np.ndarray) -> tuple[float, float]:
    """(share of variance explained beyond chance, permutation p) of `ranks` [n] by `groups` [n]."""
    n, k = len(ranks), int(groups.max()) + 1
    members = np.eye(k)[groups]
    counts = np.maximum(members.sum(axis=0), 1)
    centred = ranks - ranks.mean()
    total = float(centred @ centred)
    if total == 0 or n <= k:
        return 0.0, 1.0
    random = np.random.default_rng(0)
    shuffled = np.stack([centred, *(random.permutation(centred) for _ in range(SHUFFLES))])
    between = ((shuffled @ members) ** 2 / counts).sum(axis=1)
    share = 1 - (total - between[0]) / (n - k) / (total / (n - 1))
    # Tiny tolerance: equal sums can differ in the last bit.
    as_good = int((between[1:] >= between[0] * (1 - 1e-12)).sum())
    return max(0.0, float(share)), (1 + as_good) / (1 + SHUFFLES)
