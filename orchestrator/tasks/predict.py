"""A model's outputs over a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from orchestrator.tasks.task import Split


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


def predict(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    """Outputs [n, outputs] as float32, in evaluation mode; the model's mode is restored."""
    with evaluating(model):
        return torch.cat([model(batch).float() for batch in torch.split(split.inputs, batch_size)])
