"""Networks without a memory forecast relative to the last step too; those with one: test_recurrent.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from orchestrator.models import mlp, perceptron
from orchestrator.windows import Windows

SERIES, AHEAD = Windows(time=24, channels=3), 4


def build(family: str, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    if family == "mlp":
        return mlp.build(mlp.Config(width=16, depth=2), shape, AHEAD * 3)
    return perceptron.build(perceptron.Config(association_units=64), shape, AHEAD * 3)


@pytest.mark.parametrize("family", ["mlp", "perceptron"])
def test_a_series_on_another_level_is_forecast_on_that_level_each_channel_for_itself(family: str) -> None:
    model = build(family, SERIES)
    # In quarters, whose sums are exact: a unit at its threshold stays there.
    inputs, level = torch.randint(-8, 8, (5, 24, 3)) / 4, torch.tensor([10.0, 0.0, -3.0])
    assert torch.allclose(model(inputs + level), model(inputs) + level.repeat(AHEAD), atol=1e-5)
    other = build(family, (24, 3))  # is no series, and has no level
    assert not torch.allclose(other(inputs + level), other(inputs) + level.repeat(AHEAD), atol=1e-1)


@pytest.mark.parametrize("family", ["mlp", "perceptron"])
def test_what_says_nothing_forecasts_the_last_step(family: str) -> None:
    model, inputs = build(family, SERIES), torch.randn(5, 24, 3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(model(inputs).reshape(5, AHEAD, 3), inputs[:, -1:].expand(5, AHEAD, 3))
