"""Importances by Optuna over plain columns: they find what matters, and say nothing where nothing differs."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.search.importance import MOST_TRIALS, Importance, importances


def made_up(trials: int, seed: int = 0) -> tuple[dict[str, list[float | str | None]], np.ndarray]:
    """The logarithm of the learning rate matters most, the optimizer a little, dropout not at all."""
    random = np.random.default_rng(seed)
    rate, dropout = random.uniform(-4, 0, trials), random.uniform(0, 0.5, trials)
    optimizer = random.choice(["adam", "sgd"], trials)
    momentum = [float(random.uniform()) if one == "sgd" else None for one in optimizer]
    goodness = -((rate + 2) ** 2) + 0.5 * (optimizer == "adam") + 0.05 * random.normal(size=trials)
    columns = {"rate": list(rate), "dropout": list(dropout), "optimizer": list(map(str, optimizer)),
               "momentum": momentum}  # fmt: skip
    return columns, goodness


@pytest.mark.parametrize("measure", ["fanova", "ped_anova"])
@pytest.mark.parametrize("trials", [40, 300])
def test_what_matters_comes_first(measure: str, trials: int) -> None:
    found = {name: getattr(one, measure) for name, one in importances(*made_up(trials)).items()}
    known = {name: value for name, value in found.items() if value is not None}
    assert max(known, key=lambda name: known[name]) == "rate"
    assert known["rate"] > 0.5 > 3 * known["dropout"]


def test_shares_are_shares() -> None:
    found = importances(*made_up(200))
    assert sum(one.ped_anova or 0 for one in found.values()) == pytest.approx(1)
    assert 0 < sum(one.fanova or 0 for one in found.values()) <= 1


def test_a_conditional_hyperparameter_has_no_share_of_the_variance_of_all_trials() -> None:
    found = importances(*made_up(100))
    assert found["momentum"].fanova is None
    assert found["momentum"].ped_anova is not None


def test_trials_that_are_all_alike_say_nothing() -> None:
    columns, goodness = made_up(30)
    assert set(importances(columns, np.zeros_like(goodness)).values()) == {Importance(None, None)}


def test_a_value_that_never_changes_matters_nothing() -> None:
    columns, goodness = made_up(60)
    found = importances(columns | {"fixed": [3.0] * 60, "only": ["one"] * 60}, goodness)
    assert found["fixed"].fanova == found["only"].fanova == found["fixed"].ped_anova == found["only"].ped_anova == 0


def test_it_is_the_same_each_time_and_for_many_trials_looks_at_some() -> None:
    columns, goodness = made_up(3 * MOST_TRIALS)
    every = [int(place) for place in np.linspace(0, 3 * MOST_TRIALS - 1, MOST_TRIALS)]
    some = {name: [values[place] for place in every] for name, values in columns.items()}
    assert importances(columns, goodness) == importances(some, goodness[every])
