"""Floating-point operations of training, counted by torch on the meta device: nothing is computed."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.tasks import Task

_ROWS = 2  # batch normalization needs more than one row in training mode


def flops_per_sample(model: nn.Module, task: Task, input_shape: tuple[int, ...], outputs: int) -> int:
    """Forward and backward of one training step, per row, of a model built on the meta device.

    Matrix products and convolutions are counted (a multiplication and an addition are two), elementwise operations
    and the optimizer are not: the convention of scaling studies.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        inputs, targets = task.example(_ROWS, input_shape, outputs)
        for _, loss in task.step(model, inputs, targets):
            loss.backward()
    return counter.get_total_flops() // _ROWS
