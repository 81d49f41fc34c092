"""Floating-point operations of training, counted as one small step runs, by torch's own formulas.

Texts are counted at their full length, padding included, though networks may skip it: what a row costs is said alike
for all families, and on a GPU it is what is computed. Graphs are counted at their mean size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

from orchestrator.tasks import Task

_ROWS = 2  # batch normalization needs more than one row in training mode


def _convolution_backward(outputs: Tensor, inputs: Tensor, kernel: Tensor, *others: Any, **named: Any) -> int:
    """As much as forwards for each gradient that is wanted: the inputs' and the kernel's.

    torch's own count ignores groups: for the gradient of a depthwise kernel it is too large by the number of channels.
    """
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, wanted = others
    gradients = int(wanted[0]) + int(wanted[1])
    shapes = list(inputs.shape), list(kernel.shape), list(outputs.shape)
    return gradients * int(conv_flop_count(*shapes, transposed=transposed))


_FORMULAS = {**flop_registry, torch.ops.aten.convolution_backward: _convolution_backward}


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the operations of what runs under it.

    torch's FlopCounterMode counts the same, and takes three times as long, as it also tells modules apart.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        result = function(*args, **named)
        if formula := _FORMULAS.get(function._overloadpacket):
            self.total += int(formula(*args, **named, out_val=result))
        return result


def flops_per_sample(model: nn.Module, task: Task, input_shape: tuple[int, ...], outputs: int) -> int:
    """Forward and backward of one training step, per row.

    Matrix products and convolutions are counted (a multiplication and an addition are two), elementwise operations
    and the optimizer are not: the convention of scaling studies. On a model of the meta device nothing is computed.
    Attention is computed in the plain way, as there is no formula for the fused kernel of a CPU. Where kernels hide all
    that they compute, the model says so by `counted_on_meta`, and is counted there. The model's gradients and running
    statistics are changed: give it one that is not needed further.
    """
    if getattr(model, "counted_on_meta", False):
        model = copy.deepcopy(model).to("meta")
    device = next(model.parameters()).device
    counter = _Counter()
    with torch.device(device), sdpa_kernel(SDPBackend.MATH), counter:
        inputs, targets = task.example(_ROWS, input_shape, outputs)
        for _, loss in task.step(model, inputs, targets):
            torch.autograd.backward(loss)
    return counter.total // _ROWS
