"""What every way is given, and what it has to tell."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from orchestrator.space import Space
    from orchestrator.training.fit import Job

METRIC = "validation_loss"
DIRECTION: Literal["min", "max"] = "min"
FAMILY = "mlp"


@dataclass(frozen=True)
class Setting:
    """One sweep. `folder` is this way's own, empty at the start; `data` is prepared; `spaces` holds `mlp.yaml`.

    replay: the run of this project whose trials the bare loop trains again.
    """

    folder: str
    data_root: str
    data_set: str
    spaces: str
    trials: int
    max_epochs: int
    workers: int
    seed: int
    size: str
    min_epochs: int
    reduction_factor: int
    replay: str = ""

    @property
    def data(self) -> Path:
        return Path(self.data_root) / "prepared" / self.data_set

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def job(self, config: Mapping[str, Any], seed: int | None = None) -> Job:
        from orchestrator.training.fit import Job

        chosen = self.seed if seed is None else seed
        return Job(FAMILY, self.size, dict(config), chosen, self.max_epochs, METRIC, DIRECTION)


@dataclass
class Measured:
    """What a way did, told from inside it. Times are in seconds since 1970; `training` is the sum of the epochs'
    `seconds` (training and validation, as `fit` measures them).

    first_report: when an epoch's numbers first reached whoever decides. training_before: training seconds of the
    epochs that had been reported by then. last_end: when the last trial ended.
    processes: the distinct processes that trained.
    same_epochs: epochs of the bare loop whose losses are those of the run it repeats, to the last bit.
    """

    trials: int = 0
    epochs: int = 0
    training: float = 0.0
    training_before: float = 0.0
    first_report: float = 0.0
    last_end: float = 0.0
    processes: int = 1
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
        self.trials += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.last_end = time.time()


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
