"""The training loop: one function for every family and task. It knows no framework; whoever calls it decides what an
epoch's row is for, and may stop asking at any time.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from orchestrator.documents import nearest
from orchestrator.errors import UserError
from orchestrator.records import better
from orchestrator.tasks import Direction, Split
from orchestrator.training import checkpoint as checkpoints
from orchestrator.training import optimizers
from orchestrator.training.batches import batch_sizes, on_device, shuffled
from orchestrator.training.divergence import STEPS_BETWEEN_CHECKS, Diverged, LossWatch, not_finite
from orchestrator.training.parameters import Settings, cost, split_config
from orchestrator.training.precision import Precision, autocast_type, under_autocast
from orchestrator.training.schedules import learning_rate

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
    test: whether the test split is touched, once, with the best epoch's weights.
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


@dataclass(frozen=True)
class Outcome:
    """The best epoch, its value of the job's metric, and its weights (on the CPU).

    test: the test split's metrics with these weights, where the job asked for them.
    checkpoint_problem: why a checkpoint that was there could not be used, if so.
    """

    best_epoch: int
    best_value: float
    test: dict[str, float] | None
    weights: dict[str, Tensor]
    stopped_early: bool
    checkpoint_problem: str | None = None


@dataclass
class _Player:
    """A part of the model with an optimizer of its own; mostly there is one, the whole model."""

    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    penalized: list[nn.Parameter]


@dataclass
class _Training:
    """All that a training is while it runs; `state` is the part that a checkpoint keeps."""

    job: Job
    settings: Settings
    device: torch.device
    dtype: torch.dtype | None
    flops_per_sample: int
    model: nn.Module
    players: dict[str, _Player]
    scaler: torch.amp.GradScaler | None
    rows: list[EpochRow] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.nan
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def finished(self) -> bool:
        return len(self.rows) >= self.job.max_epochs or self.out_of_patience()

    def out_of_patience(self) -> bool:
        return self.job.patience is not None and len(self.rows) - self.best_epoch >= self.job.patience

    def record(self, row: EpochRow) -> None:
        self.rows.append(row)
        value = row[self.job.metric]
        if not self.best_epoch or better(value, self.best_value, self.job.direction):
            self.best_epoch, self.best_value = row["epoch"], value
            self.best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def state(self) -> dict[str, Any]:
        return {
            "job": _identity(self.job),
            "model": self.model.state_dict(),
            "optimizers": {name: player.optimizer.state_dict() for name, player in self.players.items()},
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for name, player in self.players.items():
            player.optimizer.load_state_dict(state["optimizers"][name])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.rows, self.best_weights = state["rows"], state["best_weights"]
        self.best_epoch, self.best_value = state["best_epoch"], state["best_value"]


def fit(
    job: Job,
    data: Data,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 10.0,
    checkpoint_epochs: Collection[int] = (),
) -> Generator[EpochRow, None, Outcome]:
    """Train, and yield one row an epoch.

    A row: epoch (from 1), train_loss (mean of the training objective without L1, over the epoch as the weights
    changed), validation_<metric> for each metric of the task, learning_rate (at the epoch's last step), seconds (of
    training and validation), samples_per_second (of training alone), flops and samples (since the first epoch), and
    gradient_norm (before clipping; the mean over steps: all of them with clipping, else one in 32).

    With `checkpoint`, the state is written there when `checkpoint_seconds` have passed since the last time, and
    always at `checkpoint_epochs`, in both cases before the epoch's row is yielded. If the file is there at the start,
    its rows are *yielded again*, as they were, and training goes on from the epoch after: the losses are those of
    an uninterrupted run. So no row can be lost between the file and whoever keeps the rows. The caller deletes the
    file when the training is over.

    Raises:
        UserError: at the first row, a configuration, metric or data shape that is not possible, or a
            checkpoint of another job.
        Diverged: a loss is not finite; in the epoch in which that happens.
    """
    training = _start(job, data, torch.device(device))
    problem = _resume(training, checkpoint)
    yield from [dict(row) for row in training.rows]
    train, validation = on_device(data.train, training.device), on_device(data.validation, training.device)
    saved = time.monotonic()
    while not training.finished():
        row = _epoch(training, train, validation)
        training.record(row)
        due = time.monotonic() - saved >= checkpoint_seconds or row["epoch"] in checkpoint_epochs
        if checkpoint is not None and due:
            checkpoints.save(checkpoint, training.state())
            saved = time.monotonic()
        yield dict(row)
    training.model.load_state_dict(training.best_weights)
    test = None
    if job.test:
        measured = _evaluate(training, on_device(data.test, training.device))
        test = {f"test_{name}": value for name, value in measured.items()}
    weights = {name: tensor.cpu() for name, tensor in training.best_weights.items()}
    stopped_early = training.out_of_patience() and len(training.rows) < job.max_epochs
    return Outcome(training.best_epoch, training.best_value, test, weights, stopped_early, problem)


def network(job: Job, card: Card) -> nn.Module:
    """The job's network with the initial weights of its seed, on the CPU whatever it is trained on.

    `load_state_dict(outcome.weights)` makes it the best one.
    """
    settings = split_config(job.family, job.size, card.task, job.config)
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(_seed(job.seed, "weights"))
        return settings.family.build(settings.model, card.input_shape, card.outputs)


def _start(job: Job, data: Data, device: torch.device) -> _Training:
    """A training before its first epoch; the initial weights come from the seed."""
    card = data.card
    settings = split_config(job.family, job.size, card.task, job.config)
    _check(job, settings, data)
    dtype = autocast_type(job.precision, device)
    description = cost(settings, card.input_shape, card.outputs)
    # Convolutions are a quarter faster with the channels last; other layers don't mind.
    model = network(job, card).to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    players = {}
    for name in settings.task.players:
        parameters = [p for p in model.get_submodule(name).parameters() if p.requires_grad]
        penalized = optimizers.regularized(parameters) if settings.hyperparameters.l1 else []
        players[name] = _Player(optimizers.build(parameters, settings.hyperparameters), parameters, penalized)
    scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None
    return _Training(job, settings, device, dtype, description.flops_per_sample, model, players, scaler)


def _check(job: Job, settings: Settings, data: Data) -> None:
    reported = ["train_loss", *(f"validation_{name}" for name in settings.task.metrics)]
    if job.metric not in reported:
        raise UserError(f"no training reports the metric {job.metric!r}; {nearest(job.metric, reported)}")
    if job.direction not in ("min", "max"):
        raise UserError(f"direction must be min or max, found {job.direction!r}")
    if job.max_epochs < 1 or (job.patience is not None and job.patience < 1):
        raise UserError("max_epochs and patience must be 1 or more")
    for name in ("train", "validation", "test"):
        if not len(getattr(data, name).inputs):
            raise UserError(f"the {name} split is empty")


def _resume(training: _Training, path: Path | None) -> str | None:
    """Take up the checkpoint, if there is one; the reason, if it is there and can't be used."""
    if path is None:
        return None
    state, problem = checkpoints.load(path, training.device)
    if state is not None:
        if state["job"] != _identity(training.job):
            raise UserError(f"{path}: the checkpoint is of another job; delete it, or give another path")
        training.restore(state)
    return problem


