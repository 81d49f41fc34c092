"""How far the features of the convolutional networks see, at the papers' own sizes: against published figures.

Measured: which columns of an image move one place of the last maps, of a network of few channels with the paper's
kernels and strides. Every weight is positive and a mean stands for each maximum, so that nothing that is seen cancels.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from orchestrator.models import alexnet, efficientnet, inception, lenet, resnet, vgg


def published_resnet(blocks: tuple[int, ...], *, bottleneck: bool = False) -> nn.Module:
    model = resnet.ResNet(resnet.Config(2, blocks, bottleneck), (1, 128, 1024), 10)
    return nn.Sequential(model.conv1, model.blocks)


def published_efficientnet() -> nn.Module:
    maps = efficientnet.EfficientNet(efficientnet.Config(0), (1, 128, 1024), 10).maps
    for block in maps.modules():
        if isinstance(block, efficientnet.MBConv):  # squeeze and excitation has means of whole maps: it sees them all
            block.layers = nn.Sequential(
                *(layer for layer in block.layers if not isinstance(layer, efficientnet.SqueezeExcitation))
            )
    return maps


# Network → its maps, the columns that are seen. AlexNet, VGG-16 and ResNet-50: Araujo, Norris, Sim, "Computing
# receptive fields of convolutional neural networks", Distill, 2019, the latter with strides in its 3×3 kernels: what
# each stage's first 3×3 sees is then as far apart as in the stage before, 8 + 16 + 32 columns less than their 483.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    # C1 5, S2 6, C3 14, S4 16: section II B, "the units of S4".
    "LeNet-5": (lambda: lenet.LeNet(lenet.Config(2, 2, 4, 4), (1, 32, 64), 10).maps, 16),
    "AlexNet": (
        lambda: alexnet.AlexNet(alexnet.Config(2, 2, 2, 2, 2, 4), (1, 64, 512), 10).maps,
        195,
    ),
    "VGG-16": (lambda: vgg.VGG(vgg.Config(2, (2, 2, 3, 3, 3), 4), (1, 64, 512), 10).maps, 212),
    # By hand, through the 5×5 of each module: 27 after the stem, then 32 for each of places 8 apart, and so on.
    "GoogLeNet": (
        lambda: inception.GoogLeNet(inception.Config(0.05, tuple(inception.MODULES)), (1, 128, 1024), 10).maps,
        27 + 32 * 2 + 16 + 64 * 5 + 32 + 128 * 2,
    ),
    # By hand, a stage each: the stem's 3, then (kernel - 1) times how far its places are apart, layer by layer.
    "EfficientNet-B0": (
        published_efficientnet,
        3 + 4 + (4 + 8) + (16 + 32) + (16 + 32 * 2) + 64 * 3 + (64 + 128 * 3) + 64,
    ),
    # By hand: 11 after the stem, then 8 for each 3×3 of places 4 apart, 16 of 8 apart, and so on.
    "ResNet-18": (lambda: published_resnet((2, 2, 2, 2)), 11 + 8 * (4 + 1) + 16 * (3 + 1) + 32 * (3 + 1) + 64 * 3),
    "ResNet-50": (lambda: published_resnet((3, 4, 6, 3), bottleneck=True), 483 - 8 - 16 - 32),
}


def columns_seen(maps: nn.Module) -> int:
    """Of the image by the middle of the last maps."""
    for module in list(maps.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            if isinstance(child, nn.Conv2d):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
    image = torch.ones(1, 1, 128, 1024, dtype=torch.float64, requires_grad=True)
    last = maps.double().eval()(image)
    middle = last[0, :, last.shape[2] // 2, last.shape[3] // 2].sum()
    (gradient,) = torch.autograd.grad(middle, image)
    seen = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
    assert len(seen) == seen[-1] - seen[0] + 1 and seen[0] > 0 and seen[-1] < 1023, "no gap, and all within the image"
    return len(seen)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_see_as_far_as_published(name: str) -> None:
    build, expected = NETWORKS[name]
    assert columns_seen(build()) == expected


def test_three_small_kernels_see_as_much_as_one_large_one() -> None:
    """The argument of VGG's paper, section 2.3: three 3×3 have the field of a 7×7, with 27 weights in place of 49."""
    maps = vgg.VGG(vgg.Config(2, (3,), 4), (1, 8, 8), 10).maps
    assert columns_seen(maps[:-1]) == 7
