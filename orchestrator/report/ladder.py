"""Loss against parameters, data and compute: the points, and the power law where they identify one. Numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import pandas as pd

from orchestrator.errors import UserError
from orchestrator.records import SIZES
from orchestrator.report import luck
from orchestrator.report.frames import Frames
from orchestrator.report.scaling import Estimate, Fit, FitOptions, Objective, Points, few, fit

AXES = ("params", "train_samples", "flops")
# Through three points some power law always runs nearly; a floor takes one parameter more.
FEWEST = 4
FEWEST_FOR_FLOOR = 6
# That a loss falls with compute is told where chance does as well in at most this share of so many shuffles.
CHANCE, SHUFFLES = 0.05, 999
# Each point is a mean over seeds of a tuned cell: there are no wild points to resist, and with so few of them a
# robust objective runs through some exactly and understates its error.
OBJECTIVE = Objective("squared")


@dataclass(frozen=True)
class PowerLaw:
    """loss = `floor` + `scale` · x^−`exponent` along one axis for one family.

    `exponent` is None where the points do not identify it; then `reason` says what is missing. `floor` is None where
    the law was fitted without one: the exponent is then the slope within the measured range, no more.
    `curve` is the fitted line over the measured range, (x [40], loss [40]); `fitted` the whole fit.
    """

    family: str
    axis: str
    points: int
    exponent: Estimate | None
    scale: Estimate | None
    floor: Estimate | None
    reason: str
    curve: tuple[np.ndarray, np.ndarray] | None
    fitted: Fit | None = None


def points(frames: Frames) -> pd.DataFrame:
    """One row a cell that has finalists: mean and spread over seeds of the test loss, and what the cell cost.

    Columns: cell, family, size, data_fraction, params, train_samples, flops (mean training FLOPs of a finalist), loss,
    loss_sd (NaN with one seed), luck_sd (of the cell's search; NaN where it is too short to tell), seeds, trials (their
    ids).
    """
    finals = frames.finals
    columns = [
        "cell",
        "family",
        "size",
        "data_fraction",
        "params",
        "train_samples",
        "flops",
        "loss",
        "loss_sd",
        "luck_sd",
        "seeds",
        "trials",
    ]
    if "test_loss" not in finals:
        return pd.DataFrame(columns=columns)
    finals = finals[np.isfinite(finals["test_loss"]) & (finals["test_loss"] > 0)]
    grouped = finals.sort_values("number").groupby("cell", sort=False)
    table = grouped.agg(
        family=("family", "first"),
        size=("size", "first"),
        data_fraction=("data_fraction", "first"),
        params=("params", "first"),
        flops=("flops", "mean"),
        loss=("test_loss", "mean"),
        loss_sd=("test_loss", "std"),
        seeds=("trial", "size"),
        trials=("trial", tuple),
    ).reset_index()
    told = [luck.of_family(frames, family) for family in frames.families]
    lucks = {cell: one.deviation for cells in told for cell, one in cells.items()}
    # It is told in the unit of the sweep's metric.
    known = frames.metric == "loss"
    table["luck_sd"] = table["cell"].map(lucks).astype(float) if known else np.nan
    table["train_samples"] = table["cell"].map(frames.cells.set_index("cell")["train_samples"]).astype(float)
    ranks = {"size": SIZES, "family": frames.families}
    table = table.sort_values(
        ["family", "data_fraction", "size", "cell"],
        key=lambda values: (
            values.map({word: place for place, word in enumerate(ranks[values.name])})
            if values.name in ranks
            else values
        ),
    )
    return table[columns].reset_index(drop=True)


def along(table: pd.DataFrame, family: str, axis: str) -> pd.DataFrame:
    """The points of one family from which its law along `axis` is read, in order of the axis.

    params: the largest data fraction; train_samples: the largest size; flops: the lower envelope, that is the points
    that no cheaper (or as cheap) point of the family beats.
    """
    mine = table[table["family"] == family]
    if mine.empty:
        return mine
    if axis == "params":
        mine = mine[mine["data_fraction"] == mine["data_fraction"].max()]
    elif axis == "train_samples":
        mine = mine[mine["params"] == mine["params"].max()]
    mine = mine.sort_values([axis, "loss"])
    if axis == "flops":
        best_before = mine["loss"].cummin().shift(fill_value=np.inf)
        mine = mine[mine["loss"] < best_before]
    return mine


def laws(table: pd.DataFrame, families: tuple[str, ...]) -> list[PowerLaw]:
    """A law, or why there is none, for every family along every axis."""
    return [law_along(table, family, axis) for axis in AXES for family in families]


def law_along(table: pd.DataFrame, family: str, axis: str) -> PowerLaw:
    """The law of one family along one axis, or why there is none."""
    rows, odd = along(table, family, axis), overtaken(table, family)
    if odd and rows[axis].nunique() >= FEWEST:
        larger, smaller = odd[0]
        reason = overtaking(larger, smaller)
        return PowerLaw(family, axis, len(rows), None, None, None, reason, None)
    found = power_law(rows, family, axis)
    if axis == "flops" and found.exponent and chance_of_falling(table[table["family"] == family]) > CHANCE:
        reason = "over all cells the loss does not fall with compute more than it may by chance"
        return PowerLaw(family, axis, len(rows), None, None, None, reason, None)
    return found


def chance_of_falling(cells: pd.DataFrame) -> float:
    """In what share of shuffles of the losses over the cells loss falls with compute at least as it does.

    Points that no cheaper one beats fall with compute however they were made; all of them together do not.
    """
    flops, losses = (np.log(cells[name].to_numpy(float)) for name in ("flops", "loss"))
    centred, random = flops - flops.mean(), np.random.default_rng(0)
    shuffled = np.array([random.permutation(losses) @ centred for _ in range(SHUFFLES)])
    return float((1 + (shuffled <= losses @ centred + 1e-12).sum()) / (1 + SHUFFLES))


def overtaken(table: pd.DataFrame, family: str) -> list[tuple[str, str]]:
    """Pairs (larger cell, smaller cell) in which more parameters and data gave clearly more loss, one a larger cell.

    Clearly: by two standard errors of the difference, of seeds and of the searches' luck, and by a fiftieth. Loss that
    falls with scale is what a power law says; where it does not, its exponent would only be that of the luckiest cells.
    """
    mine = table[table["family"] == family]
    seeds = mine["loss_sd"].fillna(0.0) ** 2 / mine["seeds"]
    error = (seeds + mine["luck_sd"].fillna(0.0) ** 2).to_numpy(float)
    params, rows, loss = (mine[name].to_numpy(float) for name in ("params", "train_samples", "loss"))
    cells, found = list(mine["cell"]), []
    for place, cell in enumerate(cells):
        smaller = (params <= params[place]) & (rows <= rows[place])
        smaller &= (params < params[place]) | (rows < rows[place])
        excess = loss[place] - loss - np.maximum(2 * np.sqrt(error + error[place]), 0.02 * loss)
        excess[~smaller] = -np.inf
        if excess.max() > 0:
            found.append((cell, cells[int(excess.argmax())]))
    return found


def overtaking(larger: str, smaller: str) -> str:
    """What such a pair means for a law: why it is so, the losses alone do not say."""
    return f"{larger} does worse than the smaller {smaller}, so size and data alone do not explain the loss"


def own_sizes(frames: Frames) -> tuple[float, float]:
    """The least and the greatest ratio of a finalist's own parameters to those of its size, where they are known."""
    ratios = (frames.finals["own_params"] / frames.finals["params"]).dropna()
    return (float(ratios.min()), float(ratios.max())) if len(ratios) else (1.0, 1.0)


