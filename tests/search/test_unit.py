"""Hyperparameters and the unit interval."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from orchestrator.search.unit import from_unit, to_unit

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "float": FloatDistribution(-2.0, 3.0),
    "float-log": FloatDistribution(1e-5, 1e-1, log=True),
    "float-single": FloatDistribution(0.3, 0.3),
    "int": IntDistribution(3, 9),
    "int-step": IntDistribution(16, 48, step=16),
    "int-log": IntDistribution(1, 1024, log=True),
    "choice": CategoricalDistribution((32, "gelu", True, 0.5)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_point_gives_a_value_of_the_range_that_leads_back_to_itself(name: str) -> None:
    distribution = DISTRIBUTIONS[name]
    for point in (*np.linspace(0, 1, 203).tolist(), np.nextafter(1.0, 0.0).item()):
        value = from_unit(distribution, point)
        assert distribution._contains(distribution.to_internal_repr(value))
        again = from_unit(distribution, to_unit(distribution, value))
        assert type(again) is type(value)
        assert again == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("name", "values"), [("int", range(3, 10)), ("int-step", (16, 32, 48)), ("choice", (32, "gelu", True, 0.5))]
)
def test_whole_numbers_and_choices_are_equally_likely(name: str, values: Any) -> None:
    drawn = Counter(from_unit(DISTRIBUTIONS[name], point) for point in (np.arange(8400) + 0.5) / 8400)
    assert drawn == {value: pytest.approx(8400 / len(values), abs=1) for value in values}


def test_a_logarithmic_range_gives_each_decade_its_share() -> None:
    assert from_unit(DISTRIBUTIONS["float-log"], 0.25) == pytest.approx(1e-4)
    assert to_unit(DISTRIBUTIONS["float-log"], 1e-2) == pytest.approx(0.75)
