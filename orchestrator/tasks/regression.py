"""Regression: one or several real numbers for each row, standardized by the training rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.examples import random_inputs
from orchestrator.tasks.predict import predict
from orchestrator.tasks.task import Direction, Split


@dataclass(frozen=True)
class Regression:
    """inputs [n, ...] float, targets [n, outputs] float; the model gives values [n, outputs].

    loss_function: what is trained on; validation compares all configurations by the mean squared error.
    huber_delta: where Huber's loss turns from quadratic to linear, in standard deviations of the targets
        (Huber, Annals of Mathematical Statistics 35, 1964).
    """

    loss_function: Literal["mse", "mae", "huber"] = "mse"
    huber_delta: float = 1.0

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "mae": "min", "rmse": "min", "r2": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not self.huber_delta > 0:
            raise UserError(f"huber_delta must be above 0, found {self.huber_delta}")

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "", self._loss(model(inputs), targets)

    def _loss(self, predicted: Tensor, targets: Tensor) -> Tensor:
        if self.loss_function == "mse":
            return functional.mse_loss(predicted, targets)
        if self.loss_function == "mae":
            return functional.l1_loss(predicted, targets)
        return functional.huber_loss(predicted, targets, delta=self.huber_delta)

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean squared error on the standardized targets; mae and rmse in the same units.

        r2: share of the variance explained, averaged over outputs that vary in this split; 0 is what predicting
        the split's own mean would get. NaN where no output varies.
        """
        predicted, targets = predict(model, split, batch_size), split.targets
        errors = predicted - targets
        squared = errors.square()
        spread = (targets - targets.mean(0)).square().sum(0)
        varies = (targets != targets[:1]).any(0)  # of equal numbers the spread is rounding, not always zero
        r2 = (1 - squared.sum(0)[varies] / spread[varies]).mean()
        loss = squared.mean()
        values = torch.stack([loss, errors.abs().mean(), loss.sqrt(), r2]).tolist()
        return dict(zip(self.metrics, values, strict=True))

    def unmeasured(self, targets: Tensor) -> Mapping[str, str]:
        varies = bool((targets != targets[:1]).any())
        return {} if varies else {"r2": "no target varies"}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        return random_inputs(rows, input_shape), torch.randn(rows, outputs)
