from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor, nn

from orchestrator.data.load import Split
from orchestrator.errors import UserError
from orchestrator.tasks.regression import Regression


class Echo(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def split(outputs: int = 3) -> Split:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(50, outputs, generator=generator)
    return Split(targets + torch.randn(50, outputs, generator=generator), targets)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss_function", ["mse", "mae", "huber"])
def test_metrics_agree_with_scikit_learn_whatever_is_trained_on(outputs: int, loss_function: Any) -> None:
    data = split(outputs)
    measured = Regression(loss_function=loss_function).evaluate(Echo(), data, 7)
    mse = mean_squared_error(data.targets, data.inputs)
    assert measured["loss"] == pytest.approx(mse, rel=1e-5)
    assert measured["rmse"] == pytest.approx(math.sqrt(mse), rel=1e-5)
    assert measured["mae"] == pytest.approx(mean_absolute_error(data.targets, data.inputs), rel=1e-5)
    assert measured["r2"] == pytest.approx(r2_score(data.targets, data.inputs), abs=1e-5)


def test_an_output_that_does_not_vary_has_no_part_in_r2() -> None:
    data = split(3)
    data.targets[:, 1] = 2.0
    kept = [0, 2]
    expected = r2_score(data.targets[:, kept], data.inputs[:, kept])
    assert Regression().evaluate(Echo(), data, 64)["r2"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("rows", [1, 50])
def test_where_no_output_varies_r2_is_said_to_be_unmeasured(rows: int) -> None:
    data = split(3)
    assert Regression().unmeasured(data.targets) == {}
    data.targets[:, 1:] = 2.0
    assert Regression().unmeasured(data.targets) == {}
    constant = Split(data.inputs[:rows], data.targets[:1].expand(rows, -1))
    assert math.isnan(Regression().evaluate(Echo(), constant, 64)["r2"])
    assert list(Regression().unmeasured(constant.targets)) == ["r2"]


def test_losses_are_those_of_their_definitions() -> None:
    data, error = split(), split().inputs - split().targets
    delta = 0.7
    quadratic, linear = 0.5 * error**2, delta * (error.abs() - 0.5 * delta)
    expected = {
        "mse": (error**2).mean(),
        "mae": error.abs().mean(),
        "huber": torch.where(error.abs() < delta, quadratic, linear).mean(),
    }
    for name, value in expected.items():
        task = Regression(loss_function=name, huber_delta=delta)  # type: ignore[arg-type]
        [(_, loss)] = task.step(Echo(), data.inputs, data.targets)
        assert loss.item() == pytest.approx(value.item(), rel=1e-5), name


def test_a_huber_delta_of_zero_is_refused() -> None:
    with pytest.raises(UserError, match="huber_delta"):
        Regression(huber_delta=0.0)
