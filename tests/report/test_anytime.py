"""What a search of k trials is expected to come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.records import PREDICTED
from orchestrator.report import answers, anytime, frames, verdict

VALUES = (0.9, 0.2, 0.7, 0.4)


def search(
    values: tuple[float, ...] = VALUES, count: int = 4, hours: float = 2.0, stopped: tuple[float, ...] = ()
) -> anytime.Search:
    return anytime.Search(values, stopped, count, hours, 1e9)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_closed_form_is_the_mean_over_all_ways_to_draw(direction: str) -> None:
    best = max if direction == "max" else min
    for k in range(1, 5):
        by_hand = np.mean([best(drawn) for drawn in combinations(VALUES, k)])
        assert anytime.expected_best(search().ordered(direction), 4, [k])[0] == pytest.approx(by_hand)


def test_trials_that_came_to_nothing_count_as_draws() -> None:
    """Six trials, two of them diverged: the mean over all draws of k that hold any value."""
    trials = [*VALUES, -np.inf, -np.inf]
    for k in range(1, 7):
        bests = [max(drawn) for drawn in combinations(trials, k)]
        by_hand = np.mean([value for value in bests if np.isfinite(value)])
        assert anytime.expected_best(sorted(VALUES), 6, [k])[0] == pytest.approx(by_hand)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_stopped_trial_wins_a_draw_that_holds_none_which_ended(direction: str) -> None:
    """Two ended, three were stopped, one diverged; one of the stopped ones was the best of all by then."""
    one = search((0.5, 0.8), 6, stopped=(0.1, 0.3, 0.9))
    best = max if direction == "max" else min
    trials = [(0.5, True), (0.8, True), (0.1, False), (0.3, False), (0.9, False), (None, False)]
    for k in range(1, 7):
        won = []
        for drawn in combinations(trials, k):
            ended, stopped = ([value for value, to_end in drawn if value and to_end == kind] for kind in (True, False))
            won += [best(ended or stopped)] if ended or stopped else []
        assert anytime.expected_best(one.ordered(direction), 6, [k])[0] == pytest.approx(np.mean(won))
    assert anytime.curve(one, "mlp", "mlp-m-1", direction)["expected_best"].iloc[-1] == best(0.5, 0.8)


def test_where_one_trial_ended_more_trials_are_still_worth_something() -> None:
    one = search((0.9,), 6, stopped=(0.1, 0.2, 0.3, 0.4, 0.5))
    assert anytime.gain(one, 3, "max") == pytest.approx(0.9 - (0.9 + np.mean([0.3, *[0.4] * 3, *[0.5] * 6])) / 2)
    assert anytime.gain(search((0.2,), 2, stopped=(0.9,)), 1, "max") == 0, "what ended is worse than what was stopped"


def test_many_trials_do_not_overflow() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    curve = anytime.expected_best(sorted(values), 6000, [1, 10, 100, 6000])
    assert np.all(np.diff(curve) > 0)
    assert curve[-1] == values.max()


def test_no_value_at_all_is_not_a_number() -> None:
    assert np.isnan(anytime.expected_best([], 3, [1, 2])).all()


def test_the_gain_is_between_the_best_and_what_fewer_trials_expect() -> None:
    assert anytime.gain(search(), 4, "max") == 0
    assert anytime.gain(search(), 9, "max") == 0
    assert anytime.gain(search(), 1, "max") == pytest.approx(0.9 - np.mean(VALUES))
    assert anytime.gain(search(), 1, "min") == pytest.approx(np.mean(VALUES) - 0.2)


def test_a_curve_ends_at_the_whole_spend_and_the_best_value() -> None:
    curve = anytime.curve(search(), "mlp", "mlp-m-1", "max")
    assert list(curve["trials"]) == [1, 2, 3, 4]
    assert curve["worker_hours"].iloc[-1] == 2.0 and curve["flops"].iloc[0] == 0.25e9
    assert curve["expected_best"].iloc[-1] == 0.9
    assert tuple(curve.columns) == anytime.COLUMNS


def test_equal_spend_is_what_the_cheapest_search_cost() -> None:
    import pandas as pd

    dear = anytime.curve(search(hours=8.0), "gpt", "gpt-m-1", "max")
    cheap = anytime.curve(search((0.5, 0.6, 0.55, 0.1)), "mlp", "mlp-m-1", "max")
    hours, there = anytime.at_spend(pd.concat([dear, cheap]))
    assert hours == 2.0
    assert there == {"gpt": pytest.approx(np.mean(VALUES)), "mlp": 0.6}  # one trial of the dear one, four of the other


def test_compute_counts_the_epoch_in_which_a_trial_broke_off(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe())
    read = frames.read([path.parents[1] / "runs" / "demo"])
    reported = anytime.search_of(read, "mlp-m-1").flops
    spent = replace(read, trials=read.trials.assign(flops_spent=2 * read.trials["flops"]))
    assert anytime.search_of(spent, "mlp-m-1").flops == 2 * reported > 0


def test_a_search_that_smaller_ones_led_says_that_their_cost_is_not_in_it(
    made_up: Callable[..., Path], recipe: Any
) -> None:
    path = made_up("sweeps: [demo]\n", recipe())
    read = frames.read([path.parents[1] / "runs" / "demo"])
    outside = "which led there, is not in it"
    assert outside not in answers.equal_spend(verdict.judge(read, 0.95))
    origins = read.trials["origin"].mask(read.trials.groupby("cell").cumcount() == 0, PREDICTED)
    led = replace(read, trials=read.trials.assign(origin=origins))
    assert outside in answers.equal_spend(verdict.judge(led, 0.95))
