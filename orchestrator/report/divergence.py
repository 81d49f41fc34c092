"""Where training diverged: which settings went with it, family by family. Numbers only.

Every trial of the search that ended by itself, by early stopping or by diverging is looked at. Its values of one
hyperparameter form groups, as in `influence`; epsilon squared of "diverged or not" by group, with its permutation test,
tells what went with divergence more than chance would. The group of the highest rate says where.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from orchestrator.records import DIVERGED, ENDED, FAILED, SEARCH
from orchestrator.report import influence
from orchestrator.report.frames import Frames

# Of either kind, diverged and not, before anything is said of what sets them apart.
FEWEST = 3


@dataclass(frozen=True)
class Rate:
    """Trials of one family in one group of a hyperparameter: numbers from `low` to `high`, or a choice's `value`.

    `bottom` and `top`: whether no group lies below, or above.
    """

    family: str
    hyperparameter: str
    value: object
    low: float | None
    high: float | None
    trials: int
    diverged: int
    bottom: bool = False
    top: bool = False

    @property
    def rate(self) -> float:
        return self.diverged / self.trials


@dataclass(frozen=True)
class Danger:
    """How much one hyperparameter had to do with divergence; `share` and `p` as in `influence.Influence`.

    `worst` is the group of the highest rate; `elsewhere` the rate among all other trials that have the hyperparameter.
    """

    family: str
    hyperparameter: str
    share: float
    p: float
    rates: tuple[Rate, ...]

    @property
    def stands_out(self) -> bool:
        return self.p < influence.CHANCE

    @property
    def worst(self) -> Rate:
        return max(self.rates, key=lambda one: one.rate)

    @property
    def elsewhere(self) -> float:
        others = [one for one in self.rates if one is not self.worst]
        trials = sum(one.trials for one in others)
        return sum(one.diverged for one in others) / trials if trials else 0.0


def outcomes(frames: Frames) -> pd.DataFrame:
    """The trials of the search that ended other than by a failure, with `wild`: whether they diverged."""
    trials = frames.trials
    chosen = (trials["kind"] == SEARCH) & trials["status"].isin(ENDED) & (trials["status"] != FAILED)
    return trials[chosen].assign(wild=trials["status"] == DIVERGED)


def dangers(frames: Frames) -> list[Danger]:
    """By family, what had most to do with divergence first; nothing of a family where too few diverged, or did not."""
    ended = outcomes(frames)
    found: list[Danger] = []
    for family in frames.families:
        rows = ended[ended["family"] == family]
        wild = int(rows["wild"].sum())
        if len(rows) < influence.FEWEST_TRIALS or min(wild, len(rows) - wild) < FEWEST:
            continue
        mine = [danger for name in frames.hyperparameters if (danger := _danger(family, name, rows))]
        mine = [replace(one, p=min(1.0, one.p * len(mine))) for one in mine]
        found += sorted(mine, key=lambda one: -one.share)
    return found


def _danger(family: str, name: str, rows: pd.DataFrame) -> Danger | None:
    active = rows[rows[f"config.{name}"].notna()]
    if len(active) < influence.FEWEST_TRIALS or active[f"config.{name}"].map(str).nunique() < 2:
        return None
    groups = influence.grouped(active[f"config.{name}"])
    if groups.max() == 0:
        return None
    share, p = influence.epsilon_squared(groups, active["wild"].to_numpy(float))
    rates = [_rate(family, name, part) for _, part in active.groupby(groups, sort=True)]
    if all(one.low is not None for one in rates):
        rates.sort(key=lambda one: one.low or 0.0)
        rates[0], rates[-1] = replace(rates[0], bottom=True), replace(rates[-1], top=True)
    return Danger(family, name, share, p, tuple(rates))


def _rate(family: str, name: str, part: pd.DataFrame) -> Rate:
    values = part[f"config.{name}"]
    number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    low, high = (float(values.min()), float(values.max())) if number else (None, None)
    value = values.iloc[0] if values.map(str).nunique() == 1 else None
    return Rate(family, name, value, low, high, len(part), int(part["wild"].sum()))
