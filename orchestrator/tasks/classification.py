"""Classification: one class of several for each row. Cross-entropy or one against all, with label smoothing.

Metrics are three lines of torch: torchmetrics has them too, but takes over two seconds to import, in every worker.
"""

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
class Classification:
    """inputs [n, ...] float or tokens [n, time] int64, targets [n] int64; the model gives logits [n, classes].

    classification_loss: what is trained on; validation compares all configurations by the softmax's cross-entropy. One
        against all, "binary_cross_entropy", is summed over the classes (Beyer et al., "Are we done with ImageNet?",
        2020; Wightman, Touvron, Jégou, "ResNet strikes back", 2021).
    label_smoothing: share of the target spread evenly over all classes (Szegedy et al., CVPR 2016, section 7).
    """

    classification_loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: float = 0.0

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "accuracy": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be at least 0 and below 1, found {self.label_smoothing}")

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "", self._loss(model(inputs), targets)

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.classification_loss == "cross_entropy":
            return functional.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        classes = logits.shape[1]
        true = functional.one_hot(targets, classes).to(logits.dtype)
        smooth = true * (1 - self.label_smoothing) + self.label_smoothing / classes
        return classes * functional.binary_cross_entropy_with_logits(logits, smooth)

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
