"""The rules against cases computed by hand."""

from __future__ import annotations

import random
from bisect import insort

import pytest

from orchestrator.search.stopping import RULES, Halving, Hyperband, Median, expected_epochs, make


@pytest.mark.parametrize(
    ("min_epochs", "factor", "max_epochs", "rungs"),
    [
        (1, 3.0, 50, (1, 3, 9, 27)),
        (1, 3.0, 27, (1, 3, 9)),  # the end is no rung
        (2, 3.0, 12, (2, 6)),
        (1, 1.5, 6, (1, 2, 3, 5)),  # 1, 1.5, 2.25, 3.375, 5.06: rounded, none twice
        (5, 3.0, 5, ()),
        (5, 3.0, 4, ()),
    ],
)
def test_halving_compares_at_powers_of_its_factor(
    min_epochs: int, factor: float, max_epochs: int, rungs: tuple[int, ...]
) -> None:
    assert Halving(min_epochs, factor).rungs(max_epochs) == rungs


@pytest.mark.parametrize(
    ("value", "others", "goes_on"),
    [
        (9.0, [], True),  # the first always passes
        (1.0, [2.0], True),
        (3.0, [2.0], False),
        (2.0, [2.0], True),  # as good as the best of two
        (2.0, [1.0, 3.0, 4.0, 5.0], False),  # five at the rung: one goes on
        (2.0, [1.0, 3.0, 4.0, 5.0, 6.0], True),  # six: two
        (3.0, [1.0, 2.0, 4.0, 5.0, 6.0], False),
        (float("inf"), [1.0, 2.0], False),
    ],
)
def test_halving_lets_the_best_third_go_on(value: float, others: list[float], goes_on: bool) -> None:
    rule = Halving(1, 3.0)
    assert rule.keeps(value, others, "min") is goes_on
    assert rule.keeps(-value, [-other for other in reversed(others)], "max") is goes_on


def test_halving_lets_about_a_third_of_many_go_on() -> None:
    rule, chance, seen, passed = Halving(1, 3.0), random.Random(0), [], 0
    for _ in range(3000):
        value = chance.random()
        passed += rule.keeps(value, seen, "min")
        insort(seen, value)
    # The cut-off is that of the trials before: a little more than a third pass, early ones among them.
    assert 1000 <= passed <= 1060


@pytest.mark.parametrize(
    ("value", "others", "goes_on"),
    [
        (9.0, [1.0, 2.0], True),  # too few to tell
        (2.0, [1.0, 2.0, 3.0], True),
        (2.1, [1.0, 2.0, 3.0], False),
        (3.0, [1.0, 2.0, 3.0, 4.0], True),  # of an even number the worse middle one
    ],
)
def test_median_stops_what_is_worse_than_the_middle(value: float, others: list[float], goes_on: bool) -> None:
    rule = Median(2, 3.0)
    assert rule.keeps(value, others, "min") is goes_on
    assert rule.keeps(-value, [-other for other in reversed(others)], "max") is goes_on
    assert rule.rungs(6) == (2, 3, 4, 5)


def test_a_bracket_of_hyperband_begins_to_compare_one_rung_later_than_the_one_before() -> None:
    rule = Hyperband(1, 3.0)
    assert [rule.rungs(50, bracket) for bracket in range(5)] == [(1, 3, 9, 27), (3, 9, 27), (9, 27), (27,), ()]


def test_hyperband_deals_out_trials_in_the_proportions_of_the_paper_at_any_moment() -> None:
    # Li et al. 2018, Algorithm 1 with R = 81 and η = 3, before it rounds.
    rule, shares = Hyperband(1, 3.0), [81, 33.75, 15, 7.5, 5]
    for count in (20, 142, 1000):
        dealt = [rule.bracket(number, 81) for number in range(count)]
        for bracket, share in enumerate(shares):
            assert dealt.count(bracket) == pytest.approx(count * share / sum(shares), abs=3)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_only_compares_below_the_last_epoch_and_lets_the_first_arrival_go_on(name: str) -> None:
    rule = make(name, 2, 3.0)
    for max_epochs in (1, 2, 3, 12, 50):
        for number in range(20):
            rungs = rule.rungs(max_epochs, rule.bracket(number, max_epochs))
            assert all(2 <= rung < max_epochs for rung in rungs)
            assert list(rungs) == sorted(set(rungs))
    assert rule.keeps(1.0, [], "min")


@pytest.mark.parametrize("name", RULES)
def test_the_best_so_far_always_goes_on(name: str) -> None:
    rule, chance = make(name, 1, 2.5), random.Random(1)
    for count in range(1, 40):
        others = sorted(chance.gauss(0, 1) for _ in range(count))
        assert rule.keeps(min(others) - 1e-9, others, "min")
        assert rule.keeps(max(others) + 1e-9, others, "max")


def test_the_epochs_of_a_trial_are_the_mean_over_the_brackets() -> None:
    """27 epochs: brackets with the rungs 1, 3, 9; 3, 9; 9; none, of which a third passes each, in shares of 27, 12, 6
    and 4."""
    assert expected_epochs(Halving(1, 3.0), 27) == pytest.approx(1 + 2 / 3 + 6 / 9 + 18 / 27)
    mean = (27 * 3 + 12 * 7 + 6 * 15 + 4 * 27) / (27 + 12 + 6 + 4)
    assert expected_epochs(Hyperband(1, 3.0), 27) == pytest.approx(mean, rel=0.03)
