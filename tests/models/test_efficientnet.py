from __future__ import annotations

import pytest
import torch
from torch import nn

from orchestrator.models import efficientnet
from orchestrator.training.parameters import describe

# Table 1 of the paper, B0 on 224 pixels: kernel, resolution of the input, width, layers, of each stage.
TABLE = [
    *((3, 112, 16, 1), (3, 112, 24, 2), (5, 56, 40, 2), (3, 28, 80, 3)),
    *((5, 14, 112, 3), (5, 14, 192, 4), (3, 7, 320, 1)),
]


def blocks(model: nn.Module) -> list[efficientnet.MBConv]:
    return [module for module in model.modules() if isinstance(module, efficientnet.MBConv)]


def test_stages_are_those_of_the_papers_table_1() -> None:
    with torch.device("meta"):
        model, image = (
            efficientnet.EfficientNet(efficientnet.Config(0), (3, 224, 224), 1000),
            torch.empty(2, 3, 224, 224),
        )
    found: list[tuple[int, int, int]] = []

    def note(block: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        depthwise = next(module for module in block.modules() if isinstance(module, nn.Conv2d) and module.groups > 1)
        found.append((depthwise.kernel_size[0], inputs[0].shape[2], output.shape[1]))

    for block in blocks(model):
        block.register_forward_hook(note)
    model(image)
    # The table gives a stage's first resolution: its other layers come after the stride.
    firsts = [one for index, one in enumerate(found) if index == 0 or one[2] != found[index - 1][2]]
    assert firsts == [(kernel, resolution, width) for kernel, resolution, width, _ in TABLE]
    assert [sum(one[2] == width for one in found) for *_, width, _ in TABLE] == [layers for *_, layers in TABLE]


def test_a_block_expands_filters_each_map_alone_and_projects() -> None:
    block = efficientnet.MBConv(4, 6, expansion=6, kernel=5, stride=2, drop=0.0)
    convolutions = [module for module in block.layers if isinstance(module, nn.Sequential)]
    shapes = [tuple(module[0].weight.shape) for module in convolutions]
    assert shapes == [(24, 4, 1, 1), (24, 1, 5, 5), (6, 24, 1, 1)]
    assert block(torch.randn(2, 4, 7, 7)).shape == (2, 6, 4, 4)
    depthwise = convolutions[1].eval()
    maps = torch.randn(1, 24, 7, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(depthwise(maps)[0, 3].sum(), maps)
    assert gradient.abs().sum((0, 2, 3)).nonzero().flatten().tolist() == [3]


def test_squeeze_and_excitation_is_its_papers_equation() -> None:
    """s = σ(W2 δ(W1 z)), z the mean of each map, with this paper's δ, SiLU (Hu et al., equations 2 to 4)."""
    module = efficientnet.SqueezeExcitation(6, 2)
    maps = torch.randn(3, 6, 4, 5)
    first, second = (layer for layer in module.gates if isinstance(layer, nn.Conv2d))
    squeezed = maps.flatten(2).mean(2) @ first.weight.flatten(1).T + first.bias
    gates = ((squeezed * squeezed.sigmoid()) @ second.weight.flatten(1).T + second.bias).sigmoid()
    torch.testing.assert_close(module(maps), torch.einsum("bchw,bc->bchw", maps, gates))


def test_the_squeezed_width_is_a_quarter_of_the_blocks_input() -> None:
    block = efficientnet.MBConv(16, 24, expansion=6, kernel=3, stride=1, drop=0.0)
    module = next(module for module in block.modules() if isinstance(module, efficientnet.SqueezeExcitation))
    assert [layer.out_channels for layer in module.gates if isinstance(layer, nn.Conv2d)] == [4, 96]


def test_the_compound_coefficient_scales_width_and_depth_by_the_papers_constants() -> None:
    larger, smaller = efficientnet.Config(4), efficientnet.Config(-4)
    assert (larger.width(32), larger.width(1280), larger.layers(4)) == (48, 1872, 9)  # 46.9, 1874.0, 8.3
    assert (smaller.width(32), smaller.width(320), smaller.layers(4)) == (22, 218, 2)  # 21.9, 218.6, 1.9
    operations = efficientnet.DEPTH * efficientnet.WIDTH**2 * 1.15**2  # with resolution's 1.15
    assert operations == pytest.approx(2, rel=0.05)


def test_a_small_image_goes_without_the_first_strides() -> None:
    assert efficientnet.strides(224) == [2, 1, 2, 2, 2, 1, 2, 1]  # table 1
    assert efficientnet.strides(64) == [1, 1, 2, 2, 2, 1, 2, 1]
    assert efficientnet.strides(28) == [1, 1, 1, 2, 2, 1, 2, 1]
    assert efficientnet.strides(4) == [1] * 8


@pytest.mark.parametrize(("side", "last"), [(8, 4), (28, 4), (32, 4), (64, 4), (224, 7)])
def test_small_images_keep_maps_of_4_pixels(side: int, last: int) -> None:
    model = efficientnet.EfficientNet(efficientnet.Config(-20), (1, side, side), 10)
    assert model.maps(torch.randn(2, 1, side, side)).shape[2:] == (last, last)


@pytest.mark.parametrize("size", efficientnet.SIZES)
def test_every_size_has_sums(size: str) -> None:
    model = efficientnet.EfficientNet(efficientnet.Config(**efficientnet.SIZES[size]), (1, 28, 28), 10)
    assert sum(block.has_sum for block in blocks(model)) >= 5  # one in each stage that the table repeats


def test_stochastic_depth_leaves_out_the_sum_for_some_rows_in_training_only() -> None:
    torch.manual_seed(0)
    block = efficientnet.MBConv(4, 4, expansion=2, kernel=3, stride=1, drop=0.4)
    maps = torch.randn(500, 4, 4, 4)
    left_out = (block.train()(maps) == maps).all((1, 2, 3))
    assert left_out.float().mean() == pytest.approx(0.4, abs=0.07)
    summed = block.eval()(maps)
    assert not (summed == maps).all((1, 2, 3)).any()
    # Where it is kept it is as much larger as it is rarer.
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    block.train()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    trained = block(maps)
    kept = ~(trained == maps).all((1, 2, 3))
    torch.testing.assert_close((trained - maps)[kept], (summed - maps)[kept] / 0.6)


def test_stochastic_depth_rises_linearly_from_the_first_block() -> None:
    model = efficientnet.EfficientNet(efficientnet.Config(0, stochastic_depth=0.2), (1, 8, 8), 10)
    assert [block.drop for block in blocks(model)] == pytest.approx([0.2 * index / 16 for index in range(16)])


def test_depthwise_operations_equal_a_count_by_hand() -> None:
    """Of size xs on 8×8: 4×4 maps from the sixth stage on. A depthwise kernel costs its own map alone."""
    area, channels = 64, 2
    stem, others = area * channels * 9, 0
    stages = [(2, 3, 1), (2, 3, 2), (4, 5, 2), (6, 3, 2), (6, 5, 2), (12, 5, 2), (18, 3, 1)]
    for stage, (width, kernel, layers) in enumerate(stages):
        for _ in range(layers):
            expanded = channels * (6 if stage else 1)
            squeezed = max(1, channels // 4)
            others += area * (channels * expanded if stage else 0)
            area = 16 if stage == 5 else area
            others += area * expanded * kernel**2 + 2 * expanded * squeezed + area * expanded * width
            channels = width
    others += area * 18 * 74 + 74 * 10
    assert describe("efficientnet", "xs", (1, 8, 8), 10).flops_per_sample == 2 * (2 * stem + 3 * others)
