"""Noticing that a training has diverged, without waiting for the device at every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Reading a loss waits for the device; on a CPU it costs little, on a GPU it empties the queue of kernels.
STEPS_BETWEEN_CHECKS = 32


class Diverged(Exception):
    """A loss is no longer a finite number.

    kind: "nan", "inf", or either with "validation" before it, where the training loss was still finite.
    step: counted over the whole training, from 1. last_finite: the last finite training loss, if there was one.
    """

    def __init__(self, kind: str, epoch: int, step: int, last_finite: float | None) -> None:
        last = "none before it was finite" if last_finite is None else f"the last finite loss was {last_finite:g}"
        super().__init__(f"{kind} loss at epoch {epoch}, step {step}; {last}")
        self.kind, self.epoch, self.step, self.last_finite = kind, epoch, step, last_finite

    def __reduce__(self) -> tuple[type[Diverged], tuple[str, int, int, float | None]]:
        # An exception is rebuilt from its message unless told otherwise, and this one crosses processes.
        return Diverged, (self.kind, self.epoch, self.step, self.last_finite)


class LossWatch:
    """The losses of one epoch, kept on the device and read in batches."""

    def __init__(self, epoch: int, steps_before: int, last_finite: float | None) -> None:
        self.epoch, self.step, self.last_finite = epoch, steps_before, last_finite
        self.total, self.rows = 0.0, 0
        self._losses: list[Tensor] = []
        self._weights: list[int] = []

    def add(self, loss: Tensor, rows: int) -> None:
        """Note the mean loss of a batch of `rows` rows.

        Raises:
            Diverged: this or an earlier loss is not finite; at most STEPS_BETWEEN_CHECKS steps late.
        """
        self._losses.append(loss)
        self._weights.append(rows)
        if len(self._losses) >= STEPS_BETWEEN_CHECKS:
            self.check()

    def check(self) -> None:
        if not self._losses:
            return
        for value, rows in zip(torch.stack(self._losses).tolist(), self._weights, strict=True):
            self.step += 1
            if not math.isfinite(value):
                raise Diverged(not_finite(value), self.epoch, self.step, self.last_finite)
            self.last_finite = value
            self.total += value * rows
            self.rows += rows
        self._losses.clear()
        self._weights.clear()

    def mean(self) -> float:
        """Mean loss over the rows so far; a check of what is still unread."""
        self.check()
        return self.total / self.rows


def not_finite(value: float) -> str:
    return "nan" if math.isnan(value) else "inf"
