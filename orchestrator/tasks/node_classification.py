"""Node classification: a class for every node of a graph, of which some are told.

In training only the nodes of that split are told, but all are there, with their links (Kipf, Welling, ICLR 2017); in
evaluation those of another split count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.examples import random_graphs
from orchestrator.tasks.predict import evaluating
from orchestrator.tasks.task import Direction, Split

UNTOLD = -1


@dataclass(frozen=True)
class NodeClassification:
    """inputs [n, nodes, codes + neighbours], see `graphs.py`; targets [n, nodes] int64 of classes, -1 where a node's is
    not told; the model gives logits [n, classes, nodes].

    label_smoothing: share of the target spread evenly over all classes (Szegedy et al., CVPR 2016, section 7).
    """

    label_smoothing: float = 0.0

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "accuracy": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be at least 0 and below 1, found {self.label_smoothing}")

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        logits = model(inputs)
        smoothing = self.label_smoothing
        yield "", functional.cross_entropy(logits, targets, ignore_index=UNTOLD, label_smoothing=smoothing)

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean cross-entropy in nats of the nodes that are told; accuracy: share of them told right."""
        totals = torch.zeros(3, dtype=torch.float64)
        with evaluating(model):
            for inputs, targets in zip(
                torch.split(split.inputs, batch_size), torch.split(split.targets, batch_size), strict=True
            ):
                logits = model(inputs).float()
                loss = functional.cross_entropy(logits, targets, ignore_index=UNTOLD, reduction="sum")
                told = targets != UNTOLD
                right = (logits.argmax(1) == targets)[told].sum()
                totals += torch.stack([loss.double(), right, told.sum()]).cpu()
        loss_sum, right_sum, count = totals.tolist()
        return {"loss": loss_sum / count, "accuracy": right_sum / count}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Graphs whose nodes are all of one class, as in citations most neighbours are; half of them are told."""
        inputs = random_graphs(rows, input_shape)
        targets = torch.randint(outputs, (rows, 1)).repeat(1, inputs.shape[1])
        targets[:, ::2] = UNTOLD
        return inputs, targets
