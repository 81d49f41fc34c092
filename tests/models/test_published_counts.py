"""The papers' own configurations, built by the same code, have the papers' numbers of parameters.

To the last parameter: those that are published with the weights of each network, in Caffe's model zoo or torchvision.
Built on the meta device, so nothing is computed and no memory taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from orchestrator.models import alexnet, efficientnet, inception, resnet, vgg, vit
from orchestrator.training.parameters import count_parameters

Case = tuple[Callable[..., Any], Any, int]

A, B, D, E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
# ImageNet: 3×224×224, 1000 classes.
PUBLISHED: dict[str, Case] = {
    # The paper's two groups, as in Caffe; torchvision's 61,100,840 are of a later network with one tower.
    "AlexNet": (alexnet.build, alexnet.Config(96, 256, 384, 384, 256, 4096), 60_965_224),
    "VGG-11": (vgg.build, vgg.Config(64, A, 4096), 132_863_336),
    "VGG-13": (vgg.build, vgg.Config(64, B, 4096), 133_047_848),
    "VGG-16": (vgg.build, vgg.Config(64, D, 4096), 138_357_544),
    "VGG-19": (vgg.build, vgg.Config(64, E, 4096), 143_667_240),
    "ResNet-18": (resnet.build, resnet.Config(64, (2, 2, 2, 2)), 11_689_512),
    "ResNet-34": (resnet.build, resnet.Config(64, (3, 4, 6, 3)), 21_797_672),
    "ResNet-50": (resnet.build, resnet.Config(64, (3, 4, 6, 3), bottleneck=True), 25_557_032),
    "ResNet-101": (resnet.build, resnet.Config(64, (3, 4, 23, 3), bottleneck=True), 44_549_160),
    "ResNet-152": (resnet.build, resnet.Config(64, (3, 8, 36, 3), bottleneck=True), 60_192_808),
    # The paper's table 1, biases included, as in Caffe.
    "GoogLeNet": (
        inception.build,
        inception.Config(1.0, tuple(inception.MODULES), batch_norm=False),
        6_998_552,
    ),
    "EfficientNet-B0": (efficientnet.build, efficientnet.Config(0), 5_288_548),
    "ViT-B/16": (vit.build, vit.Config(768, 12, 12, patches_per_side=14), 86_567_656),
    "ViT-B/32": (vit.build, vit.Config(768, 12, 12, patches_per_side=7), 88_224_232),
    "ViT-L/16": (vit.build, vit.Config(1024, 24, 16, patches_per_side=14), 304_326_632),
}


def count(build: Callable[..., Any], config: Any) -> int:
    with torch.device("meta"):
        return count_parameters(build(config, (3, 224, 224), 1000))


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name: str) -> None:
    build, config, published = PUBLISHED[name]
    assert count(build, config) == published


def test_googlenet_with_batch_normalization_is_torchvisions_but_for_its_windows() -> None:
    """torchvision's has 3×3 in place of all 5×5: 16 weights less for each pair of maps."""
    config = inception.Config(1.0, tuple(inception.MODULES), batch_norm=True)
    less = sum(16 * reduce5 * five for _, _, _, reduce5, five, _ in inception.MODULES.values())
    assert count(inception.build, config) - less == 6_624_904


def test_resnet_20_is_the_papers_but_for_its_shortcuts() -> None:
    """Table 6: 0.27 M on CIFAR-10. Two projections are ours: 1×1 kernels and their normalizations."""
    with torch.device("meta"):
        model = resnet.build(resnet.Config(**resnet.SIZES["l"]), (3, 32, 32), 10)
    assert count_parameters(model) - (16 * 32 + 2 * 32) - (32 * 64 + 2 * 64) == 269_722
