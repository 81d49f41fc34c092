from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from orchestrator.models import resnet
from orchestrator.training.parameters import describe

SMALL = resnet.Config(4, (1, 1, 1))


def layers(model: nn.Module) -> int:
    """Convolutions and dense layers on the long way, as the paper counts them: no shortcuts."""
    named = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return sum("shortcut" not in name for name in named)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_block_that_has_learned_nothing_passes_its_input_on(bottleneck: bool) -> None:
    config = resnet.Config(4, (1,), bottleneck=bottleneck)
    channels = 16 if bottleneck else 4
    block = resnet.Block(channels, 4, 1, config)
    last = [module for module in block.residual.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last.weight)
    maps = torch.rand(5, channels, 6, 6)
    assert torch.equal(block(maps), maps)


def test_a_block_is_the_papers_equation_1() -> None:
    """y = relu(F(x) + x), F = W2 relu(W1 x), each W with its batch normalization, here in evaluation."""
    block = resnet.Block(4, 4, 1, SMALL).eval()
    maps = torch.randn(2, 4, 6, 6)
    kernels = [module.weight for module in block.modules() if isinstance(module, nn.Conv2d)]
    scale = (1 + 1e-5) ** -0.5  # of normalization before training: mean 0, variance 1
    residual = torch.conv2d(maps, kernels[0], padding=1).mul(scale).relu()
    residual = torch.conv2d(residual, kernels[1], padding=1).mul(scale)
    torch.testing.assert_close(block(maps), (residual + maps).relu())


@pytest.mark.parametrize(
    ("channels", "stride", "bottleneck", "kind"),
    [
        (8, 1, False, nn.Identity),
        (4, 1, False, nn.Sequential),
        (8, 2, False, nn.Sequential),
        (8, 1, True, nn.Sequential),
        (32, 1, True, nn.Identity),
    ],
)
def test_a_shortcut_has_weights_only_where_the_shape_changes(
    channels: int, stride: int, bottleneck: bool, kind: type[nn.Module]
) -> None:
    block = resnet.Block(channels, 8, stride, resnet.Config(8, (1,), bottleneck=bottleneck))
    assert type(block.shortcut) is kind
    outputs = block(torch.randn(2, channels, 6, 6))
    assert outputs.shape == (2, 32 if bottleneck else 8, 6 // stride, 6 // stride)


def test_a_projection_is_a_1_by_1_convolution_of_the_blocks_stride() -> None:
    block = resnet.Block(4, 8, 2, SMALL)
    kernel = next(module.weight for module in block.shortcut.modules() if isinstance(module, nn.Conv2d))
    for side in (6, 7):
        maps = torch.randn(2, 4, side, side)
        theirs = torch.conv2d(maps, kernel, stride=2) * (1 + 1e-5) ** -0.5
        torch.testing.assert_close(block.shortcut.eval()(maps), theirs)


def test_depths_are_the_papers() -> None:
    # Section 4.2: 6n + 2 layers; size l is ResNet-20.
    assert [layers(resnet.ResNet(resnet.Config(**resnet.SIZES[size]), (3, 32, 32), 10)) for size in ("m", "l")] == [
        8,
        20,
    ]
    # Table 1.
    named = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}
    for depth, (blocks, bottleneck) in named.items():
        with torch.device("meta"):
            model = resnet.ResNet(resnet.Config(64, blocks, bottleneck), (3, 224, 224), 1000)
        assert layers(model) == depth


@pytest.mark.parametrize(
    ("side", "config", "sides"),
    [
        (28, SMALL, [28, 28, 14, 7]),  # conv1, then the stages of section 4.2
        (8, SMALL, [8, 8, 4, 2]),
        (224, resnet.Config(4, (1, 1, 1, 1)), [56, 56, 28, 14, 7]),  # table 1, conv1 with its pooling
    ],
)
def test_maps_are_of_the_papers_sides(side: int, config: resnet.Config, sides: list[int]) -> None:
    model, maps = resnet.ResNet(config, (1, side, side), 10), torch.randn(1, 1, side, side)
    found: list[Tensor] = [model.conv1(maps)]
    for block in model.blocks:
        found.append(block(found[-1]))
    assert [each.shape[2] for each in found] == sides
    assert [each.shape[1] for each in found] == [4, *(4 * 2**stage for stage in range(len(config.blocks)))]


def test_dropout_acts_within_blocks_in_training_only() -> None:
    model = resnet.ResNet(resnet.Config(4, (1, 1, 1), dropout=0.3), (1, 8, 8), 10)
    assert sum(isinstance(module, nn.Dropout) for module in model.modules()) == 3
    images = torch.randn(4, 1, 8, 8)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


def test_operations_equal_a_count_by_hand() -> None:
    first = 28 * 28 * 16 * 9
    others = [2 * 28 * 28 * 16 * 16 * 9]
    others += [14 * 14 * 32 * (16 * 9 + 32 * 9 + 16), 7 * 7 * 64 * (32 * 9 + 64 * 9 + 32), 64 * 10]
    assert describe("resnet", "m", (1, 28, 28), 10).flops_per_sample == 2 * (2 * first + 3 * sum(others))
