from __future__ import annotations

import pytest
import torch
from torch import nn

from orchestrator.models import mlp
from orchestrator.training.parameters import describe


def test_operations_equal_a_count_by_hand() -> None:
    # 64 → 64 → 64 → 10. Forward and the weights' gradients for all layers, the inputs' gradient for all but the first.
    layers = [64 * 64, 64 * 64, 64 * 10]
    assert describe("mlp", "m", (1, 8, 8), 10).flops_per_sample == 2 * (3 * sum(layers) - layers[0])
    assert describe("mlp", "m", (64,), 10).params == (64 + 1) * 64 + (64 + 1) * 64 + (64 + 1) * 10


def test_takes_tables_images_and_sequences() -> None:
    for shape in [(10,), (3, 8, 8), (24, 7)]:
        model = mlp.build(mlp.Config(16, 2), shape, 2)
        assert model(torch.randn(3, *shape)).shape == (3, 2)


def test_depth_counts_hidden_layers() -> None:
    model = mlp.build(mlp.Config(width=16, depth=3), (4,), 2)
    assert [module.out_features for module in model.modules() if isinstance(module, nn.Linear)] == [16, 16, 16, 2]


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (0.5, False)])
def test_dropout_acts_in_training_only(dropout: float, same: bool) -> None:
    model, inputs = mlp.build(mlp.Config(16, 2, dropout=dropout), (4,), 2), torch.randn(8, 4)
    assert torch.equal(model.train()(inputs), model(inputs)) is same
    assert torch.equal(model.eval()(inputs), model(inputs))


def test_batch_norm_standardizes_before_each_activation() -> None:
    model = mlp.build(mlp.Config(16, 2, batch_norm=True), (4,), 2)
    seen: list[torch.Tensor] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.train()(100 + 50 * torch.randn(256, 4))
    assert len(seen) == 2
    for values in seen:
        assert values.mean(0).abs().max() < 1e-4
        assert (values.var(0, correction=0) - 1).abs().max() < 1e-2
