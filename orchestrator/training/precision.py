"""Half precision where the hardware gains by it: forward passes in 16 bits, weights and updates in 32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from orchestrator.documents import nearest
from orchestrator.errors import UserError

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def autocast_type(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The type of autocast, or None for float32 throughout.

    auto: on a GPU bfloat16, or float16 where it lacks that; float32 elsewhere, where 16 bits gain nothing.

    Raises:
        UserError: an unknown precision, or float16 without a GPU.
    """
    if precision not in get_args(Precision):
        raise UserError(f"unknown precision {precision!r}; {nearest(precision, get_args(Precision))}")
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if precision == "float16" and device.type != "cuda":
        raise UserError(f"precision float16 needs a GPU, found {device}; valid here: auto, float32, bfloat16")
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def under_autocast(
    losses: Iterator[tuple[str, Tensor]], device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """The same losses, computed under autocast; what the caller does between them is not, as torch advises."""
    while True:
        with torch.autocast(device.type, dtype):
            item = next(losses, None)
        if item is None:
            return
        yield item
