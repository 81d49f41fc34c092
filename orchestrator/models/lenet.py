"""LeNet-5: two convolutions with subsampling, three dense layers.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proceedings of the
IEEE 86(11), 1998, section II.B and figure 2. Layer names are the paper's. Size `m` has its widths: 6, 16, 120, 84;
each step of the dial doubles or halves all of them.

    C1  5×5 convolution, 28×28 padded to 32×32 as in the paper      S2  2×2 subsampling
    C3  5×5 convolution over all maps of S2                         S4  2×2 subsampling
    C5  a convolution as large as its input, hence a dense layer    F6  dense      output  dense

Departures, all usual since: C3 sees every map (the paper's table 1 leaves out some to save work), subsampling has no
trained coefficient, and the output is linear instead of distances to drawn characters. So there are 61,706 parameters
for 10 classes of 28×28, where the paper counts 60,000. Dropout, where a space asks for it, comes after C5 and F6.
Images of less than 12×12, such as 8×8 digits, are padded before C3 too, which would otherwise not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from orchestrator.models.activations import ACTIVATIONS, Activation
from orchestrator.models.checks import check_dropout, check_images

PAPER = "LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE 86, 1998"

SIZES: Mapping[str, Mapping[str, int]] = {
    #          maps of C1, of C3, units of C5, of F6
    "xs": {"c1": 2, "c3": 4, "c5": 30, "f6": 21},
    "s": {"c1": 3, "c3": 8, "c5": 60, "f6": 42},
    "m": {"c1": 6, "c3": 16, "c5": 120, "f6": 84},
    "l": {"c1": 12, "c3": 32, "c5": 240, "f6": 168},
    "xl": {"c1": 24, "c3": 64, "c5": 480, "f6": 336},
}

POOLING: Mapping[str, type[nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


@dataclass(frozen=True)
class Config:
    c1: int
    c3: int
    c5: int
    f6: int
    activation: Activation = "tanh"
    pooling: Literal["average", "max"] = "average"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class LeNet(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        activation, pool = ACTIVATIONS[config.activation], POOLING[config.pooling]
        pad = 2 if min(height, width) < 12 else 0
        self.maps = nn.Sequential(
            nn.Conv2d(channels, config.c1, 5, padding=2),
            activation(),
            pool(2),
            nn.Conv2d(config.c1, config.c3, 5, padding=pad),
            activation(),
            pool(2),
        )
        rows, columns = (((side // 2) + 2 * pad - 4) // 2 for side in (height, width))
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(config.c3 * rows * columns, config.c5),
            activation(),
            nn.Dropout(config.dropout),
            nn.Linear(config.c5, config.f6),
            activation(),
            nn.Dropout(config.dropout),
            nn.Linear(config.f6, outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        outputs: Tensor = self.dense(self.maps(images))
        return outputs


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("lenet", input_shape)
    return LeNet(config, input_shape, outputs)
