"""Floating-point operations of training, counted by torch as it runs one small step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from orchestrator.tasks import Task

_ROWS = 2  # batch normalization needs more than one row in training mode


def _convolution_backward(outputs: Any, inputs: Any, kernel: Any, *others: Any, **named: Any) -> int:
    """As much as forwards for each gradient that is wanted: the inputs' and the kernel's.

    torch's own count ignores groups: for the gradient of a depthwise kernel it is too large by the number of channels.
    """
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, wanted = others
    gradients = int(wanted[0]) + int(wanted[1])
    return gradients * int(conv_flop_count(inputs, kernel, outputs, transposed=transposed))


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
    counts = {torch.ops.aten.convolution_backward: _convolution_backward}
    with torch.device(device), FlopCounterMode(display=False, custom_mapping=counts) as counter:
        inputs, targets = task.example(_ROWS, input_shape, outputs)
        for _, loss in task.step(model, inputs, targets):
            torch.autograd.backward(loss)
    return int(counter.get_total_flops()) // _ROWS
