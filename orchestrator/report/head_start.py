"""What it was worth that larger cells began where smaller ones led (`transfer: true`). Numbers only.

How far the prediction missed: the predicted value over that of the best trial of the cell, and, where the same ladder
was also searched without transfer, over the best of that search, which the prediction could not draw to itself.

What it saved: both searches of a cell are cut to the same number of trials and raced to what both reached, the end of
the one that came less far. Were transfer worth nothing, the two would be alike, and a ratio of the trials that they
needed as likely as its inverse, which is all that the signed-rank test over cells asks for.
A trial counts whatever became of it, the predicted and the copied ones too. Cells without any are left out: the
smallest ones begin like those of the other ladder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.errors import UserError
from orchestrator.records import COMPLETE, COPIED, ENDED, FAILED, FINISHED, PREDICTED, PRUNED
from orchestrator.report import costs
from orchestrator.report.frames import Frames, Header, data_card, metric_of
from orchestrator.report.tuned import NAMES

CELL = ("cell", "family", "size", "data_fraction", "params", "train_samples")
MISSES = (*CELL, "hyperparameter", "predicted", "best", "factor", "best_without", "factor_without", "rank", "trials",
          "predicted_trial", "best_trial")  # fmt: skip
# `reached_…`: trials until a search had what the other one had at its end; empty where it never came to that.
SAVINGS = (*CELL, "trials", "best_with", "best_without", "reached_with", "reached_without", "target", "trials_with",
           "trials_without", "trials_factor", "flops_with", "flops_without", "flops_factor", "trial_with",
           "trial_without")  # fmt: skip
# What two sweeps must share for their searches to be compared.
ALIKE = ("max_epochs", "patience", "sampler", "early_stopping")


@dataclass(frozen=True)
class Typical:
    """The factor of a typical one of `count` cells, with its interval; no ends where they are too few for one."""

    count: int
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def told(self) -> bool:
        """Whether the interval tells it from 1."""
        return self.low is not None and self.high is not None and (self.low > 1 or self.high < 1)


@dataclass(frozen=True)
class Course:
    """The trials of a cell's search [n] in the order in which they were asked, with all the compute spent on each.

    `early`: the best value until the epoch to which all that trained came.
    """

    trial: np.ndarray
    status: np.ndarray
    value: np.ndarray
    flops: np.ndarray
    early: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Course:
        """From the columns of these names; arrays, for there are many cells, and a table is slow to ask little of."""
        words = (rows[name].to_numpy(object) for name in ("trial", "status"))
        return cls(*words, *(rows[name].to_numpy(float) for name in ("value", "flops", "early")))

    @property
    def over(self) -> bool:
        return bool(np.isin(self.status, ENDED).all())

    def first(self, count: int) -> Course:
        return Course(*(getattr(self, field.name)[:count] for field in fields(self)))


def ran_with_transfer(frames: Frames) -> bool:
    return any(map(_with_transfer, frames.headers))


def check(frames: Frames, twin: Frames, folder: Path) -> None:
    """Whether `twin`, read from `folder`, is a finished search of the same ladder without transfer.

    It may lack some of the families.

    Raises:
        UserError: saying what differs.
    """
    header, valid = twin.headers[0], "without_transfer: name a finished sweep of the same ladder without transfer"
    if not ran_with_transfer(frames):
        raise UserError("without_transfer: none of the report's sweeps ran with `transfer: true`; leave it out")
    if _with_transfer(header):
        raise UserError(f"{folder}: ran with `transfer: true` itself; {valid}")
    if header.get("state") != FINISHED:
        raise UserError(f"{folder}: has not finished; {valid}")
    for other in filter(_with_transfer, frames.headers):
        differs = _difference(other, header)
        if differs:
            raise UserError(f"{folder}: its {differs} not that of {other['name']}; {valid}")
    known = {_scale(row) for row in _rows(twin.cells)}
    transferred = frames.cells[frames.cells["cell"].isin(_transferred(frames)["cell"])]
    raced = transferred["family"].isin(twin.cells["family"])
    if not raced.any():
        raise UserError(f"{folder}: has none of the families that began with a prediction; {valid}")
    for row in _rows(transferred[raced]):
        if _scale(row) not in known:
            raise UserError(f"{folder}: has no cell like {row['cell']}, with the same parameters and rows; {valid}")


def misses(frames: Frames, twin: Frames | None = None) -> pd.DataFrame:
    """One row a larger cell and predicted hyperparameter, with MISSES, in the order of the cells.

    `factor` is predicted over best-found; it is empty where the best trial has another optimizer, for each has rates
    of its own, and where nothing has been found yet. `rank`: 1 is the best of the cell's `trials` that did not fail.
    """
    trials, others = _best_trials(frames), _best_trials(twin) if twin else {}
    elsewhere = {_scale(row): others.get(row["best_trial"]) for row in _rows(twin.cells)} if twin else {}
    search, courses = frames.search, _courses(frames)
    predicted = {row["cell"]: row for row in _rows(search[search["origin"] == PREDICTED])}
    found = []
    for cell in _rows(frames.cells):
        guess = predicted.get(cell["cell"])
        if guess is None:
            continue
        best, other = trials.get(cell["best_trial"]), elsewhere.get(_scale(cell))
        rank, count = _rank(courses[cell["cell"]], guess["trial"], frames.direction)
        for name in (name for name in NAMES if f"config.{name}" in guess and _known(guess[f"config.{name}"])):
            value = float(guess[f"config.{name}"])
            row = {key: cell[key] for key in CELL} | {"hyperparameter": name, "predicted": value}
            row |= dict(zip(("best", "factor"), _against(guess, best, name), strict=True))
            row |= dict(zip(("best_without", "factor_without"), _against(guess, other, name), strict=True))
            row |= {"rank": rank, "trials": count, "predicted_trial": guess["trial"]}
            found.append(row | {"best_trial": best["trial"] if best else None})
    return pd.DataFrame(found, columns=list(MISSES))


def miss(table: pd.DataFrame, name: str, column: str = "factor") -> float | None:
    """By which factor, up or down, the prediction of one hyperparameter was off in the median cell."""
    factors = table.loc[table["hyperparameter"] == name, column].astype(float).dropna()
    return float(np.exp(np.median(np.abs(np.log(factors))))) if len(factors) else None


def savings(frames: Frames, twin: Frames) -> pd.DataFrame:
    """One row a larger cell of the twin's families, with SAVINGS.

    What cannot be compared (a search is not over, or came to nothing) is NaN.
    The factors are what the search without transfer needed over what the one with it needed.
    """
    transferred = set(_transferred(frames)["cell"])
    others = {_scale(row): row["cell"] for row in _rows(twin.cells)}
    with_transfer, without = _courses(frames), _courses(twin)
    found = []
    for cell in _rows(frames.cells):
        if cell["cell"] in transferred and _scale(cell) in others:
            one, other = with_transfer[cell["cell"]], without[others[_scale(cell)]]
            raced = race(one, other, frames.direction) if one.over and other.over else {}
            found.append({key: cell[key] for key in CELL} | raced)
    table = pd.DataFrame(found, columns=list(SAVINGS))
    return table.astype(dict.fromkeys(SAVINGS[len(CELL) : -2], float))


def race(one: Course, other: Course, direction: str) -> dict[str, Any]:
    """Two searches of one cell, `one` with transfer.

    Values of trials that ran to their end count, as in the sweep; where either search has none of those, also values of
    stopped ones.
    """
    count = min(len(one.trial), len(other.trial))
    pair = [one.first(count), other.first(count)]
    counted = (COMPLETE,) if all((side.status == COMPLETE).any() for side in pair) else (COMPLETE, PRUNED)
    sign = 1.0 if direction == "max" else -1.0
    best = [np.maximum.accumulate(_worth(side, counted, direction)) for side in pair]
    if not count or not np.isfinite([reached[-1] for reached in best]).all():
        return {"trials": count}
    target = min(reached[-1] for reached in best)
    needed = [_first(reached, target) for reached in best]
    flops = [float(side.flops[:n].sum()) for side, n in zip(pair, needed, strict=True)]
    return {
        "trials": count,
        "best_with": sign * best[0][-1],
        "best_without": sign * best[1][-1],
        "reached_with": _first(best[0], best[1][-1]) if best[0][-1] >= best[1][-1] else None,
        "reached_without": _first(best[1], best[0][-1]) if best[1][-1] >= best[0][-1] else None,
        "target": sign * target,
        "trials_with": needed[0],
        "trials_without": needed[1],
        "trials_factor": needed[1] / needed[0],
        "flops_with": flops[0],
        "flops_without": flops[1],
        "flops_factor": flops[1] / flops[0] if flops[0] > 0 else None,
        "trial_with": pair[0].trial[needed[0] - 1],
        "trial_without": pair[1].trial[needed[1] - 1],
    }


def typical(factors: Sequence[float], confidence: float) -> Typical:
    """Pseudo-median of positive factors, on a logarithmic scale, with the interval of the signed-rank test.

    J. L. Hodges and E. L. Lehmann (Annals of Mathematical Statistics 34, 1963): the median of the averages of all
    pairs, and between which two of these averages the test rejects nothing. Equal factors make it wider, never shorter.
    """
    logs = np.log([factor for factor in factors if not np.isnan(factor)])
    if not len(logs):
        return Typical(0, None)
    averages = np.sort(np.add.outer(logs, logs)[np.triu_indices(len(logs))] / 2)
    outside = _rejected(len(logs), (1 - confidence) / 2)
    value = float(np.exp(np.median(averages)))
    if not outside:
        return Typical(len(logs), value)
    return Typical(len(logs), value, float(np.exp(averages[outside - 1])), float(np.exp(averages[-outside])))


def fewest(confidence: float) -> int:
    """Cells below which no interval has that confidence."""
    return next(count for count in range(1, 1000) if _rejected(count, (1 - confidence) / 2))


def _rejected(count: int, share: float) -> int:
    """How many of the smallest signed-rank sums (0, 1, …) have together at most that probability."""
    ways = np.ones(1)
    for rank in range(1, count + 1):
        ways = np.convolve(ways, [0.5, *np.zeros(rank - 1), 0.5])
    return int(np.searchsorted(np.cumsum(ways), share * (1 + 1e-12), side="right"))


def _with_transfer(header: Header) -> bool:
    return bool(header["spec"].get("transfer"))


def _difference(one: Header, other: Header) -> str:
    """What of two sweeps would make their searches incomparable, as "sampler is"."""
    if data_card(one).get("fingerprint") != data_card(other).get("fingerprint"):
        return "data are"
    if len({one.get("judge"), other.get("judge")} - {None}) > 1:
        return "judge of images is"
    if metric_of(one) != metric_of(other):
        return "metric is"
    named = next((key for key in ALIKE if one["spec"].get(key) != other["spec"].get(key)), "")
    spaces = other.get("spaces", {})
    family = next((name for name, space in one.get("spaces", {}).items() if spaces.get(name, space) != space), "")
    return f"{named} is" if named else f"search space of {family} is" if family else ""


def untouched(frames: Frames) -> int:
    """Cells of sweeps with transfer to whose search nothing was transferred."""
    names = [header["name"] for header in frames.headers if _with_transfer(header)]
    alone = len(frames.headers) == 1
    cells = {cell for cell in frames.cells["cell"] if alone or cell.split("/")[0] in names}
    return len(cells - set(_transferred(frames)["cell"]))


def _transferred(frames: Frames) -> pd.DataFrame:
    """The search's predicted and copied trials."""
    return frames.search[frames.search["origin"].isin((PREDICTED, COPIED))]


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _scale(cell: dict[str, Any]) -> tuple[Any, ...]:
    """What makes cells of two sweeps the same, whose ids may be named after the sweeps."""
    return tuple(cell[key] for key in CELL[1:])


