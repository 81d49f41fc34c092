"""Which of a network's parameters are embeddings."""

from __future__ import annotations

from torch import Tensor, nn


def embedding_parameters(model: nn.Module) -> int:
    """Trained numbers in tables that are looked up by tokens, positions, or what is said of a graph's nodes.

    They grow with the vocabulary, not with the network, and a look-up costs nothing: scaling laws of language models
    leave them out (Kaplan et al., "Scaling laws for neural language models", 2020, section 2.1). A table that is the
    output layer's weight as well is counted here.

    A module whose tables are no `nn.Embedding` names them by a method `embedding_tables`.
    """
    found: dict[int, Tensor] = {}
    for module in model.modules():
        named = getattr(module, "embedding_tables", None)
        tables = [module.weight] if isinstance(module, nn.Embedding) else named() if named else []
        found |= {id(table): table for table in tables}
    return sum(table.numel() for table in found.values() if table.requires_grad)
