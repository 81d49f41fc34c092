"""How lucky a search was: its formula, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.report import luck


def found(values: list[float], again: list[float], others: list[float] | None = None) -> luck.Luck:
    told = luck.of_search(values, others or [], len(values) + len(others or []), again)
    assert told is not None
    return told


def test_the_variance_of_the_best_of_k_is_the_published_one() -> None:
    """Tables of normal order statistics (Teichroew 1956): 0.37290 for 8, 0.27571 for 20; 1 for a single draw."""
    assert luck.variance_of_best(1) == pytest.approx(1.0, abs=1e-6)
    assert luck.variance_of_best(8) == pytest.approx(0.37290, abs=1e-4)
    assert luck.variance_of_best(20) == pytest.approx(0.27571, abs=1e-4)


def test_expected_order_statistics_are_near_the_published_ones() -> None:
    """Largest of 8: 1.42360; of 20: 1.86748 (Harter 1961). Blom's approximation is good to about a hundredth."""
    assert luck.expected_order(8)[0] == pytest.approx(1.42360, abs=0.02)
    assert luck.expected_order(20)[:2] == pytest.approx([1.86748, 1.40760], abs=0.02)


def test_a_lead_that_fresh_seeds_confirm_is_all_luck_of_the_draw() -> None:
    """With no noise the winner's quality varies as the best of K draws does."""
    values = [float(score) for score in luck.expected_order(8)]
    told = found(values, [values[0]] * 3)
    assert told.kept == 1 and told.spread == pytest.approx(1.0)
    assert told.variance == pytest.approx(0.37290, rel=1e-3)


def test_a_lead_that_was_noise_leaves_no_luck() -> None:
    values = [float(score) for score in luck.expected_order(8)]
    assert found(values, [-0.1, 0.0, -0.2]).variance == 0


def test_units_and_shifts_go_through() -> None:
    values = [0.3, 0.9, 0.4, 0.7, 0.2, 0.85]
    plain, other = found(values, [0.8, 0.7]), found([10 * v + 3 for v in values], [11.0, 10.0])
    assert other.variance == pytest.approx(100 * plain.variance)
    assert (other.freedom, other.kept) == pytest.approx((plain.freedom, plain.kept))


def test_bad_configurations_do_not_matter_however_bad() -> None:
    good = [0.90, 0.91, 0.89, 0.88, 0.87]
    assert found([*good, 0.1, 0.2, 0.3], [0.9]).spread == found([*good, -50.0, 0.2, 0.3], [0.9]).spread


def test_few_values_have_no_spread() -> None:
    assert luck.of_search([0.9, 0.8], [], 8, [0.9]) is None
    assert luck.of_search([0.9, 0.8, 0.7], [], 3, []) is None
    assert luck.of_search([], [0.9, 0.8, 0.7], 3, [0.9]) is None


def test_stopped_trials_count_among_the_better_half() -> None:
    told = found([0.9, 0.8], [0.88], others=[0.3, 0.85, 0.2, 0.1])
    assert told.freedom == 0.75  # two, and one by half, less one, by half
    assert told.spread == found([0.9, 0.85, 0.8, 0.3, 0.2, 0.1], [0.88]).spread


def test_equal_values_are_no_luck() -> None:
    told = found([0.5] * 6, [0.5, 0.5])
    assert (told.variance, told.kept) == (0, 0)


def test_the_estimate_is_of_the_right_size_where_seeds_make_no_noise() -> None:
    """Against the true variance of the best of 20 normal draws, over 400 searches."""
    random = np.random.default_rng(0)
    searches = random.normal(size=(400, 20))
    estimates = [found([float(v) for v in values], [float(values.max())]).variance for values in searches]
    assert np.mean(estimates) == pytest.approx(0.2757, rel=0.2)
