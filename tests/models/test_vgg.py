from __future__ import annotations

import pytest
import torch
from torch import nn

from orchestrator.models import vgg
from orchestrator.training.parameters import describe

# Table 1 of the paper: widths of the convolutions; M is a pooling.
TABLE = {
    (1, 1, 2, 2, 2): "64 M 128 M 256 256 M 512 512 M 512 512 M",
    (2, 2, 2, 2, 2): "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    (2, 2, 3, 3, 3): "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    (2, 2, 4, 4, 4): "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


def convolutions_and_poolings(model: nn.Module) -> str:
    kinds = (nn.Conv2d, nn.MaxPool2d)
    layers = [module for module in model.modules() if isinstance(module, kinds)]
    return " ".join(str(layer.out_channels) if isinstance(layer, nn.Conv2d) else "M" for layer in layers)


@pytest.mark.parametrize("column", TABLE, ids=str)
def test_layers_are_those_of_the_papers_table_1(column: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = vgg.build(vgg.Config(64, column, 4096), (3, 224, 224), 1000)
    assert convolutions_and_poolings(model) == TABLE[column]


@pytest.mark.parametrize("size", vgg.SIZES)
def test_the_dial_has_the_first_stages_of_a_column(size: str) -> None:
    stages = vgg.SIZES[size]["convolutions"]
    assert any(column[: len(stages)] == stages for column in TABLE)


def test_pooling_stops_at_maps_of_two_pixels() -> None:
    config = vgg.Config(2, (1, 1, 1, 1, 1), 8)
    for side, poolings, left in ((8, 2, 2), (28, 3, 3), (32, 4, 2), (64, 5, 2)):
        model = vgg.VGG(config, (1, side, side), 10)
        assert convolutions_and_poolings(model).count("M") == poolings
        assert model.maps(torch.randn(1, 1, side, side)).shape[2:] == (left, left)


@pytest.mark.parametrize(("convolutions", "seen"), [(1, 3), (2, 5), (3, 7)])
def test_two_convolutions_see_5_by_5_pixels_and_three_see_7_by_7(convolutions: int, seen: int) -> None:
    """The paper's section 2.3."""
    model = vgg.VGG(vgg.Config(3, (convolutions,), 8), (1, 15, 15), 10)
    image = torch.rand(1, 1, 15, 15, requires_grad=True)
    # Positive kernels: no activation is switched off, and nothing cancels.
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    (gradient,) = torch.autograd.grad(model.maps[:-1](image)[0, 0, 7, 7], image)
    rows, columns = gradient[0, 0].nonzero().T
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == seen


@pytest.mark.parametrize("wanted", [True, False])
def test_batch_norm_is_an_option_that_replaces_biases(wanted: bool) -> None:
    model = vgg.VGG(vgg.Config(4, (1, 2), 8, batch_norm=wanted), (1, 8, 8), 10)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == (3 if wanted else 0)
    assert all((module.bias is None) is wanted for module in model.modules() if isinstance(module, nn.Conv2d))


def test_dropout_comes_after_both_hidden_dense_layers() -> None:
    model = vgg.VGG(vgg.Config(4, (1,), 8, dropout=0.5), (1, 8, 8), 10)
    kinds = [type(module) for module in model.dense]
    assert kinds == [nn.Flatten, *[nn.Linear, nn.ReLU, nn.Dropout] * 2]


def test_operations_equal_a_count_by_hand() -> None:
    first = 28 * 28 * 16 * 9
    others = [28 * 28 * 16 * 16 * 9, 14 * 14 * 32 * 16 * 9, 14 * 14 * 32 * 32 * 9]
    others += [7 * 7 * 64 * 32 * 9, 7 * 7 * 64 * 64 * 9, 3 * 3 * 64 * 128, 128 * 128, 128 * 10]
    assert describe("vgg", "m", (1, 28, 28), 10).flops_per_sample == 2 * (2 * first + 3 * sum(others))
