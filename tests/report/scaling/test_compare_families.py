"""Families on one law: gain, crossover, exponents, ranking."""

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.report.scaling import LAWS, FitOptions, Points, fit, law_named
from orchestrator.report.scaling.families import compare_families, plain_ranking, same_exponents

SIZE, DATA = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))


def two(first, second, noise=0.003, seed=0):
    """Points of families a and b, each (A, B, alpha, beta)."""
    rng = np.random.default_rng(seed)
    loss = [
        (1.7 + a * SIZE**-alpha + b * DATA**-beta) * np.exp(noise * rng.normal(size=len(SIZE)))
        for a, b, alpha, beta in (first, second)
    ]
    points = Points({"N": np.tile(SIZE, 2), "D": np.tile(DATA, 2)}, np.concatenate(loss))
    return points, np.repeat(["a", "b"], len(SIZE))


def compared(first, second, **made):
    return compare_families(LAWS["chinchilla"], *two(first, second, **made), FitOptions(bootstrap=60, starts=6))


def test_gain_is_how_many_times_the_compute_the_worse_family_needs():
    # b's coefficients are those of a network a quarter as efficient in N and in D: 16 times the compute for a's loss
    factor = 4.0
    result = compared((400, 900, 0.34, 0.33), (400 * factor**0.34, 900 * factor**0.33, 0.34, 0.33), noise=0.001)
    pair = result.pairs[0]
    assert pair.gain.value == pytest.approx(16, rel=0.1)
    assert pair.gain.low < 16 < pair.gain.high
    assert pair.verdict == "b needs more compute than a for the same loss"
    assert pair.a_better == 1.0
    assert result.shared.verdict == "the data do not tell the exponents apart"


def test_two_copies_of_one_family_are_not_told_apart():
    pair = compared((400, 900, 0.34, 0.33), (400, 900, 0.34, 0.33)).pairs[0]
    assert pair.verdict.startswith("cannot tell")
    assert pair.gain.low < 1 < pair.gain.high


def test_curves_that_cross_are_seen_with_their_probability():
    # a is better from the start, b falls faster: they cross within the data
    pair = compared((150, 400, 0.30, 0.30), (1200, 3000, 0.42, 0.40), noise=0.001).pairs[0]
    assert pair.crossover_probability > 0.9
    assert pair.crossover.low < pair.crossover.value < pair.crossover.high


def test_different_exponents_are_found():
    result = compared((400, 900, 0.34, 0.33), (120, 300, 0.27, 0.27))
    assert result.shared.verdict == "the exponents differ"
    assert result.shared.p_value < 1e-6


def test_shared_exponents_fit_every_family_with_its_own_coefficients():
    shared = compared((400, 900, 0.34, 0.33), (800, 1800, 0.34, 0.33), noise=0.0005).shared.fitted
    assert shared.status == "converged"
    found = {name: estimate.value for name, estimate in shared.parameters.items()}
    assert found["alpha"] == pytest.approx(0.34, abs=0.01)
    assert found["A[b]"] / found["A[a]"] == pytest.approx(2.0, rel=0.1)
    assert found["B[b]"] / found["B[a]"] == pytest.approx(2.0, rel=0.1)


def test_families_on_a_law_of_one_variable():
    rng = np.random.default_rng(0)
    size = np.tile(np.geomspace(1e5, 1e9, 20), 2)
    group = np.repeat(["a", "b"], 20)
    loss = (1.0 + np.where(group == "a", 30, 60) * size**-0.3) * np.exp(0.002 * rng.normal(size=40))
    result = compare_families(
        law_named("power_floor", {"N": 0}), Points({"N": size}, loss), group, FitOptions(bootstrap=60)
    )
    assert result.pairs[0].gain.value == pytest.approx(2 ** (1 / 0.3), rel=0.25)


def test_plain_ranking_is_at_the_largest_size_all_have():
    points = Points({"N": np.array([1e6, 1e7, 1e8, 1e6, 1e7])}, np.array([3.0, 2.5, 2.0, 2.9, 2.6]))
    ranking = plain_ranking(points, np.array(["a", "a", "a", "b", "b"]))
    assert ranking["size"] == 1e7
    assert [row["family"] for row in ranking["ranking"]] == ["a", "b"]


def test_no_common_size_is_said():
    points = Points({"N": np.array([1e6, 1e7])}, np.array([3.0, 2.5]))
    assert "no N is common" in plain_ranking(points, np.array(["a", "b"]))["note"]


def test_a_family_of_too_few_rows_is_named_and_left_out():
    points, group = two((400, 900, 0.34, 0.33), (400, 900, 0.34, 0.33))
    group = group.astype("<U5")
    group[:2] = "small"
    result = compare_families(LAWS["chinchilla"], points, group, FitOptions(bootstrap=20, starts=4))
    assert "2 rows for 5 parameters" in result.failed["small"]
    assert [(pair.a, pair.b) for pair in result.pairs] == [("a", "b")]


def test_one_family_is_no_comparison():
    points, _ = two((400, 900, 0.34, 0.33), (400, 900, 0.34, 0.33))
    with pytest.raises(UserError, match="at least two"):
        compare_families(LAWS["chinchilla"], points, np.repeat("a", len(points)))


def test_families_of_the_same_exponents_are_not_told_apart_by_chance():
    """Two families alike but for a factor, twenty rows each with normal noise: one table in twenty may say otherwise.

    A ratio of likelihoods said so in a third of them.
    """
    sizes, data = np.repeat(np.geomspace(1e7, 1e10, 5), 4), np.tile(np.geomspace(1e9, 1e11, 4), 5)
    law = 1.69 + 406.4 * sizes**-0.34 + 410.7 * data**-0.28
    group = np.repeat(["a", "b"], len(law))
    said = []
    for seed in range(12):
        noise = np.exp(0.002 * np.random.default_rng(seed).normal(size=2 * len(law)))
        points = Points({"N": np.tile(sizes, 2), "D": np.tile(data, 2)}, np.concatenate([law, 1.1 * law]) * noise)
        fits = {name: fit("chinchilla", points.rows(group == name), FitOptions(bootstrap=100)) for name in ("a", "b")}
        said.append(same_exponents(LAWS["chinchilla"], fits))
    assert sum(chance < 0.05 for chance in said) <= 2
    assert np.median(said) > 0.2
