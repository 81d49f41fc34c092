"""Floating-point operations of training, counted by torch as it runs one small step."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from orchestrator.tasks import Task

_ROWS = 2  # batch normalization needs more than one row in training mode


def flops_per_sample(model: nn.Module, task: Task, input_shape: tuple[int, ...], outputs: int) -> int:
    """Forward and backward of one training step, per row.

    Matrix products and convolutions are counted (a multiplication and an addition are two), elementwise operations
    and the optimizer are not: the convention of scaling studies. On a model of the meta device nothing is computed.
    Where torch's counter can't see into the kernels that compute, the model says so by `counted_on_meta`, and is
    counted there. The model's gradients and running statistics are changed: give it one that is not needed further.
    """
    if getattr(model, "counted_on_meta", False):
        model = copy.deepcopy(model).to("meta")
    device = next(model.parameters()).device
    with torch.device(device), FlopCounterMode(display=False) as counter:
        inputs, targets = task.example(_ROWS, input_shape, outputs)
        for _, loss in task.step(model, inputs, targets):
            torch.autograd.backward(loss)
    return int(counter.get_total_flops()) // _ROWS
