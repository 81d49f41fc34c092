"""The training loop: one function for every family and task. It knows no framework; whoever calls it decides what an
epoch's row is for, and may stop asking at any time.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from orchestrator.documents import nearest
from orchestrator.errors import UserError
from orchestrator.models.diagnostics import listening
from orchestrator.records import better
from orchestrator.tasks import Direction, Split
from orchestrator.training import checkpoint as checkpoints
from orchestrator.training.batches import batch_sizes, on_device, shuffled
from orchestrator.training.divergence import (
    STEPS_BETWEEN_CHECKS,
    STUCK_STEPS,
    Diverged,
    has_not_moved,
    not_finite,
)
from orchestrator.training.memory import released
from orchestrator.training.parameters import Description, Settings, cost, split_config
from orchestrator.training.precision import Precision, autocast_type
from orchestrator.training.schedules import learning_rate
from orchestrator.training.update import Updates

_EVALUATION_ROWS = 2048

EpochRow = dict[str, Any]


class Card(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def outputs(self) -> int: ...


class Data(Protocol):
    """What `orchestrator.data.load` returns, or anything of its shape."""

    @property
    def card(self) -> Card: ...
    @property
    def train(self) -> Split: ...
    @property
    def validation(self) -> Split: ...
    @property
    def test(self) -> Split: ...


@dataclass(frozen=True)
class Job:
    """What to train: the same job on the same data gives the same losses, to the last bit on the same machine.

    config: model, task and trainer hyperparameters, flat. metric: a column of the epoch row that chooses the best
    epoch, such as "validation_accuracy". patience: epochs without a better value before training ends (None: never).
    test: whether the test split is touched, once, with the best epoch's weights. micro_batches: pieces that each
    step's batch is computed in where memory is short; the step is the same up to rounding, see `update.py`. An
    evaluation draws its noise piece by piece, so that what it measures of a diffusion, or of a vae on a GPU, changes by
    a little more.
    start: weights of the same network, trained on another task, that take the place of random ones but for the head.
    """

    family: str
    size: str
    config: Mapping[str, Any]
    seed: int
    max_epochs: int
    metric: str = "validation_loss"
    direction: Direction = "min"
    patience: int | None = None
    test: bool = False
    precision: Precision = "auto"
    micro_batches: int = 1
    start: Mapping[str, Tensor] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Outcome:
    """The best epoch, its value of the job's metric, and its weights (on the CPU).

    test: the test split's metrics with these weights, where the job asked for them.
    checkpoint_problem: why a checkpoint that was there could not be used, if so. unsaved: how often a checkpoint
    could not be written, and why; one line, or None.
    """

    best_epoch: int
    best_value: float
    test: dict[str, float] | None
    weights: dict[str, Tensor]
    stopped_early: bool
    checkpoint_problem: str | None = None
    unsaved: str | None = None


@dataclass
class _Training:
    """All that a training is while it runs; `state` is the part that a checkpoint keeps."""

    job: Job
    updates: Updates
    description: Description
    rows: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    failures: int = 0
    unsaved: str | None = None

    def finished(self) -> bool:
        return len(self.rows) >= self.job.max_epochs or self.out_of_patience()

    def out_of_patience(self) -> bool:
        return self.job.patience is not None and len(self.rows) - self.best_epoch >= self.job.patience

    def record(self, row: EpochRow) -> None:
        self.rows.append(row)
        value = row[self.job.metric]
        if not self.best_epoch or better(value, self.best_value, self.job.direction):
            self.best_epoch, self.best_value = row["epoch"], value
            self.best_weights = {name: tensor.clone() for name, tensor in self.updates.model.state_dict().items()}

    def check_progress(self) -> None:
        """Whether to go on with what has not moved so far. A training that is over is left to be what it is."""
        watch, h = self.updates.watch, self.updates.settings.hyperparameters
        if self.finished() or watch.contested or watch.step < STUCK_STEPS:
            return
        losses, warmup = [row["train_loss"] for row in self.rows], h.warmup_fraction * self.job.max_epochs
        if has_not_moved(losses, watch.start, self.best_epoch, warmup, self.job.max_epochs):
            raise Diverged("stuck", len(losses), watch.step, watch.last_finite)

    def state(self) -> dict[str, Any]:
        return {
            "job": _identity(self.job),
            **self.updates.state(),
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.updates.restore(state)
        self.rows, self.best_weights = state["rows"], state["best_weights"]
        self.best_epoch, self.best_value = state["best_epoch"], state["best_value"]

    def save(self, place: checkpoints.Place) -> None:
        """Write a checkpoint. It is an insurance: where it can't be written, that is noted and training goes on."""
        try:
            checkpoints.save(place, self.state())
        except OSError as error:
            self.failures += 1
            times = "" if self.failures == 1 else f" ({self.failures} times so far)"
            said = (error.strerror or str(error)).partition("\n")[0]
            self.unsaved = f"no checkpoint at epoch {len(self.rows)}{times}: {said}"


