"""Multi-label classification: several yes-or-no properties of each row, of which some may not be known."""

from __future__ import annotations

import math
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
class Multilabel:
    """inputs [n, ...]; targets [n, outputs] float: 1, 0, or NaN where it is not known; the model gives logits
    [n, outputs].

    positive_weight: of the properties that are there, in training; above 1 where they are rare.
    """

    positive_weight: float = 1.0

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "roc_auc": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 < self.positive_weight < math.inf:
            raise UserError(f"positive_weight must be above 0, found {self.positive_weight}")

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        """What is not known costs nothing, but counts in the mean: so a batch in pieces gives the same step."""
        logits = model(inputs).float()
        weight = logits.new_tensor(self.positive_weight)
        known = targets.isfinite()
        losses = functional.binary_cross_entropy_with_logits(
            logits, targets.nan_to_num(0.0), weight=known.float(), pos_weight=weight, reduction="sum"
        )
        yield "", losses / targets.numel()

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean cross-entropy in nats a known label.

        roc_auc: area under the receiver operating characteristic, that is the chance that a row which has a property
        gets a higher logit for it than one which has not; the mean over the properties of which this split knows both,
        NaN where there is none.
        """
        logits, targets = predict(model, split, batch_size), split.targets
        known = targets.isfinite()
        loss = functional.binary_cross_entropy_with_logits(logits[known], targets[known])
        areas = [
            area
            for column in range(targets.shape[1])
            if (area := roc_auc(logits[known[:, column], column], targets[known[:, column], column] > 0.5)) is not None
        ]
        return {"loss": loss.item(), "roc_auc": sum(areas) / len(areas) if areas else math.nan}

    def unmeasured(self, targets: Tensor) -> Mapping[str, str]:
        if not targets.isfinite().any():
            return dict.fromkeys(self.metrics, "no label is known")
        both = ((targets > 0.5).any(0) & (targets <= 0.5).any(0)).any()
        return {} if both else {"roc_auc": "no property has both labels"}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Random labels, a fifth of them not known."""
        targets = torch.randint(2, (rows, outputs)).float()
        return random_inputs(rows, input_shape), targets.masked_fill(torch.rand(rows, outputs) < 0.2, math.nan)


def roc_auc(scores: Tensor, there: Tensor) -> float | None:
    """The area for scores [n] and labels [n], bool; None where all labels are the same. Equal scores count half.

    From the sum of the ranks of what is there: Hanley, McNeil, Radiology 143, 1982.
    """
    positives = int(there.sum())
    negatives = len(there) - positives
    if not positives or not negatives:
        return None
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0).double() - (counts - 1) / 2
    return (float(ranks[place[there]].sum()) - positives * (positives + 1) / 2) / (positives * negatives)
