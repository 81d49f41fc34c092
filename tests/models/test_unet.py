from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.models import unet
from orchestrator.training.parameters import count_parameters, describe


def build(shape: tuple[int, ...] = (1, 64, 64), outputs: int = 2, **config: Any) -> unet.UNet:
    torch.manual_seed(0)
    model = unet.build(unet.Config(**{"width": 8, "depth": 1, **config}), shape, outputs)
    assert isinstance(model, unet.UNet)
    return model.eval()


def rows_seen(model: nn.Module, row: int) -> tuple[int, int]:
    """The first and the last row of the image that the outputs of one row depend on."""
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(image)[0, :, row].sum(), image)
    seen = gradient.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
    return seen[0], seen[-1]


def test_the_papers_network_has_the_papers_convolutions() -> None:
    with torch.device("meta"):
        model = unet.build(unet.Config(64, 4, batch_norm=False), (1, 512, 512), 2)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(layers) == 23  # section 2
    # Figure 1, from the upper left to the upper right.
    three = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    three += [(512, 1024), (1024, 1024), (1024, 512), (512, 512), (512, 256), (256, 256), (256, 128), (128, 128)]
    three += [(128, 64), (64, 64)]
    two = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    expected = sum(9 * a * b + b for a, b in three) + sum(4 * a * b + b for a, b in two) + 64 * 2 + 2
    assert count_parameters(model) == expected == 31_030_658


def test_operations_equal_a_count_by_hand() -> None:
    # Width 4, three steps down, 16×16 pixels: kernel × maps in × maps out × pixels of the smaller side.
    first = 9 * 1 * 4 * 256
    down = [9 * 4 * 4 * 256, 9 * (4 * 8 + 8 * 8) * 64, 9 * (8 * 16 + 16 * 16) * 16, 9 * (16 * 32 + 32 * 32) * 4]
    enlarged = [4 * 32 * 16 * 4, 4 * 16 * 8 * 16, 4 * 8 * 4 * 64]
    up = [9 * (32 * 16 + 16 * 16) * 16, 9 * (16 * 8 + 8 * 8) * 64, 9 * (8 * 4 + 4 * 4) * 256, 4 * 3 * 256]
    # The images need no gradient, so their first convolution has two products where the others have three.
    expected = 2 * (2 * first + 3 * (sum(down) + sum(enlarged) + sum(up)))
    assert describe("unet", "xs", (1, 16, 16), 3).flops_per_sample == expected


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 11, 12), (1, 32, 20), (3, 63, 65), (3, 128, 128)], ids=str)
def test_each_pixel_has_logits_whatever_the_images_sides(shape: tuple[int, ...]) -> None:
    assert build(shape, 3, depth=3)(torch.randn(2, *shape)).shape == (2, 3, *shape[1:])


@pytest.mark.parametrize("shape", [(64,), (24, 7), (1, 4, 4)], ids=str)
def test_refuses_what_is_no_image_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="unet takes images") as error:
        build(shape)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


def test_a_pixel_sees_as_far_as_the_layers_reach() -> None:
    """By hand, one step down: two convolutions (±2) of both maps; the skip's own two (±2) make ±4. Below, rows 30 to
    34 come from coarse rows 15 to 17, these from 13 to 19, that is fine rows 26 to 39, and these from 24 to 41."""
    model = build()
    assert rows_seen(model, 32) == (24, 41)
    for layer in model.enlarge:
        assert isinstance(layer, nn.ConvTranspose2d) and layer.bias is not None
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert rows_seen(model, 32) == (28, 36)  # what is left is the skip


def test_a_shifted_image_has_shifted_logits() -> None:
    model, image = build(depth=2), torch.zeros(1, 1, 64, 64)
    image[0, 0, 20:28, 20:28] = torch.randn(8, 8)
    moved = image.roll((4, 8), (2, 3))  # whole steps of the coarsest maps
    before, after = model(image), model(moved)
    # Away from the edges, whose zeros do not move.
    assert torch.allclose(before[..., 16:32, 16:32], after[..., 20:36, 24:40], atol=1e-5)
    assert not torch.allclose(before[..., 16:32, 16:32], after[..., 16:32, 16:32], atol=1e-3)


def test_dropout_is_at_the_bottom_alone() -> None:
    calls: list[torch.Size] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append(inputs[0].shape)

    model = build(depth=3, dropout=0.5)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(note)
    model(torch.randn(2, 1, 64, 64))
    assert calls == [(2, 64, 8, 8)]