def _known(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value) and value > 0


def _against(guess: dict[str, Any], best: dict[str, Any] | None, name: str) -> tuple[float | None, float | None]:
    """A best trial's value of a hyperparameter, and the prediction over it."""
    if best is None or not _known(best.get(f"config.{name}")):
        return None, None
    value = float(best[f"config.{name}"])
    alike = best.get("config.optimizer") == guess.get("config.optimizer")
    return value, float(guess[f"config.{name}"]) / value if alike else None


def _best_trials(frames: Frames) -> dict[str, dict[str, Any]]:
    """The best trial of each cell, by its id."""
    return {row["trial"]: row for row in _rows(frames.trials[frames.trials["trial"].isin(frames.cells["best_trial"])])}


def _rank(course: Course, trial: str, direction: str) -> tuple[int | None, int]:
    """The place of a trial among those of its cell's search that ended and did not fail; of diverged ones the last.

    By what each had at the epoch to which all of them came: the first trial of a cell is stopped by none, and what ran
    to its end is nearly always better than what did not.
    """
    counted = np.isin(course.status, ENDED) & (course.status != FAILED)
    mine = counted & (course.trial == trial)
    worth = _worth(course, (COMPLETE, PRUNED), direction, early=True)
    return (1 + int((worth[counted] > worth[mine][0]).sum()) if mine.any() else None), int(counted.sum())


