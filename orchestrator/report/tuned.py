"""The best learning rate and batch size of each cell, and how they move with parameters and data. Numbers only.

Law: best = c · N^a · D^b (Bi et al. 2024, arXiv 2401.02954; Li et al. 2025, arXiv 2503.04715), with N the parameters
and D the training rows; where all cells of a family have one N or one D, a power of the other alone. A cell's best
value is the geometric mean of its best few trials, for that of the single best is mostly luck.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import t

from orchestrator.errors import UserError
from orchestrator.records import SAMPLED, SIZES
from orchestrator.report import influence
from orchestrator.report.frames import Frames
from orchestrator.report.scaling import Estimate, Fit, FitOptions, Objective, Points, fit

NAMES = ("learning_rate", "batch_size")
AXES = {"params": "N", "train_samples": "D"}
BEST_OF = 3
LEVEL = 0.95
# Cells: one parameter more than the law has, and a few to tell scatter from trend.
FEWEST = {1: 4, 2: 6}
# Within this share of the range that was tried, from either end, the best may lie beyond it.
EDGE = 0.1
COLUMNS = ("family", "cell", "size", "data_fraction", "hyperparameter", "optimizer", "params", "train_samples", "best",
           "low", "high", "trials", "at_edge", "best_trial")  # fmt: skip


@dataclass(frozen=True)
class Trend:
    """How the best value of one hyperparameter moves along one axis, for one family.

    power: of the axis; None where nothing is known, and `reason` says why. It is *told* where the interval keeps off
    zero: then the best value rises or falls. `asked`: whether the axis was varied; `fitted`: the law, if it was found.
    """

    family: str
    hyperparameter: str
    axis: str
    cells: int
    power: Estimate | None
    reason: str
    asked: bool = False
    fitted: Fit | None = None

    @property
    def told(self) -> bool:
        low, high = self.ends
        return low is not None and high is not None and (low > 0 or high < 0)

    @property
    def ends(self) -> tuple[float | None, float | None]:
        return (self.power.low, self.power.high) if self.power else (None, None)

    @property
    def tenfold(self) -> tuple[float, float, float] | None:
        """The factor, with its interval, by which the best value changes when the axis grows ten times."""
        if self.power is None or self.power.value is None or self.power.low is None or self.power.high is None:
            return None
        return 10**self.power.value, 10**self.power.low, 10**self.power.high


def points(frames: Frames) -> pd.DataFrame:
    """One row a cell and hyperparameter, with COLUMNS: the best value, and the range `low` to `high` of the best few.

    What smaller cells led to does not count, for it follows the law that it was predicted by. Where optimizers were
    searched too, only trials of one of them count, for each has rates of its own: of that which
    is the best trial's in most cells of the family. Cells with fewer than BEST_OF such trials are left out.
    """
    trials = influence.ranked(frames)
    trials = trials[np.isfinite(trials["goodness"]) & (trials["origin"] == SAMPLED)]
    samples = frames.cells.set_index("cell")["train_samples"].astype(float).to_dict()
    rows = []
    for name in (name for name in NAMES if name in frames.hyperparameters):
        for family in frames.families:
            mine = trials[(trials["family"] == family) & trials[f"config.{name}"].notna()]
            optimizer = _usual_optimizer(mine)
            if optimizer:
                mine = mine[mine["config.optimizer"] == optimizer]
            parts = [cell for _, cell in mine.groupby("cell") if len(cell) >= BEST_OF]
            rows += [_point(samples, cell, name, optimizer, mine[f"config.{name}"]) for cell in parts]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    places = {word: place for words in (NAMES, frames.families, SIZES) for place, word in enumerate(words)}
    return table.sort_values(
        ["hyperparameter", "family", "data_fraction", "size"],
        key=lambda values: values if values.name == "data_fraction" else values.map(places),
        ignore_index=True,
    )


def _usual_optimizer(mine: pd.DataFrame) -> str:
    if "config.optimizer" not in mine or mine.empty:
        return ""
    first = mine.sort_values(["rank", "trial"], ascending=[False, True]).groupby("cell").head(1)
    counts = first["config.optimizer"].map(str).value_counts()
    return str(min(counts[counts == counts.max()].index))


def _point(
    samples: Mapping[str, float], cell: pd.DataFrame, name: str, optimizer: str, tried_in_all: pd.Series
) -> dict[str, object]:
    best = cell.sort_values(["rank", "trial"], ascending=[False, True]).head(BEST_OF)
    values = best[f"config.{name}"].to_numpy(float)
    tried = np.log(tried_in_all.to_numpy(float))
    middle = float(np.log(values).mean())
    place = (middle - tried.min()) / (np.ptp(tried) or 1.0)
    first = cell.iloc[0]
    return {
        **{key: first[key] for key in ("family", "cell", "size", "data_fraction", "params")},
        "hyperparameter": name,
        "optimizer": optimizer,
        "train_samples": samples[first["cell"]],
        "best": float(np.exp(middle)),
        "low": float(values.min()),
        "high": float(values.max()),
        "trials": len(cell),
        "at_edge": bool(np.ptp(tried) > 0 and not EDGE <= place <= 1 - EDGE),
        "best_trial": best["trial"].iloc[0],
    }


def trends(table: pd.DataFrame, families: tuple[str, ...]) -> list[Trend]:
    """A trend, or why there is none, of every hyperparameter along both axes, for every family that has points.

    All intervals hold at once with a probability of LEVEL (Bonferroni): of a dozen questions one would else be answered
    by chance.
    """
    found = []
    for name in (name for name in NAMES if (table["hyperparameter"] == name).any()):
        for family in families:
            found += _trends(table[(table["hyperparameter"] == name) & (table["family"] == family)], family, name)
    # Those that the fit refuses count too: they are refused for being far from certain.
    asked = sum(one.asked for one in found)
    return [replace(one, power=_power(one, 1 - (1 - LEVEL) / asked)) if one.fitted else one for one in found]


def _trends(rows: pd.DataFrame, family: str, name: str) -> list[Trend]:
    varied = [axis for axis in AXES if rows[axis].nunique() > 1]
    made, reason = _fitted(rows, name, varied)
    trends = []
    for axis in AXES:
        if axis in varied:
            trends.append(Trend(family, name, axis, len(rows), None, reason, True, made))
        else:
            why = "all cells have the same" if len(rows) else f"no cell has {BEST_OF} trials to compare"
            trends.append(Trend(family, name, axis, len(rows), None, why))
    return trends


def _fitted(rows: pd.DataFrame, name: str, varied: list[str]) -> tuple[Fit | None, str]:
    """The law through the points of one family, or why it says nothing."""
    if not varied:
        return None, "nothing was varied"
    if len(rows) < FEWEST[len(varied)]:
        alike = " with the same optimizer" if rows["optimizer"].any() else ""
        return None, f"{len(rows)} cells with {BEST_OF} trials or more{alike}: {FEWEST[len(varied)]} are needed"
    if rows["best"].nunique() == 1:
        return None, "the same value is best in every cell"
    columns = {AXES[axis]: rows[axis].to_numpy(float) for axis in varied}
    law = name if len(varied) == 2 else "power"
    try:
        made = fit(law, Points(columns, rows["best"].to_numpy(float)), FitOptions(Objective("squared")))
    except UserError as error:
        return None, str(error)
    if not made.identified:
        return None, _in_words(made.reasons[0]) if made.reasons else made.status.replace("_", " ")
    return made, ""


def _in_words(reason: str) -> str:
    """A reason of the fit without its symbols."""
    words = {"a is": "the trend with parameters is", "b is": "the trend with data is", "alpha is": "the trend is"}
    start = next((symbol for symbol in words if reason.startswith(symbol)), "")
    reason = words[start] + reason.removeprefix(start) if start else reason
    return re.sub(
        r"uncertain by .*", "too uncertain to print; more cells or trials, or a wider range, would tell", reason
    )


def _power(trend: Trend, level: float) -> Estimate:
    """The power of the axis: a or b of c·N^a·D^b, and of A·x^-alpha the same with its sign turned.

    The law is linear in its logarithms, so Student's interval is exact for normal scatter; that of the fit is made for
    many rows and too narrow for a handful of cells.
    """
    made = trend.fitted
    assert made is not None
    logs = [np.log(values) for values in made.points.columns.values()]
    design = np.stack([np.ones(len(made.points)), *logs], axis=1)
    freedom = len(design) - design.shape[1]
    variance = float(np.sum(made.residuals**2)) / freedom
    place = 1 + list(made.points.columns).index(AXES[trend.axis])
    error = float(np.sqrt(variance * np.linalg.inv(design.T @ design)[place, place]))
    joint = made.law.name in NAMES
    value = made.parameters[("a" if trend.axis == "params" else "b") if joint else "alpha"].value
    if value is None:
        return Estimate()
    value = value if joint else -value
    reach = float(t.ppf(0.5 + level / 2, freedom)) * error
    return Estimate(value, value - reach, value + reach, error)
