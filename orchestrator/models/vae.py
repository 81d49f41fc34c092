"""Variational autoencoder: an encoder to a distribution of latents, and a decoder from them to images.

Kingma, Welling, "Auto-encoding variational Bayes", ICLR 2014; the loss, with the β of Higgins et al., ICLR 2017, is in
`tasks/generation.py`. Letters: B batch, P pixels (of all channels), W width, C maps, L latents.

    dense            encoder P → W → 2 L                          decoder L → W → P
    convolutional    encoder C and 2 C maps of 3×3, stride 2,     decoder L → 2 C maps, twice made twice as large
                     then → 2 L                                   and convolved (3×3) → C → channels

The encoder's 2 L are mean and logarithm of the variance; the decoder's P are logits of a Bernoulli for each pixel.
Dense with a width of 500 and tanh is the paper's network for MNIST (section 5, appendix C). The dial widens, with more
latents the wider; one hidden layer is kept.

Departures: the paper has no convolutions; enlarging by repeated pixels, then convolving, leaves no checkerboard (Odena
et al., "Deconvolution and checkerboard artifacts", Distill 2016). Dropout, where a space asks for it, comes after each
hidden layer; the paper has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models.activations import ACTIVATIONS, Activation

PAPER = "Kingma, Welling: Auto-encoding variational Bayes, ICLR 2014"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 32, "maps": 4, "latents": 4},
    "s": {"width": 72, "maps": 8, "latents": 8},
    "m": {"width": 160, "maps": 16, "latents": 12},
    "l": {"width": 360, "maps": 32, "latents": 20},
    "xl": {"width": 800, "maps": 64, "latents": 32},
}


@dataclass(frozen=True)
class Config:
    """width: of the dense hidden layers; maps: of the first convolution; only those of the layers chosen are used."""

    width: int
    maps: int
    latents: int
    layers: Literal["dense", "convolutional"] = "dense"
    activation: Activation = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be at least 0 and below 1, found {self.dropout}")


class VAE(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.input_shape, self.latents = input_shape, config.latents
        parts = convolutional if config.layers == "convolutional" else dense
        self.encoder, self.decoder = parts(config, input_shape)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, channels, height, width] → mean and logarithm of the variance of q(z | x), each [B, L]."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """[B, L] → [B, P]: logits of p(x | z)."""
        logits: Tensor = self.decoder(latents)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, P]: logits of the images as the means of their latents tell them."""
        return self.decode(self.encode(images)[0])

    def generate(self, rows: int) -> Tensor:
        """New images [rows, channels, height, width] in [0, 1]: each pixel's probability to be white, of latents from
        the prior, drawn from torch's global generator."""
        latents = torch.randn(rows, self.latents, device=next(self.parameters()).device)
        return self.decode(latents).sigmoid().reshape(rows, *self.input_shape)


def dense(config: Config, input_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    pixels, activation = math.prod(input_shape), ACTIVATIONS[config.activation]
    encoder = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(pixels, config.width), activation(), nn.Dropout(config.dropout)),
        nn.Linear(config.width, 2 * config.latents),
    )
    decoder = nn.Sequential(
        *(nn.Linear(config.latents, config.width), activation(), nn.Dropout(config.dropout)),
        nn.Linear(config.width, pixels),
    )
    return encoder, decoder


def convolutional(config: Config, input_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    channels, *sides = input_shape
    half = tuple((side + 1) // 2 for side in sides)
    quarter = tuple((side + 1) // 2 for side in half)
    maps, activation = config.maps, ACTIVATIONS[config.activation]
    features = 2 * maps * math.prod(quarter)
    encoder = nn.Sequential(
        *(nn.Conv2d(channels, maps, 3, stride=2, padding=1), activation(), nn.Dropout(config.dropout)),
        *(nn.Conv2d(maps, 2 * maps, 3, stride=2, padding=1), activation(), nn.Dropout(config.dropout)),
        nn.Flatten(),
        nn.Linear(features, 2 * config.latents),
    )
    decoder = nn.Sequential(
        *(nn.Linear(config.latents, features), activation(), nn.Dropout(config.dropout)),
        nn.Unflatten(1, (2 * maps, *quarter)),
        nn.Upsample(half),
        *(nn.Conv2d(2 * maps, maps, 3, padding=1), activation(), nn.Dropout(config.dropout)),
        nn.Upsample(tuple(sides)),
        nn.Conv2d(maps, channels, 3, padding=1),
        nn.Flatten(),
    )
    return encoder, decoder


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """`outputs` is not used: they are the pixels of the input."""
    if len(input_shape) != 3 or min(input_shape[1:]) < 8:
        shape = "×".join(map(str, input_shape))
        raise UserError(f"vae takes images [channels, height, width] of at least 8×8, found inputs of {shape}")
    return VAE(config, input_shape)
