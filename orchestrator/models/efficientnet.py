"""EfficientNet: inverted bottlenecks of depthwise convolutions, scaled in width and depth together.

Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019; the table below is its
table 1, B0. MBConv (Sandler et al., "MobileNetV2", CVPR 2018), with squeeze and excitation (Hu et al., CVPR 2018):

    1×1 to E times the channels, k×k depthwise, squeeze and excitation, 1×1 to the stage's width, plus the input

The dial is the paper's compound coefficient φ: depth × 1.2^φ, width × 1.1^φ (section 3.3). 0 is B0; the dial lies
below, in steps of 7, where the paper's lies above. Widths are rounded to multiples of 8 as the paper's code does, below
B0 to multiples of 2, since 8 would be a large part of a layer.

Departures: a stage that B0 repeats has two layers at least, or the small sizes would have no sums: up to `l` the dial
changes widths alone. Resolution, the third thing that the paper scales, comes with the data, so a step of φ takes at
most 1.45 times the operations, where it doubles them in the paper. Of the strides an image gets as many as bring it to
4×4 or just below, the last ones of the table (224 → 7 as in the paper, 28 → 4 and 8 → 4): a small one is seen at its
full resolution first, as by the ResNet here and as is usual for CIFAR. The running averages of batch normalization
follow faster (0.1 where the paper has 0.01), as runs here are short. Dropout comes before the output, as in the paper;
stochastic depth (Huang et al., ECCV 2016) is an option.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models.checks import check_images

PAPER = "Tan, Le: EfficientNet, rethinking model scaling for convolutional neural networks, ICML 2019"

DEPTH, WIDTH = 1.2, 1.1  # α and β of the paper's equation 3
STEM, STEM_STRIDE, HEAD = 32, 2, 1280
STAGES = (
    # E, kernel, stride, width, layers
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"compound": -30},
    "s": {"compound": -23},
    "m": {"compound": -16},
    "l": {"compound": -9},
    "xl": {"compound": -2},
}


@dataclass(frozen=True)
class Config:
    """compound: the paper's φ. dropout: before the output; 0.2 in B0.

    stochastic_depth: probability that a block's sum is left out for a row in training rises linearly from 0 at the
        first block, by this divided by the number of blocks each, as in the paper's code. 0.2 in B0.
    """

    compound: int
    dropout: float = 0.0
    stochastic_depth: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dropout", "stochastic_depth"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, found {getattr(self, name)}")

    def width(self, width: int) -> int:
        """The nearest multiple of the divisor, but not less than nine tenths (the paper's code)."""
        divisor, wanted = 8 if self.compound >= 0 else 2, width * WIDTH**self.compound
        rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
        return rounded if rounded >= 0.9 * wanted else rounded + divisor

    def layers(self, layers: int) -> int:
        """Rounded up as in the paper's code; at least two of what B0 has more than one of."""
        return max(min(layers, 2), math.ceil(layers * DEPTH**self.compound))


def convolution(channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution and its batch normalization, which makes a bias superfluous."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width, eps=1e-3),
    )


class SqueezeExcitation(nn.Module):
    """Each map times a number between 0 and 1, made from the means of all maps."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gates = nn.Sequential(
            *(nn.Conv2d(channels, squeezed, 1), nn.SiLU()), *(nn.Conv2d(squeezed, channels, 1), nn.Sigmoid())
        )

    def forward(self, maps: Tensor) -> Tensor:
        scaled: Tensor = maps * self.gates(maps.mean((2, 3), keepdim=True))
        return scaled


class MBConv(nn.Module):
    """[B, channels, H, W] → [B, width, H / stride, W / stride]."""

    def __init__(self, channels: int, width: int, expansion: int, kernel: int, stride: int, drop: float) -> None:
        super().__init__()
        expanded = channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [convolution(channels, expanded, 1), nn.SiLU()]
        self.layers = nn.Sequential(
            *layers,
            *(convolution(expanded, expanded, kernel, stride, groups=expanded), nn.SiLU()),
            SqueezeExcitation(expanded, max(1, channels // 4)),
            convolution(expanded, width, 1),
        )
        self.has_sum = stride == 1 and channels == width
        self.drop = drop

    def forward(self, maps: Tensor) -> Tensor:
        outputs: Tensor = self.layers(maps)
        if not self.has_sum:
            return outputs
        if self.training and self.drop:
            kept = torch.rand(len(maps), 1, 1, 1, dtype=maps.dtype, device=maps.device) >= self.drop
            outputs = outputs * kept / (1 - self.drop)
        return maps + outputs


def strides(side: int) -> list[int]:
    """Of the stem and of each stage: the table's, where the first ones are 1 for an image of few pixels a side."""
    table = [STEM_STRIDE, *(stride for *_, stride, _, _ in STAGES)]
    superfluous = table.count(2)
    while side > 4 and superfluous:
        side, superfluous = -(-side // 2), superfluous - 1
    for index, stride in enumerate(table):
        if stride == 2 and superfluous:
            table[index], superfluous = 1, superfluous - 1
    return table


class EfficientNet(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        first, *others = strides(min(input_shape[1:]))
        channels = config.width(STEM)
        stem = convolution(input_shape[0], channels, 3, first)
        blocks: list[nn.Module] = []
        total = sum(config.layers(layers) for *_, layers in STAGES)
        for (expansion, kernel, _, table_width, layers), stride in zip(STAGES, others, strict=True):
            width = config.width(table_width)
            for index in range(config.layers(layers)):
                drop = config.stochastic_depth * len(blocks) / total
                blocks.append(MBConv(channels, width, expansion, kernel, stride if index == 0 else 1, drop))
                channels = width
        head = config.width(HEAD)
        self.maps = nn.Sequential(stem, nn.SiLU(), *blocks, convolution(channels, head, 1), nn.SiLU())
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(head, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        outputs: Tensor = self.dense(self.dropout(self.maps(images).mean((2, 3))))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("efficientnet", input_shape)
    return EfficientNet(config, input_shape, outputs)
