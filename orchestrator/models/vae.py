"""Variational autoencoder: an encoder to a distribution of latents, and a decoder from them to images or rows.

Kingma, Welling, "Auto-encoding variational Bayes", ICLR 2014; the loss, with the β of Higgins et al., ICLR 2017, is in
`tasks/generation.py` and `tasks/anomaly_detection.py`. Letters: B batch, P pixels (of all channels) or numbers of a
row, W width, C maps, L latents.

    dense            encoder P → W → 2 L                          decoder L → W → P, of rows 2 P
    convolutional    encoder C and 2 C maps of 3×3, stride 2,     decoder L → 2 C maps, twice made twice as large
                     then → 2 L                                   and convolved (3×3) → C → channels

The encoder's 2 L are mean and logarithm of the variance; the decoder's P are logits of a Bernoulli for each pixel. Of
rows of real numbers its 2 P are mean and variance of a Gaussian for each number (appendix C.2); or the variance is the
same for all rows, as in Rybkin et al., "Simple and effective VAE training with calibrated decoders", ICML 2021.
Dense with a width of 500 and tanh is the paper's network for MNIST (section 5, appendix C). The dial widens, with more
latents the wider; one hidden layer is kept.

Departures: the paper has no convolutions; enlarging by repeated pixels, then convolving, leaves no checkerboard (Odena
et al., "Deconvolution and checkerboard artifacts", Distill 2016). Dropout, where a space asks for it, comes after each
hidden layer; the paper has none. A variance has a least value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.models.activations import ACTIVATIONS, Activation
from orchestrator.models.checks import check_dropout, check_images
from orchestrator.models.diagnostics import Notes, active_units

PAPER = "Kingma, Welling: Auto-encoding variational Bayes, ICLR 2014"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 32, "maps": 4, "latents": 4},
    "s": {"width": 72, "maps": 8, "latents": 8},
    "m": {"width": 160, "maps": 16, "latents": 12},
    "l": {"width": 360, "maps": 32, "latents": 20},
    "xl": {"width": 800, "maps": 64, "latents": 32},
}

# Of numbers with a deviation of 1. It makes 1 the largest density and so 0 nats the least loss, as of black and white
# images; and a number that few values are possible for can't outweigh all others.
LEAST_VARIANCE = 1 / (2 * math.pi)


@dataclass(frozen=True)
class Config:
    """width: of the dense hidden layers; maps: of the first convolution; only those of the layers chosen are used.
    variance: of rows of numbers, told for each row or shared by all."""

    width: int
    maps: int
    latents: int
    layers: Literal["dense", "convolutional"] = "dense"
    variance: Literal["row", "shared"] = "row"
    activation: Activation = "relu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class VAE(nn.Module):
    notes: Notes | None = None

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.input_shape, self.latents = input_shape, config.latents
        parts = convolutional if config.layers == "convolutional" else dense
        self.encoder, self.decoder = parts(config, input_shape)

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """[B, channels, height, width] or [B, P] → mean and logarithm of the variance of q(z | x), each [B, L]."""
        mean, log_variance = self.encoder(inputs).chunk(2, dim=1)
        if self.notes:
            self.notes.add("active_units", self, partial(active_units, mean))
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """[B, L] → p(x | z): logits [B, P] of images, mean and variance [B, 2, P] of rows."""
        decoded: Tensor = self.decoder(latents)
        return decoded

    def forward(self, inputs: Tensor) -> Tensor:
        """[B, channels, height, width] or [B, P] → [B, P]: logits of the images, or the rows, as the means of their
        latents tell them."""
        decoded = self.decode(self.encode(inputs)[0])
        return decoded if decoded.ndim == 2 else decoded[:, 0]

    def generate(self, rows: int) -> Tensor:
        """New images [rows, channels, height, width] in [0, 1]: each pixel's probability to be white, of latents from
        the prior, drawn from torch's global generator."""
        latents = torch.randn(rows, self.latents, device=next(self.parameters()).device)
        return self.decode(latents).sigmoid().reshape(rows, *self.input_shape)


class Gaussian(nn.Module):
    """[B, W] → [B, 2, P]: mean and variance of each number of a row."""

    def __init__(self, width: int, numbers: int, variance: str) -> None:
        super().__init__()
        self.mean = nn.Linear(width, numbers)
        self.spread = nn.Linear(width, numbers) if variance == "row" else nn.Parameter(torch.zeros(numbers))

    def forward(self, hidden: Tensor) -> Tensor:
        mean = self.mean(hidden)
        spread = self.spread(hidden) if isinstance(self.spread, nn.Linear) else self.spread.expand_as(mean)
        # Not the exponential: of rows far out it is no float32.
        return torch.stack([mean, LEAST_VARIANCE + functional.softplus(spread)], 1)


def dense(config: Config, input_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    pixels, activation = math.prod(input_shape), ACTIVATIONS[config.activation]
    encoder = nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(pixels, config.width), activation(), nn.Dropout(config.dropout)),
        nn.Linear(config.width, 2 * config.latents),
    )
    decoder = nn.Sequential(
        *(nn.Linear(config.latents, config.width), activation(), nn.Dropout(config.dropout)),
        nn.Linear(config.width, pixels) if len(input_shape) > 1 else Gaussian(config.width, pixels, config.variance),
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
    """`outputs` is not used: they are the values of the input."""
    if len(input_shape) == 1:
        if config.layers == "convolutional":
            raise UserError(f"vae: convolutional layers need images, found rows of {input_shape[0]} numbers")
    else:
        check_images("vae", input_shape, others=", or rows")
    return VAE(config, input_shape)
