"""AlexNet: five convolutions and three dense layers, with rectified units, overlapping pooling and dropout.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", NIPS 2012, section 3.5
and figure 2. Layer names are the paper's; so are the two groups, one a GPU in the paper, which meet in conv3 and in the
dense layers. Each step of the dial doubles the widths (conv1's 4 to 6); `xl` has half of the paper's conv1 to 5.

    conv1  11×11, stride 4    3×3 maxima, stride 2
    conv2  5×5, two groups    3×3 maxima, stride 2
    conv3  3×3
    conv4  3×3, two groups
    conv5  3×3, two groups    3×3 maxima, stride 2
    dense6, dense7, each after dropout    dense8, the output

Images of less than 64 pixels a side are too small for that: there conv1 is 5×5 with stride 1, and the poolings are
padded, so that each halves (28 → 14 → 7 → 4). Departures: conv1 is padded by 2, as 224 pixels need to give the paper's
55; weights begin by He et al. (2015), since the paper's standard deviation of 0.01 is made for its widths; the response
normalization after conv1 and conv2 (section 3.3) is left out, since its constants are made for pixels from 0 to 255: of
standardized images it divides everything by 1.68, and takes a third of the time; in the dial the ratio of dense to
convolutional widths is half of the paper's, or nearly all parameters would be dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from orchestrator.models.checks import check_dropout, check_images

PAPER = "Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks, NIPS 2012"

SIZES: Mapping[str, Mapping[str, int]] = {
    # The paper:  96          256          384          384          256          4096
    "xs": {"conv1": 4, "conv2": 8, "conv3": 12, "conv4": 12, "conv5": 8, "dense": 64},
    "s": {"conv1": 6, "conv2": 16, "conv3": 24, "conv4": 24, "conv5": 16, "dense": 128},
    "m": {"conv1": 12, "conv2": 32, "conv3": 48, "conv4": 48, "conv5": 32, "dense": 256},
    "l": {"conv1": 24, "conv2": 64, "conv3": 96, "conv4": 96, "conv5": 64, "dense": 512},
    "xl": {"conv1": 48, "conv2": 128, "conv3": 192, "conv4": 192, "conv5": 128, "dense": 1024},
}


@dataclass(frozen=True)
class Config:
    """conv1 to conv5: maps, even numbers; dense: units of each hidden dense layer.

    dropout: of the inputs of both hidden dense layers; 0.5 in the paper.
    """

    conv1: int
    conv2: int
    conv3: int
    conv4: int
    conv5: int
    dense: int
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)


class AlexNet(nn.Module):
    def __init__(self, config: Config, input_shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        c = config
        small = min(sides) < 64
        if small:
            conv1 = nn.Conv2d(channels, c.conv1, 5, padding=2)
        else:
            conv1 = nn.Conv2d(channels, c.conv1, 11, stride=4, padding=2)

        def pooling() -> nn.Module:
            return nn.MaxPool2d(3, stride=2, padding=1 if small else 0)

        self.maps = nn.Sequential(
            *(conv1, nn.ReLU(), pooling()),
            *(nn.Conv2d(c.conv1, c.conv2, 5, padding=2, groups=2), nn.ReLU(), pooling()),
            *(nn.Conv2d(c.conv2, c.conv3, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(c.conv3, c.conv4, 3, padding=1, groups=2), nn.ReLU()),
            *(nn.Conv2d(c.conv4, c.conv5, 3, padding=1, groups=2), nn.ReLU(), pooling()),
        )
        rows, columns = (_after_pooling(side, small) for side in sides)
        self.dense = nn.Sequential(
            *(nn.Flatten(), nn.Dropout(c.dropout), nn.Linear(c.conv5 * rows * columns, c.dense), nn.ReLU()),
            *(nn.Dropout(c.dropout), nn.Linear(c.dense, c.dense), nn.ReLU()),
        )
        self.output = nn.Linear(c.dense, outputs)
        for module in [*self.maps, *self.dense]:
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] → [B, O]: logits, or predicted values."""
        outputs: Tensor = self.output(self.dense(self.maps(images)))
        return outputs


def _after_pooling(side: int, small: bool) -> int:
    """Rows or columns of the maps after the last pooling."""
    if small:
        return -(-side // 8)
    side = (side + 2 * 2 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    check_images("alexnet", input_shape)
    return AlexNet(config, input_shape, outputs)
