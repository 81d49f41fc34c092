"""GoogLeNet: modules that look at their input through windows of several sizes at once.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich, "Going deeper with convolutions", CVPR 2015;
the table below is its table 1, whose names are kept. A module concatenates four branches (figure 2b):

    1×1      1×1 "reduce", 3×3      1×1 "reduce", 5×5      3×3 maxima, 1×1 "projection"

The dial takes some of the table's rows and multiplies all widths, as the width multiplier of TF-Slim's networks does.
After conv1, after conv2 and between the threes, fours and fives the maps are halved by 3×3 maxima of stride 2. Images
of less than 128 pixels have a conv1 of 3×3 and stride 1 in place of 7×7 and stride 2, and a pooling of maps of 4×4 or
less is left out (28 → 14 → 7 → 4, 8 → 4).

Departures: no auxiliary classifiers, which are thrown away after training; no local response normalization; poolings
are padded to halve exactly. Batch normalization before each activation, an option that is on unless told, is that of
Ioffe and Szegedy (ICML 2015), who also replaced 5×5 by two 3×3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.models.checks import check_dropout, check_images

PAPER = "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, and others: Going deeper with convolutions, CVPR 2015"

CONV1, CONV2_REDUCE, CONV2 = 64, 64, 192
MODULES: Mapping[str, tuple[int, int, int, int, int, int]] = {
    #    1×1  3×3 reduce  3×3  5×5 reduce  5×5  pool projection
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

SIZES: Mapping[str, Mapping[str, Any]] = {
    "xs": {"width": 0.1, "modules": ("3a", "4a", "5a")},
    "s": {"width": 0.16, "modules": ("3a", "3b", "4a", "5a")},
    "m": {"width": 0.25, "modules": ("3a", "3b", "4a", "4e", "5a")},
    "l": {"width": 0.35, "modules": ("3a", "3b", "4a", "4b", "4e", "5a", "5b")},
    "xl": {"width": 0.5, "modules": tuple(MODULES)},
}


@dataclass(frozen=True)
class Config:
    """width: of every layer, as a share of the table's; modules: which of the table's, in its order.

    dropout: before the output; 0.4 in the paper.
    """

    width: float
    modules: tuple[str, ...]
    batch_norm: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


def convolution(channels: int, width: int, kernel: int, config: Config, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the maps' size (but for its stride), and its activation."""
    # Batch normalization subtracts the mean, and with it any bias of the convolution before.
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=not config.batch_norm)
    ]
    if config.batch_norm:
        layers.append(nn.BatchNorm2d(width))
    return nn.Sequential(*layers, nn.ReLU())


class Inception(nn.Module):
    """[B, channels, H, W] → [B, sum of the branches' widths, H, W]; `widths` are a row of the table."""

    def __init__(self, channels: int, widths: tuple[int, ...], config: Config) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, projection = widths
        self.branch1 = convolution(channels, one, 1, config)
        self.branch3 = nn.Sequential(convolution(channels, reduce3, 1, config), convolution(reduce3, three, 3, config))
        self.branch5 = nn.Sequential(convolution(channels, reduce5, 1, config), convolution(reduce5, five, 5, config))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolution(channels, projection, 1, config))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self.branch1(maps), self.branch3(maps), self.branch5(maps), self.pooled(maps)], 1)


class GoogLeNet(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        small = min(sides) < 128

        side = min(sides) if small else -(-min(sides) // 2)

        def halving() -> nn.Module:
            nonlocal side
            if side <= 4:
                return nn.Identity()
            side = -(-side // 2)
            return nn.MaxPool2d(3, stride=2, padding=1)

        def scaled(*widths: int) -> tuple[int, ...]:
            return tuple(max(1, round(width * config.width)) for width in widths)

        conv1, reduce2, conv2 = scaled(CONV1, CONV2_REDUCE, CONV2)
        layers = [
            *(convolution(channels, conv1, 3 if small else 7, config, stride=1 if small else 2), halving()),
            *(convolution(conv1, reduce2, 1, config), convolution(reduce2, conv2, 3, config)),
        ]
        channels, stage = conv2, "2"
        for name in config.modules:
            if name[0] != stage:
                layers.append(halving())
                stage = name[0]
            widths = scaled(*MODULES[name])
            layers.append(Inception(channels, widths, config))
            channels = sum(widths[index] for index in (0, 2, 4, 5))
        self.maps = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        outputs: Tensor = self.dense(self.dropout(self.maps(images).mean((2, 3))))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("inception", input_shape)
    return GoogLeNet(config, input_shape, outputs)
