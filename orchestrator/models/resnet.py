"""ResNet: blocks of convolutions that learn what to add to their input.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016 (published 2015). Layer names are those
of its table 1. Stages conv2_x, conv3_x, … each halve the maps (but the first) and double the width.

    block        3×3 W, 3×3 W                 plus the input   (figure 5, left)
    bottleneck   1×1 W, 3×3 W, 1×1 4W         plus the input   (figure 5, right)

The dial is the paper's network for small images (section 4.2): one 3×3 convolution, then three stages of n blocks, of
widths W, 2W, 4W, so 6n + 2 layers. `m` to `xl` have the paper's W = 16 or twice it; `l` is its ResNet-20. The dial
widens first and deepens then, since one block a stage is what costs a CPU least for what it learns. Images of 128
pixels or more begin, as table 1 does, with conv1 of 7×7 and stride 2 and with 3×3 maxima of stride 2.

Departures: a shortcut that changes shape is always a projection (the paper's option B, where its small networks pad
with zeros, option A); the stride of a bottleneck is at its 3×3 convolution, as in torchvision. Dropout, where a space
asks for it, comes between the convolutions of a block (Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016); the
paper has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from orchestrator.models.checks import check_dropout, check_images

PAPER = "He, Zhang, Ren, Sun: Deep residual learning for image recognition, CVPR 2016"

SIZES: Mapping[str, Mapping[str, Any]] = {
    "xs": {"width": 4, "blocks": (1, 1, 1)},
    "s": {"width": 8, "blocks": (1, 1, 1)},
    "m": {"width": 16, "blocks": (1, 1, 1)},
    "l": {"width": 16, "blocks": (3, 3, 3)},  # ResNet-20
    "xl": {"width": 32, "blocks": (3, 3, 3)},
}


@dataclass(frozen=True)
class Config:
    """width: maps of the first stage; blocks: of each stage; dropout: between the convolutions of a block."""

    width: int
    blocks: tuple[int, ...]
    bottleneck: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


def convolution(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution and its batch normalization, which makes a bias superfluous."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(width)
    )


class Block(nn.Module):
    """[B, channels, H, W] → [B, width or 4 width, H / stride, W / stride]."""

    def __init__(self, channels: int, width: int, stride: int, config: Config) -> None:
        super().__init__()
        if config.bottleneck:
            outputs = 4 * width
            self.residual = nn.Sequential(
                *(convolution(channels, width, 1), nn.ReLU()),
                *(convolution(width, width, 3, stride), nn.ReLU(), nn.Dropout(config.dropout)),
                convolution(width, outputs, 1),
            )
        else:
            outputs = width
            self.residual = nn.Sequential(
                *(convolution(channels, width, 3, stride), nn.ReLU(), nn.Dropout(config.dropout)),
                convolution(width, width, 3),
            )
        same = stride == 1 and channels == outputs
        # A 1×1 kernel of stride 2 in two steps, since torch 2.13 writes past its memory in the backward pass of such a
        # convolution (of 4 maps, channels last, on a CPU with AVX2). Maxima of 1×1 of stride 2 are every second pixel.
        subsampled = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        self.shortcut = nn.Identity() if same else nn.Sequential(subsampled, convolution(channels, outputs, 1))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.residual(maps) + self.shortcut(maps))


class ResNet(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        if min(sides) >= 128:
            self.conv1 = nn.Sequential(
                convolution(channels, config.width, 7, stride=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
            )
        else:
            self.conv1 = nn.Sequential(convolution(channels, config.width, 3), nn.ReLU())
        blocks, channels = [], config.width
        for stage, number in enumerate(config.blocks):
            width = config.width * 2**stage
            for index in range(number):
                blocks.append(Block(channels, width, 2 if stage > 0 and index == 0 else 1, config))
                channels = 4 * width if config.bottleneck else width
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        outputs: Tensor = self.dense(self.blocks(self.conv1(images)).mean((2, 3)))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("resnet", input_shape)
    return ResNet(config, input_shape, outputs)