def _epoch(training: _Training, train: Split, validation: Split) -> EpochRow:
    """One pass over the training rows and one over the validation rows.

    All randomness comes from the seed and the epoch's number, so that an epoch is the same after an interruption.
    """
    epoch = len(training.rows) + 1
    before: EpochRow = training.rows[-1] if training.rows else {"flops": 0, "samples": 0, "train_loss": None}
    start = time.perf_counter()
    with torch.random.fork_rng(_gpus(training.device)):
        torch.manual_seed(_seed(training.job.seed, f"epoch {epoch}"))
        rows = len(train.inputs)
        trained = _train(training, train, epoch, before["train_loss"])
        between = time.perf_counter()
        measured = _evaluate(training, validation)
    end = time.perf_counter()
    row = {
        "epoch": epoch,
        "train_loss": trained["loss"],
        **{f"validation_{name}": value for name, value in measured.items()},
        "learning_rate": trained["learning_rate"],
        "seconds": end - start,
        "samples_per_second": rows / (between - start),
        "flops": before["flops"] + rows * training.flops_per_sample,
        "samples": before["samples"] + rows,
        "gradient_norm": trained["gradient_norm"],
    }
    for value in (measured.get("loss", 0.0), row[training.job.metric]):
        if not math.isfinite(value):
            raise Diverged(f"validation {not_finite(value)}", epoch, trained["steps"], trained["loss"])
    return row


