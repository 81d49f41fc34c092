"""Which family is best: no false winners, true ones found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.report import frames, verdict

Made = Callable[..., Path]


def judged(made_up: Made, recipe: Any) -> verdict.Verdict:
    path = made_up("sweeps: [demo]\n", recipe)
    return verdict.judge(frames.read([path.parents[1] / "runs" / recipe.name]), 0.95)


def test_welchs_interval_is_that_of_the_published_formula() -> None:
    """By hand: variances 1 and 4, three values each; standard error sqrt(5/3), 2.94118 degrees of freedom."""
    low, high = verdict.welch([9.0, 10.0, 11.0], [0.0, 2.0, 4.0], 0.95) or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(8.0)
    assert (high - low) / 2 == pytest.approx(3.2171 * (5 / 3) ** 0.5, rel=2e-3)


@pytest.mark.parametrize(("a", "b"), [([1.0], [0.0, 0.1]), ([1.0, 1.0], [0.0, 0.1])])
def test_an_unknown_spread_gives_no_interval(a: list[float], b: list[float]) -> None:
    assert verdict.welch(a, b, 0.95) is None


def test_equal_families_get_no_winner_in_95_of_100_repeats() -> None:
    random = np.random.default_rng(3)
    for seeds in (2, 3, 8):
        false_winners = 0
        for _ in range(400):
            values = sorted(random.normal(0.9, 0.01, (3, seeds)), key=np.mean, reverse=True)
            standings = [
                verdict.Standing(name, "", "m", 1.0, tuple(v), (), ()) for name, v in zip("abc", values, strict=True)
            ]
            pairs = [verdict.compare(standings[0], other, 1 - 0.05 / 3) for other in standings[1:]]
            false_winners += all(pair.separated for pair in pairs)
        assert false_winners <= 0.05 * 400


def test_a_true_difference_of_three_deviations_is_found_with_eight_seeds() -> None:
    random = np.random.default_rng(4)
    found = sum(
        (interval := verdict.welch(random.normal(3, 1, 8), random.normal(0, 1, 8), 0.95)) is not None
        and interval[0] > 0
        for _ in range(100)
    )
    assert found >= 95


def test_a_far_better_family_wins(made_up: Made, recipe: Any) -> None:
    found = judged(made_up, recipe(families=("mlp", "lenet"), floors={"mlp": 1.0}, finals=4, accidents=False))
    assert found.winner == "lenet"


def test_a_family_like_another_does_not_win(made_up: Made, recipe: Any) -> None:
    """Two names for one family: same floor, same strength, other seeds."""
    found = judged(made_up, recipe(families=("one", "other"), finals=3, seed_noise=0.1, accidents=False, seed=5))
    assert found.winner is None


def test_a_family_stands_for_its_best_cell_by_validation_and_not_by_test(made_up: Made, recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(families=("mlp",), accidents=False))
    read = frames.read([path.parents[1] / "runs" / "demo"])
    trials = read.trials.copy()
    lucky = trials["cell"] == "mlp-xs-0.25"
    trials.loc[lucky & trials["test_accuracy"].notna(), "test_accuracy"] = 0.999
    standing = verdict.judge(replace(read, trials=trials), 0.95).standings[0]
    assert standing.cell != "mlp-xs-0.25"


def test_a_family_without_finalists_is_named_as_untested(made_up: Made, recipe: Any) -> None:
    found = judged(made_up, recipe(families=("mlp",), finals=0))
    assert found.standings == ()
    assert found.untested == ("mlp",)
    assert found.winner is None
