"""Forecasts that are relative to the last known step of a series.

Else a level that lies elsewhere than in training is forecast back towards where it was: Zeng, Chen, Zhang, Xu, "Are
transformers effective for time series forecasting?", AAAI 2023 (NLinear).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def from_last_step(told: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    """What `told` says of windows [B, T, F], less their last step, with that step added: [B, H × F], H steps ahead."""
    last = windows[:, -1:]
    outputs = told(windows - last)
    return (outputs.reshape(len(outputs), -1, last.shape[2]) + last).flatten(1)