def _train(training: _Training, split: Split, epoch: int, last_loss: float | None) -> dict[str, Any]:
    """The steps of one epoch: the hot loop."""
    h, task, model = training.settings.hyperparameters, training.settings.task, training.model
    sizes = batch_sizes(len(split.inputs), h.batch_size)
    steps_before, total_steps = (epoch - 1) * len(sizes), training.job.max_epochs * len(sizes)
    watch = LossWatch(epoch, steps_before, last_loss)
    norms: list[Tensor] = []
    rate, step = h.learning_rate, steps_before
    order = torch.randperm(len(split.inputs)).to(split.inputs.device)
    model.train()
    for inputs, targets in shuffled(split, order, sizes):
        rate = learning_rate(h, step, total_steps)
        total: Tensor | None = None
        losses = task.step(model, inputs, targets)
        if training.dtype is not None:
            losses = under_autocast(losses, training.device, training.dtype)
        for name, loss in losses:
            player = training.players[name]
            norm = _update(player, loss, rate, training, measure=(step - steps_before) % STEPS_BETWEEN_CHECKS == 0)
            if norm is not None:
                norms.append(norm)
            total = loss.detach() if total is None else total + loss.detach()
        assert total is not None, "a task's step yields at least one loss"
        watch.add(total, len(inputs))
        step += 1
    gradient_norm = torch.stack(norms).mean().item()
    return {"loss": watch.mean(), "learning_rate": rate, "gradient_norm": gradient_norm, "steps": step}


def _update(player: _Player, loss: Tensor, rate: float, training: _Training, *, measure: bool) -> Tensor | None:
    """Backward pass and optimizer step; the norm of the gradient before clipping, where it was measured."""
    h, scaler, optimizer = training.settings.hyperparameters, training.scaler, player.optimizer
    if player.penalized:
        loss = loss + h.l1 * torch.cat([weight.flatten() for weight in player.penalized]).abs().sum()
    optimizer.zero_grad(set_to_none=True)
    if scaler is None:
        torch.autograd.backward(loss)
    else:
        torch.autograd.backward(scaler.scale(loss))
        scaler.unscale_(optimizer)
    norm = None
    if h.gradient_clip:
        norm = nn.utils.clip_grad_norm_(player.parameters, h.gradient_clip)
    elif measure:
        norm = nn.utils.get_total_norm([p.grad for p in player.parameters if p.grad is not None])
    for group in optimizer.param_groups:
        group["lr"] = rate
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
    return norm


def _evaluate(training: _Training, split: Split) -> dict[str, float]:
    """The task's metrics, with the same random numbers at every call, should the task draw any."""
    device, dtype = training.device, training.dtype
    with (
        torch.random.fork_rng(_gpus(device)),
        torch.autocast(device.type, dtype, enabled=dtype is not None),
    ):
        torch.manual_seed(_seed(training.job.seed, "evaluation"))
        return training.settings.task.evaluate(training.model, split, _EVALUATION_ROWS)


def _gpus(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _identity(job: Job) -> dict[str, Any]:
    """What decides the numbers of the epochs that a checkpoint holds."""
    return {**asdict(job), "config": dict(job.config)}


def _seed(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose: neighbouring seeds and epochs share nothing."""
    digest = hashlib.sha256(f"{seed}: {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