def undone(frames: Frames) -> tuple[int, int]:
    """In how many cells, of all with finalists, at least half of these were at their best in their very last epoch."""
    finals = frames.finals
    last = (finals["best_epoch"] == finals["epochs"]).groupby(finals["cell"]).mean()
    return int((last >= 0.5).sum()), len(last)


def power_law(rows: pd.DataFrame, family: str, axis: str) -> PowerLaw:
    """Fit E + A·x^−α where there are points enough for a floor and they show one, else A·x^−α."""
    distinct = rows[axis].nunique()
    if distinct < FEWEST:
        return PowerLaw(family, axis, len(rows), None, None, None, _too_few(distinct), None)
    measured = Points({"N": rows[axis].to_numpy(float)}, rows["loss"].to_numpy(float))
    reason = ""
    for law in ("power_floor", "power") if distinct >= FEWEST_FOR_FLOOR else ("power",):
        try:
            found = few.restated(fit(law, measured, FitOptions(OBJECTIVE)))
        except UserError as error:
            reason = reason or str(error)
            continue
        alpha = found.parameters.get("alpha")
        if found.identified and _says_something(alpha):
            along_axis = np.geomspace(rows[axis].min(), rows[axis].max(), 40)
            curve = (along_axis, found.value({"N": along_axis}))
            scale, floor = found.parameters["A"], found.parameters.get("E")
            return PowerLaw(family, axis, len(rows), alpha, scale, floor, "", curve, found)
        # The reason of the simpler law is the one that still stands.
        if found.identified and alpha is not None:
            reason = (
                f"the {100 * found.options.level:g} % interval of the exponent, {alpha.low:.2g} to {alpha.high:.2g}, "
                "includes zero"
            ).replace("-", "−")
            continue
        reason = _in_terms_of(axis, found.reasons) or found.status.replace("_", " ")
    return PowerLaw(family, axis, len(rows), None, None, None, reason, None)


def _says_something(exponent: Estimate | None) -> TypeGuard[Estimate]:
    """Whether the exponent is given, with an interval that keeps off zero: a slope of unknown sign is no law."""
    if exponent is None or exponent.value is None or exponent.low is None or exponent.high is None:
        return False
    return exponent.low > 0 or exponent.high < 0


def improvement(table: pd.DataFrame, family: str, axis: str) -> float | None:
    """Loss at the smallest over loss at the largest point of the axis: 2 means halved. None with one point.

    Where several cells share a point, as those of several sweeps may, their mean.
    """
    losses = along(table, family, axis).groupby(axis)["loss"].mean()
    return None if len(losses) < 2 else float(losses.iloc[0] / losses.iloc[-1])


def _too_few(distinct: int) -> str:
    points_text = "one point" if distinct == 1 else f"{distinct or 'no'} points"
    return f"{points_text}: a power law needs {FEWEST} or more, and {FEWEST_FOR_FLOOR} or more to see a floor"


def _in_terms_of(axis: str, reasons: tuple[str, ...]) -> str:
    words: Mapping[str, str] = {"alpha": "the exponent"}
    text = reasons[0] if reasons else ""
    for symbol, word in words.items():
        text = text.replace(f"{symbol} ", f"{word} ", 1) if text.startswith(f"{symbol} ") else text
    return text
