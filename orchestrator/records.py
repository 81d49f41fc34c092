"""The one schema: the words and columns of trials, reports and cells. Every reader of a sweep uses these names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = ("xs", "s", "m", "l", "xl")

# What can become of a trial. "asked": suggested and waiting; after a kill also what was under way.
ASKED, RUNNING = "asked", "running"
COMPLETE, PRUNED, DIVERGED, FAILED = "complete", "pruned", "diverged", "failed"
ENDED = (COMPLETE, PRUNED, DIVERGED, FAILED)
STATUSES = (ASKED, RUNNING, *ENDED)

# Tasks that each family learns by a loss of its own: the losses of two families can't be compared, their metrics can.
LOSSES_OF_THEIR_OWN = frozenset({"generation"})

# A trial is one of the search, or a finalist: the best of its cell, trained again on a fresh seed. A finalist of a
# configuration that was the best before its sweep was extended, or of a shorter training, is a former one.
SEARCH, FINAL, FORMER = "search", "final", "former"

# Where a configuration comes from: drawn by the sampler, predicted from smaller cells, taken over from one of them.
SAMPLED, PREDICTED, COPIED = "sampled", "predicted", "copied"

# How a driver leaves a sweep: nothing is left to do; it was told to go; a bug ended one trial after the other.
FINISHED, INTERRUPTED, STOPPED = "finished", "interrupted", "stopped"

# Why a trial failed; of a diverged one the cause is the kind of divergence (training/divergence.py).
OUT_OF_MEMORY, LOST_WORKER, ERROR = "out_of_memory", "lost_worker", "error"

TRIALS = (
    *("trial", "cell", "family", "size", "data_fraction", "kind", "number", "seed", "status", "reason"),
    *("cause", "last_finite", "config", "epochs", "best_epoch", "value", "best_validation_loss", "params", "flops"),
    "own_params",
    *("seconds", "samples", "started", "ended", "worker", "worker_seconds", "origin"),
)
REPORTS = (
    *("trial", "epoch", "train_loss", "learning_rate", "seconds", "samples_per_second", "flops", "samples"),
    *("own_params", "gradient_norm"),
)
CELLS = (
    *("cell", "family", "size", "data_fraction", "params", "params_without_embeddings", "flops", "train_samples"),
    *("asked", "complete", "pruned", "diverged", "failed", "best", "best_trial", "best_params", "test", "test_sd"),
    "finals",
)


@dataclass(frozen=True)
class Cell:
    """Family × size × data fraction: what gets one study.

    `params` counts trained parameters; `flops` is floating-point operations per training sample (forward and
    backward); `train_samples` counts the rows of the training split that the fraction keeps. The first two are of the
    size with its family's defaults, whatever a trial chooses: a dial, so that cells of one size lie on one line. What
    a trial had is its `own_params`: a kind of positions or of normalization changes them by little, a second direction
    of a recurrent network to about twice.
    `params_without_embeddings` leaves out tables that are looked up (`models/embeddings.py`); None in the journals of
    sweeps that began before it was counted.
    """

    family: str
    size: str
    data_fraction: float
    params: int
    flops: int
    train_samples: int
    params_without_embeddings: int | None = None

    @property
    def id(self) -> str:
        """`mlp-m-0.25`; never with an exponent, whose sign would read as one more dash."""
        return f"{self.family}-{self.size}-{self.data_fraction:.12f}".rstrip("0").rstrip(".")

    @property
    def scale(self) -> tuple[int, int]:
        """Parameters and training rows."""
        return self.params, self.train_samples

    def is_smaller(self, than: Cell) -> bool:
        """Whether it comes before another one of its family: not larger in any way, and smaller in one."""
        alike = self.family == than.family and self.scale != than.scale
        return alike and all(a <= b for a, b in zip(self.scale, than.scale, strict=True))


@dataclass(frozen=True)
class Start:
    """The weights that trainings of a family and size begin with: those of a finalist of another sweep.

    `run` is that sweep's id, `sha256` is of the file that holds the weights. `worker_hours` and `flops` are what that
    sweep has cost, all of its trials together.
    """

    family: str
    size: str
    sweep: str
    run: str
    trial: str
    sha256: str
    worker_hours: float
    flops: int

    @property
    def name(self) -> str:
        return f"{self.family}-{self.size}"

    def __str__(self) -> str:
        return f"{self.family} {self.size} from {self.trial} of {self.sweep} ({self.sha256[:12]})"


@dataclass(frozen=True)
class Slots:
    """How many trials run at a time, and the CPUs and GPUs (or the fraction of one) that each gets."""

    count: int
    cpus: float
    gpus: float

    def fit(self, cpus: float, gpus: float) -> int:
        """How many such trials a machine of that many CPUs and GPUs holds."""
        by_cpus = int(cpus / self.cpus + 1e-9)
        return min(by_cpus, self.fit_gpus(int(gpus))) if self.gpus else by_cpus

    def fit_gpus(self, gpus: int) -> int:
        """How many its GPUs hold. A fraction lies within one of them: 0.4 fits twice on each, not five times on two."""
        return gpus * int(1 / self.gpus + 1e-9) if self.gpus <= 1 else gpus // int(self.gpus)


@dataclass(frozen=True)
class Trial:
    """One training: a configuration with its own randomness, in one cell."""

    id: str
    cell: str
    kind: str
    number: int
    seed: int
    config: dict[str, Any]
    origin: str = SAMPLED


def trial_id(cell: str, kind: str, number: int) -> str:
    """The trial's name everywhere: in the journal, in MLflow, in the report. Example: `mlp-m-0.25-t003`."""
    return f"{cell}-{'t' if kind == SEARCH else 'f'}{number:03d}"


def model_file(run_dir: Path, trial: str) -> Path:
    """Where whoever reads a sweep finds a finalist's best weights, until someone takes them away."""
    return run_dir / "models" / f"{trial}.pt"


def better(value: float, than: float, direction: str) -> bool:
    return value > than if direction == "max" else value < than


def seed_of(*identity: object) -> int:
    """A seed from an identity: the same on every machine and in every process, below 2**31."""
    text = "/".join(str(part) for part in identity)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