def fit(
    job: Job,
    data: Data,
    device: torch.device | str = "cpu",
    checkpoint: checkpoints.Place | None = None,
    checkpoint_seconds: float = 10.0,
    checkpoint_epochs: Collection[int] = (),
) -> Generator[EpochRow, None, Outcome]:
    """Train, and yield one row an epoch.

    A row: epoch (from 1), train_loss (mean of the training objective without L1, over the epoch as the weights
    changed), validation_<metric> for each metric of the task, validation_<diagnostic> for what the network notes of
    itself (`models/diagnostics.py`; a job's metric can't be one of them), learning_rate (at the epoch's last step),
    seconds (of training and validation), samples_per_second (of training alone), flops and samples (since the first
    epoch), own_params (trained parameters of this configuration, which may differ from its size's) and gradient_norm
    (before clipping; the mean over steps: all of them with clipping, else one in 32).

    With `checkpoint`, the state is written there when `checkpoint_seconds` have passed since the last time, and
    always at `checkpoint_epochs`, in both cases before the epoch's row is yielded. If the file is there at the start,
    its rows are *yielded again*, as they were, and training goes on from the epoch after: the losses are those of
    an uninterrupted run. So no row can be lost between the file and whoever keeps the rows. The caller deletes the
    file when the training is over. Where it can't be written (a full disk), training goes on and tries again as
    often; the outcome says so.

    Raises:
        UserError: at the first row, a configuration, metric or data shape that is not possible, or a
            checkpoint of another job.
        Diverged: the training leads nowhere; in the epoch in which that is seen.
        OutOfMemory: there was not enough; nothing of the training is held any more.
    """
    work = _fit(job, data, torch.device(device), checkpoint, checkpoint_seconds, checkpoint_epochs)
    return (yield from released(work))


def _fit(
    job: Job,
    data: Data,
    device: torch.device,
    checkpoint: checkpoints.Place | None,
    checkpoint_seconds: float,
    checkpoint_epochs: Collection[int],
) -> Generator[EpochRow, None, Outcome]:
    training = _start(job, data, device)
    problem = _resume(training, checkpoint)
    yield from [dict(row) for row in training.rows]
    train, validation = on_device(data.train, device), on_device(data.validation, device)
    saved = time.monotonic()
    while not training.finished():
        row = _epoch(training, train, validation)
        training.record(row)
        training.check_progress()
        due = time.monotonic() - saved >= checkpoint_seconds or row["epoch"] in checkpoint_epochs
        if checkpoint is not None and due:
            training.save(checkpoint)
            saved = time.monotonic()
        yield dict(row)
    training.updates.model.load_state_dict(training.best_weights)
    test = None
    if job.test:
        measured = _evaluate(training, on_device(data.test, device))
        test = {f"test_{name}": value for name, value in measured.items()}
    weights = {name: tensor.cpu() for name, tensor in training.best_weights.items()}
    stopped_early = training.out_of_patience() and len(training.rows) < job.max_epochs
    best = training.best_epoch, training.best_value
    return Outcome(*best, test, weights, stopped_early, problem, training.unsaved)


