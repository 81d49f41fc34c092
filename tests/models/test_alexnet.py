from __future__ import annotations

import pytest
import torch
from torch import nn

from orchestrator.models import alexnet
from orchestrator.training.parameters import describe

PAPER = alexnet.Config(96, 256, 384, 384, 256, 4096)
SMALL = alexnet.Config(4, 8, 12, 12, 8, 64)


def shapes_after(model: nn.Module, kinds: tuple[type[nn.Module], ...], image: torch.Tensor) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape[1:])))
    model(image)
    return shapes


def test_maps_are_those_of_the_papers_figure_2() -> None:
    with torch.device("meta"):
        model, image = alexnet.build(PAPER, (3, 224, 224), 1000), torch.empty(1, 3, 224, 224)
    assert shapes_after(model, (nn.Conv2d, nn.MaxPool2d), image) == [
        *((96, 55, 55), (96, 27, 27)),
        *((256, 27, 27), (256, 13, 13)),
        *((384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6)),
    ]


def test_small_images_are_halved_three_times() -> None:
    for side, sides in ((28, [14, 7, 4]), (8, [4, 2, 1])):
        model = alexnet.build(SMALL, (1, side, side), 10)
        shapes = shapes_after(model, (nn.MaxPool2d,), torch.randn(1, 1, side, side))
        assert [shape[1] for shape in shapes] == sides


def test_the_groups_meet_in_conv3_only() -> None:
    model = alexnet.build(SMALL, (1, 28, 28), 10)
    met = []
    for convolution in [module for module in model.modules() if isinstance(module, nn.Conv2d)][1:]:
        maps = torch.randn(1, convolution.in_channels, 9, 9, requires_grad=True)
        first_half = convolution(maps)[:, : convolution.out_channels // 2]
        (gradient,) = torch.autograd.grad(first_half.sum(), maps)
        met.append(gradient[:, convolution.in_channels // 2 :].abs().sum().item() > 0)
    assert met == [False, True, False, False]


def test_dropout_comes_before_both_hidden_dense_layers() -> None:
    model = alexnet.AlexNet(alexnet.Config(4, 8, 12, 12, 8, 64, dropout=0.5), (1, 8, 8), 10)
    kinds = [type(module) for module in model.dense]
    assert kinds == [nn.Flatten, *[nn.Dropout, nn.Linear, nn.ReLU] * 2]
    images = torch.randn(4, 1, 8, 8)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_operations_equal_a_count_by_hand() -> None:
    # A kernel of two groups sees half of the maps, forwards and backwards.
    first = 28 * 28 * 12 * 25
    others = [14 * 14 * 32 * 6 * 25, 7 * 7 * 48 * 32 * 9, 7 * 7 * 48 * 24 * 9, 7 * 7 * 32 * 24 * 9]
    others += [4 * 4 * 32 * 256, 256 * 256, 256 * 10]
    assert describe("alexnet", "m", (1, 28, 28), 10).flops_per_sample == 2 * (2 * first + 3 * sum(others))


@pytest.mark.parametrize("size", alexnet.SIZES)
def test_every_width_can_be_halved_between_the_groups(size: str) -> None:
    assert all(width % 2 == 0 for width in alexnet.SIZES[size].values())


def test_rectified_maps_go_straight_to_the_maxima() -> None:
    model = alexnet.AlexNet(SMALL, (1, 28, 28), 10)
    pooled, plain = [nn.Conv2d, nn.ReLU, nn.MaxPool2d], [nn.Conv2d, nn.ReLU]
    assert [type(module) for module in model.maps] == [*pooled, *pooled, *plain, *plain, *pooled]
