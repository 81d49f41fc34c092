"""Generative adversarial network, of convolutions (DCGAN): a generator of images and a discriminator of them.

Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial networks",
ICLR 2016, section 3; the game and its losses are in `tasks/adversarial_generation.py`. Letters: B batch, C maps, L
latents.

    generator        L → 2 C maps of a quarter of the sides → C of a half → channels, by 4×4 kernels of stride ½
    discriminator    channels → C of a half → 2 C of a quarter → 1, by 4×4 kernels of stride 2

ReLU and batch normalization in the generator, leaky ReLU (0.2) in the discriminator, weights from N(0, 0.02²).

With `batch_norm` the discriminator's second layer is normalized too, as all but its first are in the paper; not with a
gradient penalty, which is of each image by itself (Gulrajani et al., 2017, section 4).

Departures: two steps of twofold size where the paper's 64×64 images have four; pixels are in [0, 1], so a sigmoid where
the paper has tanh. Images whose sides are no multiples of 4 are cut from larger ones. Dropout, where a space asks for
it, is in the discriminator; the paper has none.

The dial doubles the maps, as the paper's own networks do from layer to layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.models.checks import check_dropout, check_images

PAPER = "Radford, Metz, Chintala: Unsupervised representation learning with deep convolutional GANs, ICLR 2016"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"maps": 4, "latents": 16},
    "s": {"maps": 8, "latents": 32},
    "m": {"maps": 16, "latents": 64},
    "l": {"maps": 32, "latents": 100},
    "xl": {"maps": 64, "latents": 100},
}


@dataclass(frozen=True)
class Config:
    """maps: of the layers next to the image; latents: of the noise; batch_norm, dropout: in the discriminator."""

    maps: int
    latents: int
    batch_norm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class Generator(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *self.sides = input_shape
        quarter = [math.ceil(side / 4) for side in self.sides]
        maps = config.maps
        self.layers = nn.Sequential(
            nn.Linear(config.latents, 2 * maps * math.prod(quarter), bias=False),
            nn.Unflatten(1, (2 * maps, *quarter)),
            *(nn.BatchNorm2d(2 * maps), nn.ReLU()),
            nn.ConvTranspose2d(2 * maps, maps, 4, stride=2, padding=1, bias=False),
            *(nn.BatchNorm2d(maps), nn.ReLU()),
            nn.ConvTranspose2d(maps, channels, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """[B, L] → [B, channels, height, width] in [0, 1]."""
        images: Tensor = self.layers(latents)
        return images[:, :, : self.sides[0], : self.sides[1]]


class GAN(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latents, maps = config.latents, config.maps
        channels, *sides = input_shape
        self.generator = Generator(config, input_shape)
        self.discriminator = nn.Sequential(
            *(nn.Conv2d(channels, maps, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Dropout(config.dropout)),
            nn.Conv2d(maps, 2 * maps, 4, stride=2, padding=1, bias=not config.batch_norm),
            *([nn.BatchNorm2d(2 * maps)] if config.batch_norm else []),
            *(nn.LeakyReLU(0.2), nn.Dropout(config.dropout)),
            nn.Flatten(),
            nn.Linear(2 * maps * math.prod(side // 4 for side in sides), 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, 1]: the discriminator's score, higher for what seems real."""
        scores: Tensor = self.discriminator(images)
        return scores

    def score(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B]"""
        return self.forward(images).squeeze(1)

    def generate(self, rows: int) -> Tensor:
        """New images [rows, channels, height, width], of noise from torch's global generator."""
        device = next(self.parameters()).device
        images: Tensor = self.generator(torch.randn(rows, self.latents, device=device))
        return images


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """`outputs` is not used: a generator makes images of the input's shape."""
    check_images("gan", input_shape)
    return GAN(config, input_shape)