def network(job: Job, card: Card) -> nn.Module:
    """The job's network with its initial weights, those of its seed or of its start, on the CPU whatever it is trained
    on.

    `load_state_dict(outcome.weights)` makes it the best one.

    Raises:
        UserError: a configuration or shape that is not possible, or a start of another network.
    """
    settings = split_config(job.family, job.size, card.task, job.config)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(_seed(job.seed, "weights"))
        model = settings.family.build(settings.model, card.input_shape, card.outputs)
    if job.start is not None:
        if settings.family.continue_from is None:
            raise UserError(f"{job.family} learns in one stage; it can't start from weights of another task")
        settings.family.continue_from(model, job.start)
    return model


def _start(job: Job, data: Data, device: torch.device) -> _Training:
    """A training before its first epoch; the initial weights come from the seed."""
    card = data.card
    settings = split_config(job.family, job.size, card.task, job.config)
    _check(job, settings, data)
    dtype = autocast_type(job.precision, device)
    # Convolutions are a quarter faster with the channels last; other layers don't mind.
    model = network(job, card).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    updates = Updates(settings, model, device, dtype, job.micro_batches)
    return _Training(job, updates, cost(settings, card.input_shape, card.outputs))


def _check(job: Job, settings: Settings, data: Data) -> None:
    reported = ["train_loss", *(f"validation_{name}" for name in settings.task.metrics)]
    if job.metric not in reported:
        raise UserError(f"no training reports the metric {job.metric!r}; {nearest(job.metric, reported)}")
    if job.direction not in ("min", "max"):
        raise UserError(f"direction must be min or max, found {job.direction!r}")
    if job.max_epochs < 1 or (job.patience is not None and job.patience < 1):
        raise UserError("max_epochs and patience must be 1 or more")
    if job.micro_batches < 1:
        raise UserError(f"micro_batches must be 1 or more, found {job.micro_batches}")
    for name in ("train", "validation", "test"):
        if not len(getattr(data, name).inputs):
            raise UserError(f"the {name} split is empty")
    _check_measurable(job, settings, data.validation)
    _check_single_rows(job, settings, data)


def _check_measurable(job: Job, settings: Settings, validation: Split) -> None:
    """Refuse a metric that would be NaN whatever is learnt, which the loop takes for divergence."""
    unmeasured = getattr(settings.task, "unmeasured", None)
    why = unmeasured(validation.targets).get(job.metric.removeprefix("validation_")) if unmeasured else None
    if why is not None:
        raise UserError(
            f"{job.metric} can't be measured: {why} in the validation split ({len(validation.inputs):,} rows); choose "
            "another metric, or give that split more rows"
        )


def _check_single_rows(job: Job, settings: Settings, data: Data) -> None:
    """Refuse steps of one row where batch normalization would find one value a channel, of which there is no variance;
    in maps of several pixels it finds more."""
    size, rows, card = settings.hyperparameters.batch_size, len(data.train.inputs), data.card
    if min(batch_sizes(rows, size)) > 1:
        return
    with torch.device("meta"):
        model = settings.family.build(settings.model, card.input_shape, card.outputs)
        if not any(name.endswith("running_var") for name, _ in model.named_buffers()):
            return
        try:
            for _ in settings.task.step(model, *settings.task.example(1, card.input_shape, card.outputs)):
                pass
        except ValueError:  # what torch's batch normalization raises
            raise UserError(
                f"{job.family}: batch normalization needs two rows or more a step, found batch_size {size} and "
                f"{rows:,} training rows; raise what is 1 of them, or set batch_norm: false"
            ) from None


def _resume(training: _Training, path: checkpoints.Place | None) -> str | None:
    """Take up the checkpoint, if there is one; the reason, if it is there and can't be used."""
    if path is None:
        return None
    state, problem = checkpoints.load(path, training.updates.device)
    if state is not None:
        if state["job"] != _identity(training.job):
            raise UserError(f"{path}: the checkpoint is of another job; delete it, or give another path")
        training.restore(state)
    return problem


