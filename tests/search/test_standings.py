"""Who is ahead, by cases computed by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest

from orchestrator.search.standings import END, Standings


def standings(reached: list[dict[int, float]], direction: str = "max") -> Standings:
    one = Standings(direction)
    for number, values in enumerate(reached):
        one.begin(np.array([number / 10]))
        for epoch, value in values.items():
            one.reach(number, epoch, value)
    return one


def test_without_rungs_the_order_is_that_of_the_values() -> None:
    assert standings([{END: 1.0}, {END: 3.0}, {END: 2.0}, {END: 3.0}]).ranking() == [1, 3, 2, 0]
    assert standings([{END: 1.0}, {END: 3.0}, {END: 2.0}], "min").ranking() == [0, 2, 1]


def test_a_late_rung_does_not_help_one_that_was_let_through_early() -> None:
    # Trial 0 came first and went on with the worst value of all; six trials, so two stand above the rest.
    reached = [{1: 0.1, 3: 0.2}, {1: 0.5, 3: 0.6}, {1: 0.4}, {1: 0.9, 3: 0.8}, {1: 0.3}, {1: 0.2}]
    assert standings(reached).ranking() == [3, 1, 2, 4, 5, 0]


def test_what_the_next_rung_has_not_seen_stands_below_what_it_has() -> None:
    # 3 and 1 are the best two at the first rung; 3 still runs towards the next.
    reached = [{1: 0.1}, {1: 0.5, 3: 0.6}, {1: 0.4}, {1: 0.9}, {1: 0.3}, {1: 0.2}]
    assert standings(reached).ranking() == [1, 3, 2, 4, 5, 0]


def test_one_that_ended_before_a_rung_is_compared_there_by_what_it_ended_with() -> None:
    reached = [{1: 0.5, END: 0.7}, {1: 0.6, 3: 0.6, END: 0.6}, {1: 0.4}, {1: 0.3}]
    assert standings(reached).ranking()[:2] == [0, 1]


def test_diverged_and_failed_trials_have_no_rank_and_only_the_diverged_are_remembered() -> None:
    one = standings([{1: 0.5}, {1: 0.9}, {1: 0.7}])
    one.end(0, diverged=False, forgotten=False)
    one.end(1, diverged=True, forgotten=False)
    one.end(2, diverged=False, forgotten=True)
    assert (one.ranking(), list(one.diverged), list(one.running)) == ([0], [1], [])


def test_a_value_that_is_not_finite_is_the_worst() -> None:
    assert standings([{1: -np.inf}, {1: np.nan}, {1: -5.0}]).ranking() == [2, 0, 1]
    assert standings([{1: np.inf}, {1: 5.0}], "min").ranking() == [1, 0]


@pytest.mark.parametrize("seed", range(20))
def test_the_order_depends_on_what_is_known_and_not_on_when_it_was_heard(seed: int) -> None:
    chance = random.Random(seed)
    reached: list[dict[int, float]] = []
    for _ in range(60):
        depth = chance.choices([0, 1, 2, 3, 4], [1, 6, 3, 2, 1])[0]
        reached.append({epoch: round(chance.random(), 1) for epoch in (1, 3, 9, END)[:depth]})
    heard = [(number, epoch, value) for number, values in enumerate(reached) for epoch, value in values.items()]
    chance.shuffle(heard)
    other = standings([{} for _ in reached])
    for number, epoch, value in heard:
        other.reach(number, epoch, value)
    order = standings(reached).ranking()
    assert other.ranking() == order
    assert sorted(order) == [number for number, values in enumerate(reached) if values]
