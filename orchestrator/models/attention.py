"""Scaled dot-product attention with several heads, with the keys and values of earlier steps kept where wanted.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin, "Attention is all you need", NeurIPS 2017,
section 3.2: softmax(Q Kᵀ / √K) V, of K components a head. The computation itself is torch's own kernel.

Letters: B batch, T queries, S keys, W width, H heads, K = W / H.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.models.diagnostics import ROWS, Notes, attention_entropy
from orchestrator.models.positions import Rotation


@dataclass
class Past:
    """Keys and values [B, H, steps, K] of the steps that an attention has seen."""

    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def steps(self) -> int:
        return 0 if self.keys is None else self.keys.shape[2]

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values


class Attention(nn.Module):
    """Of a sequence to itself, or to another one that has been `read`."""

    notes: Notes | None = None

    def __init__(self, width: int, heads: int, dropout: float, *, causal: bool, rotation: Rotation | None) -> None:
        super().__init__()
        self.heads, self.dropout, self.causal = heads, dropout, causal
        self.rotation = rotation
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(
        self, steps: Tensor, source: Past | None = None, own: Tensor | None = None, past: Past | None = None
    ) -> Tensor:
        """[B, T, W] → [B, T, W].

        source: what is attended to, as `read` gives it; without, `steps`. own: [B, S], True where what is attended to
        is no padding. past: what was attended to before these steps, and is to be remembered.
        """
        first = past.steps if past else 0
        queries = self._split(self.query(steps))
        keys, values = self._keys_values(steps) if source is None else (source.keys, source.values)
        if self.rotation is not None:
            queries, keys = self.rotation(queries, first), self.rotation(keys, first)
        assert keys is not None and values is not None
        if past is not None:
            keys, values = past.extend(keys, values)
        elif self.notes:
            self.notes.add("attention_entropy", self, partial(self._entropy, self.notes, queries, keys, own))
        mask = None if own is None else own[:, None, None, :]
        causal = self.causal and queries.shape[2] > 1
        if causal and first:
            # Each of the new steps sees all of the past, and of the new ones those up to itself.
            mask = torch.ones(queries.shape[2], keys.shape[2], dtype=torch.bool, device=steps.device).tril(first)
        attended = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal and not first,
        )
        outputs: Tensor = self.output(attended.transpose(1, 2).flatten(2))
        return outputs

    def read(self, source: Tensor) -> Past:
        """Keys and values of another sequence [B, S, W], once for all steps that attend to it."""
        return Past(*self._keys_values(source))

    def _entropy(self, notes: Notes, queries: Tensor, keys: Tensor, own: Tensor | None) -> Tensor:
        visible = torch.ones(queries.shape[2], keys.shape[2], dtype=torch.bool, device=keys.device)
        visible = visible.tril()[None, None] if self.causal else visible[None, None]
        if own is not None:
            visible = visible & own[:ROWS, None, None, :]
        asking = None if notes.own is None else notes.own[:ROWS]
        return attention_entropy(weights(queries[:ROWS], keys[:ROWS], visible), visible, asking)

    def _split(self, vectors: Tensor) -> Tensor:
        """[B, T, W] → [B, H, T, K]"""
        return vectors.reshape(*vectors.shape[:2], self.heads, -1).transpose(1, 2)

    def _keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(source).chunk(2, 2)
        return self._split(keys), self._split(values)


def weights(queries: Tensor, keys: Tensor, visible: Tensor) -> Tensor:
    """How much each query looks at each place, which torch's kernel does not tell: [B, H, T, K], [B, H, S, K] and
    True where it may look [B or 1, 1, T or 1, S] → [B, H, T, S]."""
    scores = queries @ keys.mT / math.sqrt(queries.shape[3])
    return scores.masked_fill(~visible, -torch.inf).softmax(3)
