from __future__ import annotations

import torch
from torch import nn

from orchestrator.models import lenet
from orchestrator.training.parameters import describe


def test_size_m_has_the_papers_widths() -> None:
    # C1 156, C3 16 × (6 × 25 + 1), C5 120 × (16 × 25 + 1), F6 84 × 121, output 10 × 85.
    assert describe("lenet", "m", (1, 28, 28), 10).params == 156 + 2416 + 48120 + 10164 + 850 == 61706


def test_maps_shrink_as_in_the_papers_figure_2() -> None:
    model = lenet.build(lenet.Config(6, 16, 120, 84), (1, 28, 28), 10)
    shapes: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.AvgPool2d):
            module.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape[1:])))
    model(torch.randn(1, 1, 28, 28))
    assert shapes == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]


def test_operations_equal_a_count_by_hand() -> None:
    convolutions = [28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25]
    dense = [400 * 120, 120 * 84, 84 * 10]
    by_hand = 2 * (3 * sum(convolutions + dense) - convolutions[0])
    assert describe("lenet", "m", (1, 28, 28), 10).flops_per_sample == by_hand


def test_pooling_is_of_the_kind_asked_for() -> None:
    kinds = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}
    for name, kind in kinds.items():
        model = lenet.build(lenet.Config(2, 4, 30, 21, pooling=name), (1, 8, 8), 10)  # type: ignore[arg-type]
        assert sum(isinstance(module, kind) for module in model.modules()) == 2
