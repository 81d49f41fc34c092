"""VGG: stages of 3×3 convolutions, each ended by pooling, then three dense layers.

Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015, table 1. A stage
doubles the width of the one before, up to eight times the first one's. Columns of the table are told apart by their
number of convolutions a stage; `convolutions` below is such a column:

    A (1, 1, 2, 2, 2)    B (2, 2, 2, 2, 2)    D (2, 2, 3, 3, 3), known as VGG-16    E (2, 2, 4, 4, 4), known as VGG-19

The dial goes from A to E as the paper does and widens the network besides; the first stage is 64 wide in the paper, and
in `xl`. Images of up to 64 pixels halve three times where the paper's 224 halve five times, so the dial's networks have
the first three stages of their column. Where pooling would leave maps of less than 2×2 it is left out.

Departures: weights begin by He et al. (2015), where the paper trained shallow networks first; dense layers are
narrower for their maps than the paper's. Batch normalization, as an option: of 2015 too, by Ioffe and Szegedy, before
each activation of a convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from orchestrator.models.checks import check_dropout, check_images

PAPER = "Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition, ICLR 2015"

SIZES: Mapping[str, Mapping[str, Any]] = {
    "xs": {"width": 6, "convolutions": (1, 1, 2), "dense": 24},  # A
    "s": {"width": 10, "convolutions": (1, 1, 2), "dense": 64},  # A
    "m": {"width": 16, "convolutions": (2, 2, 2), "dense": 128},  # B
    "l": {"width": 32, "convolutions": (2, 2, 3), "dense": 256},  # D
    "xl": {"width": 64, "convolutions": (2, 2, 4), "dense": 512},  # E
}


@dataclass(frozen=True)
class Config:
    """width: maps of the first stage; convolutions: of each stage; dense: units of each hidden dense layer.

    dropout: after both hidden dense layers; 0.5 in the paper.
    """

    width: int
    convolutions: tuple[int, ...]
    dense: int
    batch_norm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class VGG(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, rows, columns = input_shape
        layers: list[nn.Module] = []
        for stage, convolutions in enumerate(config.convolutions):
            width = config.width * min(2**stage, 8)
            for _ in range(convolutions):
                # Batch normalization subtracts the mean, and with it any bias of the convolution before.
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not config.batch_norm))
                if config.batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU())
                channels = width
            if min(rows, columns) >= 4:
                layers.append(nn.MaxPool2d(2))
                rows, columns = rows // 2, columns // 2
        self.maps = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            *(nn.Flatten(), nn.Linear(channels * rows * columns, config.dense), nn.ReLU(), nn.Dropout(config.dropout)),
            *(nn.Linear(config.dense, config.dense), nn.ReLU(), nn.Dropout(config.dropout)),
        )
        self.output = nn.Linear(config.dense, outputs)
        for module in [*self.maps, *self.dense]:
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        outputs: Tensor = self.output(self.dense(self.maps(images)))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("vgg", input_shape)
    return VGG(config, input_shape, outputs)
