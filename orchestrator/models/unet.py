"""U-Net: a class for every pixel, from maps that are made small and then large again.

Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015, figure 1. In
its words, with W maps at full size and d steps down:

    contracting path   3×3, 3×3 of W maps; then d times: 2×2 maxima of stride 2, 3×3, 3×3 of twice as many maps
    expansive path     d times: up-convolution 2×2 of half as many maps, beside it the maps of the contracting path that
                       are of the same size (the skip), 3×3, 3×3
    output             1×1 to O classes

Each 3×3 is followed by a rectifier. W = 64 and d = 4 is the paper's network, of 23 convolutions. The dial widens and
deepens, far below it: each step down costs as much as the one above and has four times its parameters.

Departures: convolutions are padded, so that there is a class for the pixels at the edge too, where the paper's output
is smaller than its image and the skips are cropped; sides that d halvings don't divide get zeros at their end, which
are cut off again. Batch normalization after each 3×3, unless `batch_norm` is false, as in most later work (Çiçek et
al., "3D U-Net", MICCAI 2016); the paper has none. The loss is in `tasks/segmentation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.models.checks import check_dropout, check_images

PAPER = "Ronneberger, Fischer, Brox: U-Net, convolutional networks for biomedical image segmentation, MICCAI 2015"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 4, "depth": 3},
    "s": {"width": 8, "depth": 3},
    "m": {"width": 8, "depth": 4},
    "l": {"width": 16, "depth": 4},
    "xl": {"width": 32, "depth": 4},
}


@dataclass(frozen=True)
class Config:
    """width: maps at full size; depth: steps down. dropout: at the end of the contracting path, as in section 3.1."""

    width: int
    depth: int
    batch_norm: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


def convolutions(channels: int, width: int, batch_norm: bool) -> nn.Sequential:
    """[B, channels, H, W] → [B, width, H, W]: two convolutions; normalization makes their bias superfluous."""
    layers: list[nn.Module] = []
    for inputs in (channels, width):
        layers.append(nn.Conv2d(inputs, width, 3, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm2d(width)] if batch_norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class UNet(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        unit = 2**config.depth
        # Of the last row and column, for functional.pad: left, right, top, bottom.
        self.sides, self.padding = sides, (0, -sides[1] % unit, 0, -sides[0] % unit)
        widths = [config.width * 2**step for step in range(config.depth + 1)]
        self.down = nn.ModuleList(
            convolutions(before, width, config.batch_norm)
            for before, width in zip([channels, *widths], widths, strict=False)
        )
        self.dropout = nn.Dropout(config.dropout)
        narrower = widths[-2::-1]
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in narrower)
        self.up = nn.ModuleList(convolutions(2 * width, width, config.batch_norm) for width in narrower)
        self.output = nn.Conv2d(config.width, outputs, 1)
        for module in self.modules():
            # Section 3: standard deviation √(2 / N), N the numbers that one output comes from.
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / module.in_channels))

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O, height, width]: logits of the classes of each pixel."""
        maps, skips = functional.pad(images, self.padding), []
        for step, down in enumerate(self.down):
            maps = down(functional.max_pool2d(maps, 2) if step else maps)
            skips.append(maps)
        maps = self.dropout(skips.pop())
        for enlarge, up in zip(self.enlarge, self.up, strict=True):
            maps = up(torch.cat([skips.pop(), enlarge(maps)], 1))
        logits: Tensor = self.output(maps)
        return logits[:, :, : self.sides[0], : self.sides[1]]


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("unet", input_shape)
    return UNet(config, input_shape, outputs)
