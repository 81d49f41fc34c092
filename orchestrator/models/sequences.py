"""What networks for sequences share: where a row ends, what is known there, and writing token by token."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from orchestrator.tokens import BEGIN, END, PADDING


def sequence_lengths(inputs: Tensor) -> Tensor:
    """Steps of each row [B, T] or [B, T, F] up to its last one that is not padding, at least 1. [B] int64"""
    own = inputs != PADDING if inputs.ndim == 2 else (inputs != 0).any(2)
    steps = torch.arange(1, inputs.shape[1] + 1, device=inputs.device)
    return (own * steps).amax(1).clamp(min=1)


def last_states(states: Tensor, lengths: Tensor, width: int) -> Tensor:
    """States [B, T, D × W] of D directions, the second read backwards → each one's last [B, D × W]."""
    rows = torch.arange(len(states), device=states.device)
    return torch.cat([states[rows, lengths - 1, :width], states[:, 0, width:]], 1)


def greedy(after: Callable[[Tensor], Tensor], rows: int, steps: int, device: torch.device) -> Tensor:
    """The most probable token at each step [rows, steps], from <begin> on; <end> is followed by nothing but <end>.

    `after` takes the last token of each row [rows, 1], remembers those before, and gives logits [rows, outputs].
    """
    said = torch.full((rows, steps), END, device=device)
    token = torch.full((rows, 1), BEGIN, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    for step in range(steps):
        token = after(token).argmax(1, keepdim=True)
        said[:, step] = torch.where(ended, END, token[:, 0])
        ended |= token[:, 0] == END
        if bool(ended.all()):
            break
    return said