def _epoch(training: _Training, train: Split, validation: Split) -> EpochRow:
    """One pass over the training rows and one over the validation rows.

    All randomness comes from the seed and the epoch's number, so that an epoch is the same after an interruption.
    """
    epoch, watch, device = len(training.rows) + 1, training.updates.watch, training.updates.device
    before: EpochRow = training.rows[-1] if training.rows else {"flops": 0, "samples": 0}
    start = time.perf_counter()
    with torch.random.fork_rng(_gpus(device)):
        torch.manual_seed(_seed(training.job.seed, f"epoch {epoch}"))
        rows = len(train.inputs)
        rate = _train(training, train, epoch)
        between = time.perf_counter()
        measured = _evaluate(training, validation)
    end = time.perf_counter()
    row = {
        "epoch": epoch,
        "train_loss": watch.mean(),
        **{f"validation_{name}": value for name, value in measured.items()},
        "learning_rate": rate,
        "seconds": end - start,
        "samples_per_second": rows / (between - start),
        "flops": before["flops"] + rows * training.description.flops_per_sample,
        "samples": before["samples"] + rows,
        "own_params": training.description.params,
        "gradient_norm": _mean_of_finite(torch.stack(watch.norms)),
    }
    for value in (measured.get("loss", 0.0), row[training.job.metric]):
        if not math.isfinite(value):
            raise watch.blame(f"validation {not_finite(value)}", watch.step, training.updates.model)
    return row


def _mean_of_finite(norms: Tensor) -> float:
    """Without the steps by which a gradient scaler finds its scale; NaN where there are no others."""
    return norms[norms.isfinite()].mean().item()


def _train(training: _Training, split: Split, epoch: int) -> float:
    """The steps of one epoch; the learning rate of the last."""
    updates, h = training.updates, training.updates.settings.hyperparameters
    sizes = batch_sizes(len(split.inputs), h.batch_size)
    steps_before, total_steps = (epoch - 1) * len(sizes), training.job.max_epochs * len(sizes)
    order = torch.randperm(len(split.inputs)).to(split.inputs.device)
    updates.watch.begin(epoch, steps_before)
    updates.model.train()
    rate = h.learning_rate
    for done, (inputs, targets) in enumerate(shuffled(split, order, sizes)):
        rate = learning_rate(h, steps_before + done, total_steps)
        updates.step(inputs, targets, rate, measure=done % STEPS_BETWEEN_CHECKS == 0)
    updates.watch.end(updates.model)
    return rate


def _evaluate(training: _Training, split: Split) -> dict[str, float]:
    """The task's metrics and the network's diagnostics, with the same random numbers at every call, should the task
    draw any."""
    device, dtype = training.updates.device, training.updates.dtype
    # What trained a batch in pieces has the memory of a piece here too.
    rows = max(1, _EVALUATION_ROWS // training.job.micro_batches)
    with (
        torch.random.fork_rng(_gpus(device)),
        torch.autocast(device.type, dtype, enabled=dtype is not None),
    ):
        torch.manual_seed(_seed(training.job.seed, "evaluation"))
        with listening(training.updates.model) as notes:
            measured = training.updates.settings.task.evaluate(training.updates.model, split, rows)
        return notes.means() | measured


def _gpus(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _identity(job: Job) -> dict[str, Any]:
    """What decides the numbers of the epochs that a checkpoint holds. The pieces do not, though an evaluation in pieces
    draws other noise and so changes them by a little more than rounding."""
    identity = {one.name: getattr(job, one.name) for one in fields(job)} | {"config": dict(job.config)}
    del identity["micro_batches"], identity["start"]
    if job.start is not None:
        digest = hashlib.sha256()
        for name, weight in sorted(job.start.items()):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode() + weight.cpu().numpy().tobytes())
        identity["start"] = digest.hexdigest()
    return identity


def _seed(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose: neighbouring seeds and epochs share nothing."""
    digest = hashlib.sha256(f"{seed}: {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
