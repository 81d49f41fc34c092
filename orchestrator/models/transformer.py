"""Transformer: an encoder reads, a decoder writes, both by attention alone.

Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin, "Attention is all you need", NeurIPS 2017,
section 3 and figure 1. Letters: B batch, S source steps, T target steps, W width, V source vocabulary, O outputs.

    encoder   √W × embedding + position, then `depth` blocks of
              x = x + attention(norm(x)) to all of the source         x = x + dense(norm(x))
    decoder   the same of the target so far, in each block also attending to what the encoder made of the source:
              x = x + attention(norm(x)) to itself and before         x = x + attention(norm(x)) to the source
              x = x + dense(norm(x))                                  W → 4 W → W with ReLU between
    logits    norm(x) · target embeddingᵀ

Departure: the norm stands before each part and once at the end, not after each sum, which trains without the paper's
long warmup (Xiong et al., "On layer normalization in the transformer architecture", ICML 2020). Source and target have
tables of their own, as their vocabularies differ. The paper's positions are sinusoidal; others are options.

The dial widens and deepens as the paper's table 3 does (base: 512 wide, 6 blocks, 8 heads), far below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models.attention import Attention, Past
from orchestrator.models.checks import check_dropout, found
from orchestrator.models.diagnostics import Notes
from orchestrator.models.positions import Added, Positions, Rotation
from orchestrator.models.sequences import greedy
from orchestrator.tokens import BEGIN, PADDING, Tokens

PAPER = "Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin: Attention is all you need, NeurIPS 2017"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 24, "depth": 2, "heads": 2},
    "s": {"width": 48, "depth": 2, "heads": 4},
    "m": {"width": 64, "depth": 3, "heads": 4},
    "l": {"width": 96, "depth": 3, "heads": 6},
    "xl": {"width": 128, "depth": 4, "heads": 8},
}


@dataclass(frozen=True)
class Config:
    """dropout: of the embeddings and of what each part adds (section 5.4), not of attention's weights."""

    width: int
    depth: int
    heads: int
    positions: Positions = "sinusoidal"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class Block(nn.Module):
    """Of the encoder, or with `writes` of the decoder."""

    def __init__(self, config: Config, longest: int, *, writes: bool) -> None:
        super().__init__()
        width, heads = config.width, config.heads
        rotation = Rotation(longest, width // heads) if config.positions == "rotary" else None
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout=0.0, causal=writes, rotation=rotation)
        if writes:
            self.source_norm = nn.LayerNorm(width)
            self.source_attention = Attention(width, heads, dropout=0.0, causal=False, rotation=None)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, steps: Tensor, own: Tensor, source: Past | None = None, past: Past | None = None) -> Tensor:
        """[B, S or T, W] → the same. own: [B, S], True where the source is no padding. source: what was read of it."""
        itself = None if source else own
        steps = steps + self.dropout(self.attention(self.attention_norm(steps), own=itself, past=past))
        if source:
            steps = steps + self.dropout(self.source_attention(self.source_norm(steps), source, own))
        result: Tensor = steps + self.dropout(self.dense(self.dense_norm(steps)))
        return result


class Side(nn.Module):
    """Embedding, positions, blocks and norm of the encoder or the decoder."""

    def __init__(self, config: Config, longest: int, vocabulary: int, *, writes: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.positions = Added(config.positions, longest, config.width)
        self.blocks = nn.ModuleList(Block(config, longest, writes=writes) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def embed(self, tokens: Tensor, first: int = 0) -> Tensor:
        scaled = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        embedded: Tensor = self.dropout(self.positions(scaled, first))
        return embedded


class Transformer(nn.Module):
    notes: Notes | None = None

    def __init__(self, config: Config, longest: int, vocabulary: int, outputs: int) -> None:
        super().__init__()
        self.encoder = Side(config, longest, vocabulary, writes=False)
        self.decoder = Side(config, longest + 2, outputs, writes=True)
        self.output = nn.Linear(config.width, outputs, bias=False)
        self.output.weight = self.decoder.embedding.weight

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, S] → [B, O]: logits of the first token to be written."""
        return self.at_every_step(inputs, torch.full_like(inputs[:, :1], BEGIN))[:, 0]

    def at_every_step(self, inputs: Tensor, before: Tensor) -> Tensor:
        """[B, S], [B, T] → [B, T, O]: logits of what follows each of the tokens `before`."""
        sources, own = self._read(inputs)
        return self._write(before, sources, own, [None] * len(sources))

    def greedy(self, inputs: Tensor, steps: int) -> Tensor:
        """[B, S] → [B, steps]: at each step the most probable token, given those before it."""
        sources, own = self._read(inputs)
        pasts = [Past() for _ in sources]
        return greedy(lambda token: self._write(token, sources, own, pasts)[:, 0], len(inputs), steps, inputs.device)

    def _read(self, inputs: Tensor) -> tuple[list[Past], Tensor]:
        """[B, S] → for each block of the decoder what it attends to, and where there is no padding [B, S]."""
        own = inputs != PADDING
        if self.notes:
            self.notes.own = own
        read = self.encoder.embed(inputs)
        for block in self.encoder.blocks:
            read = block(read, own)
        read = self.encoder.norm(read)
        return [block.source_attention.read(read) for block in self.decoder.blocks], own  # type: ignore[operator,union-attr]

    def _write(self, tokens: Tensor, sources: list[Past], own: Tensor, pasts: list[Past] | list[None]) -> Tensor:
        """[B, T] → [B, T, O]"""
        if self.notes:
            self.notes.own = tokens != PADDING
        steps = self.decoder.embed(tokens, pasts[0].steps if pasts[0] else 0)
        for block, source, past in zip(self.decoder.blocks, sources, pasts, strict=True):
            steps = block(steps, own, source, past)
        logits: Tensor = self.output(self.decoder.norm(steps))
        return logits


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    if not isinstance(input_shape, Tokens):
        raise UserError(f"transformer takes text (token ids), found {found(input_shape)}")
    if config.width % config.heads or (config.positions == "rotary" and config.width // config.heads % 2):
        raise UserError(f"transformer: {config.heads} heads don't share a width of {config.width} evenly")
    return Transformer(config, input_shape.time, input_shape.vocabulary, outputs)
