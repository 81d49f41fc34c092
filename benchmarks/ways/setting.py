"""What every way is given, and what it has to tell."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from orchestrator.data.load import Data
    from orchestrator.space import Space
    from orchestrator.training.fit import Job

METRIC = "validation_loss"
DIRECTION: Literal["min", "max"] = "min"
FAMILY = "mlp"


@dataclass(frozen=True)
class Setting:
    """One sweep. `folder` is this way's own, empty at the start; `data` is prepared; `spaces` holds `mlp.yaml`.

    halving: whether hopeless trials are stopped. replay: the run of this project whose trials a bare loop trains again.
    """

    folder: str
    data_root: str
    data_set: str
    data_fraction: float
    spaces: str
    trials: int
    max_epochs: int
    workers: int
    seed: int
    size: str
    halving: bool
    tracking: bool = True
    replay: str = ""
    min_epochs: int = 2
    reduction_factor: int = 3

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def data(self) -> Data:
        from orchestrator.data.load import load

        return load(Path(self.data_root) / "prepared" / self.data_set, self.data_fraction)

    def job(self, config: Mapping[str, Any], seed: int | None = None) -> Job:
        from orchestrator.training.fit import Job

        chosen = self.seed if seed is None else seed
        return Job(FAMILY, self.size, dict(config), chosen, self.max_epochs, METRIC, DIRECTION)


@dataclass
class Measured:
    """What a way did, told from inside it. Times are in seconds since 1970; `training` is the sum of the epochs'
    `seconds` (training and validation, as `fit` measures them).

    first_report: when an epoch's numbers first reached whoever decides. training_before: training seconds of the
    epochs that had been reported by then. ends: when each trial ended. processes: the distinct processes that trained.
    journal_bytes: of this project's journal. same_epochs: epochs of the bare loop whose losses are those of the run
    it repeats, to the last bit.
    """

    epochs: int = 0
    training: float = 0.0
    training_before: float = 0.0
    first_report: float = 0.0
    ends: list[float] = field(default_factory=list)
    processes: int = 1
    journal_bytes: int | None = None
    same_epochs: int | None = None
    statuses: dict[str, int] = field(default_factory=dict)

    def epoch(self, seconds: float) -> None:
        """An epoch was reported, now, to whoever decides in this process."""
        self.epochs += 1
        self.training += seconds
        if not self.first_report:
            self.first_report, self.training_before = time.time(), seconds

    def end(self, status: str) -> None:
        """A trial ended, now."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.ends.append(time.time())

    def pace(self, parts: int = 10) -> list[float]:
        """Seconds a trial within each tenth of the trials, in the order in which they ended."""
        ends = [self.first_report, *sorted(self.ends)]
        marks = [len(self.ends) * part // parts for part in range(parts + 1)]
        return [(ends[b] - ends[a]) / (b - a) for a, b in pairwise(marks) if b > a]

    def account(self) -> dict[str, Any]:
        """For a line of the results."""
        told = {key: value for key, value in asdict(self).items() if key != "ends"}
        return {**told, "trials": len(self.ends), "last_end": max(self.ends), "pace": self.pace()}

    @classmethod
    def together(cls, parts: Sequence[Measured]) -> Measured:
        """Of processes that ran side by side."""
        first = min(parts, key=lambda part: part.first_report)
        return cls(
            epochs=sum(part.epochs for part in parts),
            training=sum(part.training for part in parts),
            training_before=first.training_before,
            first_report=first.first_report,
            ends=[end for part in parts for end in part.ends],
            processes=len(parts),
            same_epochs=sum(part.same_epochs or 0 for part in parts),
            statuses=dict(sum((Counter(part.statuses) for part in parts), Counter())),
        )


def space(setting: Setting) -> Space:
    from orchestrator import space as spaces

    return spaces.load(Path(setting.spaces) / f"{FAMILY}.yaml").given(task="classification")


def draw(trial: Any, chosen: Space) -> dict[str, Any]:
    """A configuration from an Optuna trial, define-by-run: a condition is an `if`."""
    from orchestrator.space import Choice, Float, is_active

    drawn: dict[str, Any] = {}
    for name, parameter in chosen.parameters.items():
        if not is_active(parameter, drawn):
            continue
        if isinstance(parameter, Choice):
            drawn[name] = trial.suggest_categorical(name, list(parameter.values))
        elif isinstance(parameter, Float):
            drawn[name] = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
        else:
            drawn[name] = trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return drawn


def main(run: Callable[[Setting], Measured]) -> None:
    """Read the setting, run, write what was measured."""
    setting = Setting(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    measured = run(setting)
    Path(sys.argv[2]).write_text(json.dumps(asdict(measured)), encoding="utf-8")


def side_by_side(run: Callable[[Setting, int], Measured], setting: Setting) -> Measured:
    """`run(setting, number)` in as many processes as there are workers, each begun afresh, as from a shell."""
    numbers = range(setting.workers)
    with ProcessPoolExecutor(setting.workers, get_context("spawn")) as pool:
        return Measured.together(list(pool.map(run, [setting] * setting.workers, numbers)))
