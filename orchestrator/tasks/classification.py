"""Classification: one class of several for each row. Cross-entropy, with label smoothing in training.

Metrics are three lines of torch: torchmetrics has them too, but takes over two seconds to import, in every worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.examples import random_inputs
from orchestrator.tasks.predict import predict
from orchestrator.tasks.task import Direction, Split


@dataclass(frozen=True)
class Classification:
    """inputs [n, ...] float or tokens [n, time] int64, targets [n] int64; the model gives logits [n, classes].

    label_smoothing: share of the target spread evenly over all classes (Szegedy et al., CVPR 2016, section 7).
    """

    label_smoothing: float = 0.0

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "accuracy": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be at least 0 and below 1, found {self.label_smoothing}")

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "", functional.cross_entropy(model(inputs), targets, label_smoothing=self.label_smoothing)

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean cross-entropy in nats; accuracy: share of rows whose largest logit is the target's."""
        logits = predict(model, split, batch_size)
        loss = functional.cross_entropy(logits, split.targets)
        accuracy = (logits.argmax(1) == split.targets).float().mean()
        values = torch.stack([loss, accuracy]).tolist()
        return {"loss": values[0], "accuracy": values[1]}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        targets = torch.randint(outputs, (rows,))
        return random_inputs(rows, input_shape), targets
