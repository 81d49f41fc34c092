"""What networks for sequences share: where a row ends, writing token by token, which parameters are embeddings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from orchestrator.tokens import BEGIN, END, PADDING


def sequence_lengths(inputs: Tensor) -> Tensor:
    """Steps of each row [B, T] or [B, T, F] up to its last one that is not padding, at least 1. [B] int64"""
    own = inputs != PADDING if inputs.ndim == 2 else (inputs != 0).any(2)
    steps = torch.arange(1, inputs.shape[1] + 1, device=inputs.device)
    return (own * steps).amax(1).clamp(min=1)


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


def embedding_parameters(model: nn.Module) -> int:
    """Trained numbers in tables of tokens and positions: they cost no operations, and grow with the vocabulary.

    Scaling laws of language models leave them out (Kaplan et al., "Scaling laws for neural language models", 2020,
    section 2.1). A table that is the output layer's weight as well is counted here.
    """
    tables = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(table.numel() for table in tables.values() if table.requires_grad)
