"""What networks for sequences share: where a padded row ends, and which parameters are embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.tokens import PADDING


def sequence_lengths(inputs: Tensor) -> Tensor:
    """Steps of each row [B, T] or [B, T, F] up to its last one that is not padding, at least 1. [B] int64"""
    own = inputs != PADDING if inputs.ndim == 2 else (inputs != 0).any(2)
    steps = torch.arange(1, inputs.shape[1] + 1, device=inputs.device)
    return (own * steps).amax(1).clamp(min=1)


def embedding_parameters(model: nn.Module) -> int:
    """Trained numbers in tables of tokens and positions: they cost no operations, and grow with the vocabulary.

    Scaling laws of language models leave them out (Kaplan et al., "Scaling laws for neural language models", 2020,
    section 2.1). A table that is the output layer's weight as well is counted here.
    """
    tables = {id(module.weight): module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
    return sum(table.numel() for table in tables.values() if table.requires_grad)
