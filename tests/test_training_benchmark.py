"""`benchmarks/training.py --families`: every family is in its table and can be measured; no figure is tested."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.models import FAMILIES
from orchestrator.training.parameters import describe

FILE = Path(__file__).parents[1] / "benchmarks" / "training.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    found = importlib.util.spec_from_file_location("training_benchmark", FILE)
    assert found and found.loader
    module = sys.modules["training_benchmark"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    yield module
    del sys.modules["training_benchmark"]


def test_every_family_is_listed_with_something_that_it_can_learn(benchmark: Any) -> None:
    assert set(benchmark.USES) == set(FAMILIES)
    for family, use in benchmark.USES.items():
        assert use.task in FAMILIES[family].tasks
        if FAMILIES[family].installed():
            assert describe(family, "s", use.input_shape, use.outputs, task=use.task).flops_per_sample > 0


def test_steps_train_and_their_kernels_take_a_part_of_the_time(benchmark: Any) -> None:
    steps = benchmark.Steps("mlp")
    weights = list(steps.training.updates.model.parameters())
    before = [weight.clone() for weight in weights]
    least, most = steps.outside_kernels(steps.rows(10 * 64))
    assert least < 1 and 0 < most < 1
    assert all((weight != old).any() for weight, old in zip(weights, before, strict=True))


def test_the_line_of_a_family_tells_its_speed(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SECONDS", 0.01)
    line = benchmark.measure_family("perceptron")
    assert line.startswith("perceptron    magic_gamma") and line.count("/") == 2
