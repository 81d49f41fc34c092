"""How many times the compute one family needs for the loss of another, and whether the order may change. Numbers only.

The laws are those of loss against training compute of the scaling section (`ladder`), read from each family's lower
envelope. Of a pair, the one whose law gives the smaller loss at the largest compute that both ran is ahead; the gain is
what the other one needs there for the same loss, over that compute (D. Hernandez and T. Brown 2020, arXiv 2005.04305,
for progress in algorithms). Beyond ten times what a family ran nothing is said but that it is more.
Beside it stands what was measured, with no law: losses at the largest common size, and within common compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from orchestrator.records import SIZES
from orchestrator.report import ladder
from orchestrator.report.ladder import PowerLaw
from orchestrator.report.scaling import few
from orchestrator.report.scaling.families import first_crossing

REPEATS = 4000
# How far beyond what was run a law is read, in times.
REACH = 10.0
RANKING = ("family", "cell", "loss", "flops", "trial", "cell_within", "loss_within", "flops_within", "trial_within")


@dataclass(frozen=True)
class Gain:
    """`behind` needs `times` the compute of `ahead` for its loss at `cost`, from `low` to `high`.

    They are infinite where that lies beyond REACH times what `behind` ran, which is `limit` times; and None where no
    law says, and `reason` why. `changes`: the probability that the order changes within what both ran and REACH times
    beyond; `crossing`: the compute at which the two laws cross, if they do there.
    """

    ahead: str
    behind: str
    cost: float
    times: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    changes: float | None = None
    crossing: float | None = None
    reason: str = ""

    @property
    def told(self) -> bool:
        return self.low is not None and self.low > 1


def laws(table: pd.DataFrame, families: Sequence[str]) -> list[PowerLaw]:
    """Loss against training compute, or why there is no law, one a family; `table`: `ladder.points`."""
    return [ladder.law_along(table, family, "flops") for family in families]


def gains(found: Sequence[PowerLaw], ends: Mapping[str, tuple[float, float]], confidence: float) -> list[Gain]:
    """Every pair of families; all intervals hold at once with that confidence (Bonferroni).

    ends: per family the smallest and the largest training compute along its envelope.
    """
    pairs = list(combinations([law for law in found if law.family in ends], 2))
    level = 1 - (1 - confidence) / max(len(pairs), 1)
    drawn = {law.family: _drawn(law, place) for place, law in enumerate(found) if law.fitted}
    return [_gain(a, b, ends, drawn, level) for a, b in pairs]


def ends_of(table: pd.DataFrame, families: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The smallest and the largest compute along the envelope of each family that has one."""
    rows = {family: ladder.along(table, family, "flops")["flops"] for family in families}
    return {family: (float(flops.min()), float(flops.max())) for family, flops in rows.items() if len(flops)}


def ranking(table: pd.DataFrame, families: Sequence[str]) -> pd.DataFrame:
    """One row a family with RANKING, best first, as measured: no law.

    cell, loss, flops, trial: at the largest size and data fraction that all families share; the same with `_within`:
    the best of each within the compute that each of them spent at least.
    """
    tested = [family for family in families if (table["family"] == family).any()]
    mine = table[table["family"].isin(tested)]
    shared = mine.groupby(["size", "data_fraction"])["family"].nunique()
    places = [key for key, count in shared.items() if count == len(tested)]
    common = max(places, key=lambda key: (SIZES.index(key[0]), key[1]), default=None)
    within = mine[mine["flops"] <= mine.groupby("family")["flops"].max().min() * (1 + 1e-9)]
    rows = []
    for family in tested:
        cells = mine[mine["family"] == family]
        at_size = cells[(cells["size"] == common[0]) & (cells["data_fraction"] == common[1])] if common else cells[:0]
        cheap = within[within["family"] == family]
        row: dict[str, object] = {"family": family}
        for part, suffix in ((at_size, ""), (cheap, "_within")):
            if len(part):
                first = part.loc[part["loss"].idxmin()]
                row |= {f"{key}{suffix}": first[key] for key in ("cell", "loss", "flops")}
                row[f"trial{suffix}"] = first["trials"][0]
        rows.append(row)
    made = pd.DataFrame(rows, columns=list(RANKING)).astype(dict.fromkeys(("loss", "loss_within"), float))
    return made.sort_values(["loss", "loss_within"], ignore_index=True)


def _drawn(law: PowerLaw, seed: int) -> np.ndarray:
    """E, A and α of a family's law [1 + REPEATS, 3]: as fitted, then as they may be."""
    assert law.fitted is not None
    made, names = law.fitted, law.fitted.law.names
    values = np.concatenate([made.model.natural(made.theta)[None], few.draws(made, REPEATS, seed)])
    floor = values[:, names.index("E")] if "E" in names else np.zeros(len(values))
    return np.stack([floor, values[:, names.index("A")], values[:, names.index("alpha")]], axis=1)


def _loss(drawn: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Loss [draws, costs]."""
    floor, scale, alpha = drawn.T[:, :, None]
    result: np.ndarray = floor + scale * cost[None, :] ** -alpha
    return result


def _cost(drawn: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The compute [draws] at which each draw comes to its loss [draws]; infinite where it never does."""
    floor, scale, alpha = drawn.T
    with np.errstate(all="ignore"):
        cost = ((loss - floor) / scale) ** (-1 / alpha)
    return np.where((loss > floor) & (alpha > 0), cost, np.inf)


def _gain(
    a: PowerLaw, b: PowerLaw, ends: Mapping[str, tuple[float, float]], drawn: Mapping[str, np.ndarray], level: float
) -> Gain:
    low, high = (pick(ends[law.family][side] for law in (a, b)) for side, pick in ((0, max), (1, min)))
    cost = np.array([high])
    lacking = [law for law in (a, b) if law.family not in drawn]
    if lacking:
        return Gain(a.family, b.family, high, reason=f"no law of {lacking[0].family}: {lacking[0].reason}")
    if low >= high:
        return Gain(a.family, b.family, high, reason="no compute that both spent: their ranges do not overlap")
    if _loss(drawn[a.family][:1], cost) > _loss(drawn[b.family][:1], cost):
        a, b = b, a
    first, second = drawn[a.family], drawn[b.family]
    times = _cost(second, _loss(first, cost)[:, 0]) / high
    limit = REACH * ends[b.family][1] / high
    times = np.where(times > limit, np.inf, times)
    bounds = np.quantile(times[1:], [(1 - level) / 2, (1 + level) / 2], method="nearest")
    grid = np.geomspace(low, REACH * high, 41)
    apart = _loss(first, grid) - _loss(second, grid)
    changes = float((np.diff(np.sign(apart[1:]), axis=1) != 0).any(axis=1).mean())
    crossing = first_crossing(grid, apart[0])
    return Gain(a.family, b.family, high, float(times[0]), float(bounds[0]), float(bounds[1]), limit,
                changes, crossing if np.isfinite(crossing) else None)  # fmt: skip
