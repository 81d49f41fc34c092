"""Noticing that a training leads nowhere, without waiting for the device at every step."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Reading a loss waits for the device. On a CPU it is there already and costs half a microsecond; on a GPU reading each
# one would empty the queue of kernels, so there it is done once in many steps.
STEPS_BETWEEN_CHECKS = 32

# The start is the mean of the first losses, few enough that little is learned by then.
START_STEPS = 4
# Linear models with a learning rate a hundredfold too large were seen 1,000 to 10,000 times above their first loss for
# hundreds of steps, on their way back; what had stopped falling there did not come back.
EXPLOSION, EXPLOSION_STEPS = 1e4, 64
STUCK_TOLERANCE, STUCK_EPOCHS, STUCK_STEPS = 0.02, 5, 100
ROUNDING = 1e-6  # of a loss in float32, eight units in its last place: whichever way it goes, it is no fall
DEAD_EPOCHS = 3

_MESSAGES = {
    "gradient": "non-finite gradient at {where}; the loss was still finite",
    "explosion": f"explosion at {{where}}: {EXPLOSION_STEPS} losses in a row {EXPLOSION:,.0f} times the first or more",
    "stuck": "stuck at {where}: the loss has not moved off its start",
}


class Diverged(Exception):
    """A training that leads nowhere; the message is one line.

    kind: what was seen first.
        "nan", "inf": the training loss; with "validation" before it, the validation loss where that of training was
        still finite.
        "gradient": not finite, of a finite loss. On a GPU without gradient clipping a gradient is looked at once in
        `STEPS_BETWEEN_CHECKS` steps and at an epoch's end; between, the loss after it is what is seen. With a
        gradient scaler an overflow is how the scale is found, and never this.
        "explosion": `EXPLOSION_STEPS` losses in a row were finite, above `EXPLOSION` times the first (a positive
        one), and none was lower than all others since the loss went there: a spike is over sooner, and what is on
        its way back reaches new depths.
        "stuck": the loss has not moved off its start: see `has_not_moved`; or the network is dead: at the end of
        `DEAD_EPOCHS` epochs in a row the gradient of every matrix and kernel was exactly zero while the loss was
        above half of its start (dead ReLUs; not seen under an L1 penalty, whose gradient is there still).
        A task of several players (adversaries) can neither explode nor be stuck: their losses measure no progress.
    step: counted over the whole training, from 1. last_finite: the last finite training loss, if there was one.
    """

    def __init__(self, kind: str, epoch: int, step: int, last_finite: float | None) -> None:
        last = "none before it was finite" if last_finite is None else f"the last finite loss was {last_finite:g}"
        message = _MESSAGES.get(kind, f"{kind} loss at {{where}}").format(where=f"epoch {epoch}, step {step}")
        super().__init__(f"{message}; {last}")
        self.kind, self.epoch, self.step, self.last_finite = kind, epoch, step, last_finite

    def __reduce__(self) -> tuple[type[Diverged], tuple[str, int, int, float | None]]:
        # An exception is rebuilt from its message unless told otherwise, and this one crosses processes.
        return Diverged, (self.kind, self.epoch, self.step, self.last_finite)


class Watch:
    """The losses and gradients of one training: kept on the device, read in batches, and judged.

    every: steps between readings. scaled: gradients are those of a gradient scaler. contested: the loss is a sum
    over several players.
    """

    def __init__(self, every: int, *, scaled: bool = False, contested: bool = False) -> None:
        self.every, self.scaled, self.contested = every, scaled, contested
        self.epoch = self.step = 0
        self.first = self.start = 0.0
        self.above, self.lowest, self.dead = 0, math.inf, 0
        self.last_finite: float | None = None
        self.begin(0, 0)

    def begin(self, epoch: int, steps_before: int) -> None:
        """A new epoch; its sums begin anew, the rest goes on."""
        self.epoch, self.step = epoch, steps_before
        self.total, self.rows = 0.0, 0
        self.norms: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._weights: list[int] = []
        self._unread: list[tuple[int, Tensor]] = []

    def state(self) -> dict[str, float | int | None]:
        """What it knows of the epochs so far, for a checkpoint."""
        kept = ("first", "start", "above", "lowest", "dead", "last_finite")
        return {name: getattr(self, name) for name in kept}

    def restore(self, state: dict[str, float | int | None]) -> None:
        vars(self).update(state)

    def before_update(self, loss: Tensor, model: nn.Module) -> None:
        """Look at a loss before its backward pass, where looking is free: the gradients are the step's before."""
        if self.every > 1 or math.isfinite(value := loss.item()):
            return
        raise self.blame(not_finite(value), self.step + 1, model)

    def blame(self, kind: str, step: int, model: nn.Module) -> Diverged:
        """What to raise for a loss that is not finite: its cause, where the gradient of the step before was it."""
        total = nn.utils.get_total_norm(_gradients(model), 1.0)
        if not self.scaled and not math.isfinite(total.item()):
            return Diverged("gradient", self.epoch, max(1, self.step), self.last_finite)
        return Diverged(kind, self.epoch, step, self.last_finite)

    def add_norm(self, norm: Tensor) -> None:
        """Note the norm of a player's gradient in the step that is under way."""
        self.norms.append(norm)
        if self.every > 1 and not self.scaled:
            self._unread.append((self.step + len(self._losses) + 1, norm))

    def add(self, loss: Tensor, rows: int) -> None:
        """Note the mean loss of a batch of `rows` rows; its step is over.

        Raises:
            Diverged: by this or an earlier loss; at most `every` steps late.
        """
        if self.every == 1:
            self._judge(loss.item(), rows)
            return
        self._losses.append(loss)
        self._weights.append(rows)
        if len(self._losses) >= self.every:
            self.check()

    def check(self) -> None:
        """Read and judge what is unread."""
        if not self._losses:
            return
        values = torch.stack(self._losses).tolist()
        norms = torch.stack([norm for _, norm in self._unread]).tolist() if self._unread else []
        overflowed = {step for (step, _), norm in zip(self._unread, norms, strict=True) if not math.isfinite(norm)}
        for value, rows in zip(values, self._weights, strict=True):
            self._judge(value, rows)
            if self.step in overflowed:
                raise Diverged("gradient", self.epoch, self.step, value)
        self._losses.clear()
        self._weights.clear()
        self._unread.clear()

    def _judge(self, value: float, rows: int) -> None:
        self.step += 1
        if not math.isfinite(value):
            raise Diverged(not_finite(value), self.epoch, self.step, self.last_finite)
        self.last_finite = value
        self.total += value * rows
        self.rows += rows
        if self.step <= START_STEPS:
            self.first = self.first if self.step > 1 else value
            self.start += (value - self.start) / self.step
        if self.contested or not value > EXPLOSION * self.first > 0:
            self.above, self.lowest = 0, math.inf
        else:
            self.above = self.above + 1 if value >= self.lowest else 0
            self.lowest = min(self.lowest, value)
            if self.above >= EXPLOSION_STEPS:
                raise Diverged("explosion", self.epoch, self.step, value)

    def end(self, model: nn.Module) -> None:
        """The epoch's steps are over: read the rest, and look whether anything still learns.

        Raises:
            Diverged: by a loss, or "stuck".
        """
        unlearned = self.mean() > self.start / 2 and not self.contested
        dead = unlearned and not any(bool(gradient.any()) for gradient in _gradients(model) if gradient.ndim >= 2)
        self.dead = self.dead + 1 if dead else 0
        if self.dead >= DEAD_EPOCHS:
            raise Diverged("stuck", self.epoch, self.step, self.last_finite)

    def mean(self) -> float:
        """Mean loss over the epoch's rows so far."""
        self.check()
        return self.total / self.rows


