from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from orchestrator.training.hyperparameters import Hyperparameters
from orchestrator.training.schedules import learning_rate


def rates(total: int = 100, **hyperparameters: Any) -> list[float]:
    h = Hyperparameters(learning_rate=0.5, **hyperparameters)
    return [learning_rate(h, step, total) for step in range(total)]


def test_constant_stays() -> None:
    assert set(rates(schedule="constant")) == {0.5}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_warmup_rises_in_equal_steps_to_the_full_rate(schedule: str) -> None:
    values = rates(schedule=schedule, warmup_fraction=0.2)
    assert values[:20] == pytest.approx([0.5 * (step + 1) / 20 for step in range(20)])
    assert values[20] == 0.5


def test_cosine_agrees_with_torch() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    expected = []
    for _ in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates(schedule="cosine") == pytest.approx(expected)


def test_cosine_after_a_warmup_spans_the_rest_and_ends_near_zero() -> None:
    values = rates(schedule="cosine", warmup_fraction=0.2)
    assert values[60] == pytest.approx(0.25)
    assert values[-1] == pytest.approx(0.25 * (1 + math.cos(math.pi * 79 / 80)))
    assert values[20:] == sorted(values[20:], reverse=True)


@pytest.mark.parametrize("percent", [10, 30])  # 0.3 / 0.1 is a little less than 3
def test_step_multiplies_after_each_fraction_of_the_steps(percent: int) -> None:
    values = rates(schedule="step", step_fraction=percent / 100, step_gamma=0.5)
    for step, value in enumerate(values):
        assert value == pytest.approx(0.5 * 0.5 ** (step // percent)), step


def test_a_run_of_one_step_has_a_rate() -> None:
    for schedule in ("constant", "cosine", "step"):
        for warmup in (0.0, 0.9):
            assert rates(1, schedule=schedule, warmup_fraction=warmup) == [0.5]
