"""Where a token stands: three ways to tell a transformer.

    sinusoidal   a fixed vector for each position is added to the embedding: Vaswani et al., "Attention is all you
                 need", NeurIPS 2017, section 3.5
    learned      a trained one, as in GPT and BERT: Gehring et al., "Convolutional sequence to sequence learning",
                 ICML 2017, section 3.1
    rotary       nothing is added; queries and keys are turned by an angle that grows with the position, so that their
                 product depends on the distance: Su et al., "RoFormer", 2021, section 3.2

Letters: B batch, H heads, T steps, D width (of a head, for rotary).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Positions = Literal["learned", "sinusoidal", "rotary"]


class Added(nn.Module):
    """Adds learned or sinusoidal positions to embeddings; leaves them alone for rotary ones.

    scale: of the sinusoids, whose deviation is √½ without it. Added to embeddings that begin much smaller, they would
    be all that the network sees.
    """

    table: Tensor

    def __init__(self, positions: Positions, longest: int, width: int, scale: float = 1.0) -> None:
        super().__init__()
        self.positions = positions
        if positions == "learned":
            self.learned = nn.Embedding(longest, width)
        elif positions == "sinusoidal":
            self.register_buffer("table", scale * sinusoids(longest, width), persistent=False)

    def forward(self, embedded: Tensor, first: int = 0) -> Tensor:
        """[B, T, D] → [B, T, D]; `first` is the position of its first step."""
        steps = slice(first, first + embedded.shape[1])
        if self.positions == "learned":
            return embedded + self.learned.weight[steps]
        return embedded + self.table[steps] if self.positions == "sinusoidal" else embedded


class Rotation(nn.Module):
    """Turns queries or keys by their positions."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, longest: int, width: int) -> None:
        super().__init__()
        angles = _angles(longest, width)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, vectors: Tensor, first: int = 0) -> Tensor:
        """[B, H, T, D] → the same shape; components i and i + D/2 are turned together."""
        steps = slice(first, first + vectors.shape[2])
        cosines, sines = self.cosines[steps], self.sines[steps]
        one, other = vectors.chunk(2, -1)
        return torch.cat([one * cosines - other * sines, one * sines + other * cosines], -1).to(vectors.dtype)


def sinusoids(longest: int, width: int) -> Tensor:
    """The table [longest, D] of the paper: sines in the even columns, cosines in the odd ones."""
    angles = _angles(longest, width)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


def _angles(longest: int, width: int) -> Tensor:
    """position / 10000^(2i / D) for i from 0 to D/2. [longest, ⌈D/2⌉]"""
    rates = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.arange(longest)[:, None] * rates
