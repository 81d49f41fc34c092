"""Segmentation: a class for every pixel of an image; class 0 is the background. Cross-entropy and Dice's loss.

Of a class, p the predicted probabilities of an image's pixels and t its mask, the soft Dice coefficient is
(2 Σ p t + 1) / (Σ p + Σ t + 1): Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, without the squares, and with one pixel
added for images that have none of the class. It weighs a small object like a large one, where in the cross-entropy each
pixel counts the same; most use both (Isensee et al., "nnU-Net", Nature Methods 18, 2021).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.predict import evaluating
from orchestrator.tasks.task import Direction, Split

_PIXELS = 1 << 18  # at a time in an evaluation: a network has many maps of an image's size


@dataclass(frozen=True)
class Segmentation:
    """inputs [n, channels, height, width] float, targets [n, height, width] uint8 of classes; the model gives logits
    [n, classes, height, width].

    dice_weight: share of Dice's loss in training, the rest is cross-entropy; a half is nnU-Net's sum of both.
    """

    dice_weight: float = 0.5

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "iou": "max", "dice": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 <= self.dice_weight <= 1:
            raise UserError(f"dice_weight must be at least 0 and at most 1, found {self.dice_weight}")

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        logits, classes = model(inputs).float(), targets.long()
        cross_entropy = functional.cross_entropy(logits, classes)
        yield "", (1 - self.dice_weight) * cross_entropy + self.dice_weight * dice_loss(logits, classes).mean()

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean cross-entropy in nats a pixel, whatever the training's loss is.

        iou: intersection over union (Jaccard's index) of what is predicted and what is true, over the pixels of all
        images together; dice: the same overlap as twice the intersection over the sum. Both are means over the classes
        but the background, of those that are there or are predicted; NaN where none is.
        """
        rows = max(1, min(batch_size, _PIXELS // split.inputs[0, 0].numel()))
        loss = torch.zeros((), dtype=torch.float64, device=split.inputs.device)
        table: Tensor | None = None  # [true class, predicted class]: numbers of pixels
        with evaluating(model):
            for inputs, targets in zip(torch.split(split.inputs, rows), torch.split(split.targets, rows), strict=True):
                logits, classes = model(inputs).float(), targets.long()
                loss += functional.cross_entropy(logits, classes, reduction="sum").double()
                count = logits.shape[1]
                pairs = (classes * count + logits.argmax(1)).flatten().bincount(minlength=count**2)
                table = pairs if table is None else table + pairs
        assert table is not None, "a split has rows"
        confusion = table.reshape(round(len(table) ** 0.5), -1).double()
        both, either = confusion.diagonal(), confusion.sum(0) + confusion.sum(1)
        known = either > 0
        known[0] = False
        iou, dice = (both / (either - both))[known].mean(), (2 * both / either)[known].mean()
        values = torch.stack([loss / split.targets.numel(), iou, dice]).tolist()
        return dict(zip(self.metrics, values, strict=True))

    def unmeasured(self, targets: Tensor) -> Mapping[str, str]:
        return {} if targets.any() else dict.fromkeys(("iou", "dice"), "no pixel is of any class but the background")

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Pixels as bright as their class's number, and some noise: something that can be learnt."""
        targets = torch.randint(outputs, (rows, *input_shape[1:]))
        noise = 0.1 * torch.randn(rows, *input_shape)
        return targets[:, None] - (outputs - 1) / 2 + noise, targets.to(torch.uint8)


def dice_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """1 - the soft Dice coefficient of each image, averaged over the classes but the background. [n]

    Of each image alone, so that a batch in pieces gives the same step.
    """
    numbers = torch.arange(1, logits.shape[1], device=logits.device).reshape(-1, 1, 1)
    predicted, true = logits.softmax(1)[:, 1:].flatten(2), (classes[:, None] == numbers).flatten(2)
    overlap = (predicted * true).sum(2)
    coefficient = (2 * overlap + 1) / (predicted.sum(2) + true.sum(2) + 1)
    return 1 - coefficient.mean(1)