def _worth(course: Course, counted: Sequence[str], direction: str, early: bool = False) -> np.ndarray:
    """Values [n], larger is better; -inf where a trial has none, or does not count."""
    sign, values = 1.0 if direction == "max" else -1.0, course.early if early else course.value
    return np.where(np.isin(course.status, counted) & np.isfinite(values), sign * values, -np.inf)


def _early(frames: Frames) -> pd.Series:
    """By trial, the best value until the epoch to which all trained trials of its cell's search came."""
    trained = frames.search[frames.search["status"].isin((COMPLETE, PRUNED))]
    until = trained.groupby("cell")["epochs"].transform("min")
    until.index = pd.Index(trained["trial"])
    reports = frames.reports[frames.reports["epoch"] <= frames.reports["trial"].map(until)]
    values = reports.groupby("trial")[f"validation_{frames.metric}"]
    return values.max() if frames.direction == "max" else values.min()


def _courses(frames: Frames) -> dict[str, Course]:
    spent = costs.of_trials(frames).set_index("trial")["flops"]
    search = frames.search[["cell", "number", "trial", "status", "value"]].sort_values("number")
    search = search.assign(flops=search["trial"].map(spent), early=search["trial"].map(_early(frames)))
    return {str(cell): Course.of(rows) for cell, rows in search.groupby("cell")}


def _first(reached: np.ndarray, target: float) -> int:
    """How many trials it took to come to `target`, which the last of them has."""
    return int(np.argmax(reached >= target)) + 1
