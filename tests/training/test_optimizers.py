"""Each optimizer against its definition, written out for one number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.training import optimizers
from orchestrator.training.hyperparameters import Hyperparameters

GRADIENTS = [0.5, -1.0, 2.0, 0.25]
RATE, DECAY = 0.1, 0.05


def walk(**hyperparameters: Any) -> float:
    """Where a weight of 1 is after the gradients above."""
    weight = nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
    optimizer = optimizers.build([weight], Hyperparameters(learning_rate=RATE, **hyperparameters))
    for gradient in GRADIENTS:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
    return weight.item()


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_and_an_l2_penalty(nesterov: bool) -> None:
    weight, velocity = 1.0, 0.0
    for gradient in GRADIENTS:
        gradient += DECAY * weight
        velocity = 0.9 * velocity + gradient
        weight -= RATE * (gradient + 0.9 * velocity if nesterov else velocity)
    assert walk(optimizer="sgd", momentum=0.9, nesterov=nesterov, weight_decay=DECAY) == pytest.approx(weight)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_penalizes_and_adamw_decays(optimizer: str) -> None:
    weight, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate(GRADIENTS, 1):
        if optimizer == "adam":
            gradient += DECAY * weight
        else:
            weight -= RATE * DECAY * weight
        first, second = 0.8 * first + 0.2 * gradient, 0.99 * second + 0.01 * gradient**2
        scaled = math.sqrt(second / (1 - 0.99**step)) + 1e-8
        weight -= RATE * first / (1 - 0.8**step) / scaled
    assert walk(optimizer=optimizer, beta1=0.8, beta2=0.99, weight_decay=DECAY) == pytest.approx(weight)


def test_rmsprop_with_momentum() -> None:
    weight, mean_square, velocity = 1.0, 0.0, 0.0
    for gradient in GRADIENTS:
        gradient += DECAY * weight
        mean_square = 0.95 * mean_square + 0.05 * gradient**2
        velocity = 0.9 * velocity + gradient / (math.sqrt(mean_square) + 1e-8)
        weight -= RATE * velocity
    assert walk(optimizer="rmsprop", rms_alpha=0.95, momentum=0.9, weight_decay=DECAY) == pytest.approx(weight)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_weight_decay_spares_biases_and_normalization(optimizer: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Conv1d(1, 2, 2))
    h = Hyperparameters(optimizer=optimizer, weight_decay=DECAY)  # type: ignore[arg-type]
    built = optimizers.build(model.parameters(), h)
    decayed = {id(p): group["weight_decay"] for group in built.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decayed[id(parameter)] == (DECAY if name in ("0.weight", "2.weight") else 0.0), name


def test_adam_moves_by_the_rate_at_first_whatever_the_gradient() -> None:
    weight = nn.Parameter(torch.ones(1, 1))
    optimizer = optimizers.build([weight], Hyperparameters(learning_rate=0.01, optimizer="adam"))
    weight.grad = torch.full_like(weight, 1e3)
    optimizer.step()
    assert weight.item() == pytest.approx(0.99)
