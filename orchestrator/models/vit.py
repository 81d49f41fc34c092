"""Vision transformer: an image as a sequence of patches.

Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, and others, "An image is worth 16×16 words: transformers for image
recognition at scale", ICLR 2021, section 3.1 and table 1. In the paper's notation:

    z_0  = [x_class; x_1 E; …; x_N E] + E_pos     E: a patch of P×P pixels → D numbers; E_pos: trained positions
    z'_l = MSA(LN(z_l-1)) + z_l-1                 MSA: multihead self-attention
    z_l  = MLP(LN(z'_l)) + z'_l                   MLP: D → 4D → D with GELU between
    y    = LN(z_L)[class], then one dense layer

    B images, N patches, T = N + 1 tokens, D width

The dial widens and deepens as the table does (Base 768 × 12, Large 1024 × 24, and ViT-Ti and -S of Touvron et al., ICML
2021, 192 and 384), far below it; heads are 16 wide (64 there). P is chosen by the data: the shorter side divided by
`patches_per_side` (14 in ViT-B/16: 224 / 16), rounded up; where P doesn't divide a side, zeros are added at its end.
Departure: the output is one dense layer from the start, where the paper pretrains with a hidden one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.models.attention import Attention
from orchestrator.models.checks import check_dropout, check_images

PAPER = "Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, and others: An image is worth 16×16 words, ICLR 2021"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 16, "depth": 3, "heads": 1},
    "s": {"width": 32, "depth": 4, "heads": 2},
    "m": {"width": 64, "depth": 4, "heads": 4},
    "l": {"width": 96, "depth": 6, "heads": 6},
    "xl": {"width": 192, "depth": 6, "heads": 12},
}


@dataclass(frozen=True)
class Config:
    """width: D, a multiple of `heads`. dropout: where the paper's appendix B.1 has it, after the sum of patches and
    positions and after each dense layer but those of queries, keys and values.
    """

    width: int
    depth: int
    heads: int
    patches_per_side: int = 7
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.patches_per_side < 1:
            raise UserError(f"patches_per_side must be 1 or more, found {self.patches_per_side}")


class Layer(nn.Module):
    """[B, T, D] → [B, T, D]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, config.heads, dropout=0.0, causal=False, rotation=None)
        self.dropout = nn.Dropout(config.dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6),
            *(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(config.dropout)),
            *(nn.Linear(4 * width, width), nn.Dropout(config.dropout)),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        summed: Tensor = tokens + self.mlp(tokens)
        return summed


class ViT(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        patch = math.ceil(min(height, width) / config.patches_per_side)
        # Of the last row and column, for functional.pad: left, right, top, bottom.
        self.padding = (0, -width % patch, 0, -height % patch)
        patches = math.ceil(height / patch) * math.ceil(width / patch)
        self.embedding = nn.Conv2d(channels, config.width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.positions = nn.Parameter(torch.empty(1, patches + 1, config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.Sequential(*(Layer(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.dense = nn.Linear(config.width, outputs)
        nn.init.trunc_normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def embedding_tables(self) -> list[Tensor]:
        """The positions: see `embeddings.py`."""
        return [self.positions]

    def tokens(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, T, D]: the class token, then the patches, row by row."""
        patches = self.embedding(functional.pad(images, self.padding)).flatten(2).mT
        class_tokens = self.class_token.expand(len(images), -1, -1)
        return torch.cat([class_tokens, patches], 1) + self.positions

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        tokens = self.layers(self.dropout(self.tokens(images)))
        outputs: Tensor = self.dense(self.norm(tokens[:, 0]))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("vit", input_shape)
    return ViT(config, input_shape, outputs)