def has_not_moved(
    losses: Sequence[float], start: float, best_epoch: int, warmup_epochs: float, max_epochs: int
) -> bool:
    """Whether a training with these mean losses, one an epoch, is stuck where it started (`start`).

    All must hold, so that a slow training that improves is never called stuck: every epoch's loss is within
    `STUCK_TOLERANCE` of the start; the latest half of the epochs, at least `STUCK_EPOCHS`, all after the first
    and the warmup, shows no fall (a line through it is not steeper downwards than twice its standard error, or by no
    more than rounding), and the epoch of the best value of the job's metric is not among them; and a quarter of the
    training is over.
    """
    latest = max(STUCK_EPOCHS, len(losses) // 2)
    before = len(losses) - latest
    if before < max(1.0, warmup_epochs) or best_epoch > before or len(losses) < max_epochs / 4:
        return False
    if any(abs(loss - start) > STUCK_TOLERANCE * abs(start) for loss in losses):
        return False
    epochs = range(latest)
    slope, height = statistics.linear_regression(epochs, losses[before:])
    residuals = [loss - height - slope * epoch for epoch, loss in zip(epochs, losses[before:], strict=True)]
    spread = sum((epoch - (latest - 1) / 2) ** 2 for epoch in epochs)
    error = math.sqrt(sum(residual**2 for residual in residuals) / (latest - 2) / spread)
    return slope + 2 * error >= 0 or -slope * latest <= ROUNDING * abs(start)


def not_finite(value: float) -> str:
    return "nan" if math.isnan(value) else "inf"


def _gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
