"""A model's outputs over a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from orchestrator.tasks.task import Split

_PIXELS = 1 << 21  # of images at a time in an evaluation: a network has many maps of an image's size


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients; the model's mode is restored."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def rows_at_a_time(inputs: Tensor, batch_size: int) -> int:
    """`batch_size`, or as many images [n, channels, height, width] as have `_PIXELS` together: from 33×33 on fewer than
    2,048."""
    if inputs.ndim != 4:
        return batch_size
    return max(1, min(batch_size, _PIXELS // inputs[0, 0].numel()))


def predict(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    """Outputs [n, outputs] as float32, in evaluation mode; the model's mode is restored."""
    rows = rows_at_a_time(split.inputs, batch_size)
    with evaluating(model):
        return torch.cat([model(batch).float() for batch in torch.split(split.inputs, rows)])
