"""A model's outputs over a split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.tasks.task import Split


@torch.inference_mode()
def predict(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    """Outputs [n, outputs] as float32, in evaluation mode; the model's mode is restored."""
    training = model.training
    model.eval()
    try:
        outputs = [model(batch).float() for batch in torch.split(split.inputs, batch_size)]
    finally:
        model.train(training)
    return torch.cat(outputs)
