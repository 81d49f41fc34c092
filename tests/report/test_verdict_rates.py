"""How often the verdict is wrong, and how often it finds what is there, on simulated families with luck in the search.

A family is a distribution of true qualities. Its search draws K configurations, sees each through the noise of one
seed, and takes the best it sees; n fresh seeds of that one are tested. Qualities have standard deviation 1 (but for
"near an optimum": they are shortfalls from it, Weibull distributed with shape 2, as at the optimum of a smooth
function of four hyperparameters), seeds make noise of standard deviation `noise`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from orchestrator.report import anytime, luck, verdict

Draw = Callable[[np.random.Generator, int], np.ndarray]

QUALITIES: dict[str, Draw] = {
    "normal": lambda random, count: random.normal(size=count),
    "uniform": lambda random, count: random.uniform(-(3**0.5), 3**0.5, count),
    "near an optimum": lambda random, count: -random.weibull(2, count) / 0.463,
}
REPEATS = 200
NOISES = (0.3, 1.0, 3.0)


def family(
    random: np.random.Generator, name: str, draw: Draw, trials: int, seeds: int, noise: float, ahead: float = 0.0
) -> verdict.Standing:
    """One search and its finalists; `ahead` is added to every quality."""
    quality = draw(random, trials) + ahead
    seen = quality + noise * random.normal(size=trials)
    best = quality[seen.argmax()]
    again, tested = best + noise * random.normal(size=(2, seeds))
    told = luck.of_search(list(seen), [], trials, list(again))
    search = anytime.Search(tuple(seen), (), trials, 1.0, 1.0)
    return verdict.Standing(name, name, "m", 1.0, tuple(tested), (), (), search, told)


def winners(
    draw: Draw,
    trials: int,
    seeds: int,
    noise: float = 1.0,
    families: int = 2,
    ahead: float = 0.0,
    repeats: int = REPEATS,
) -> dict[str | None, float]:
    """Share of the repeats in which each family wins (None: no winner); `ahead` is how much better "a" is."""
    random = np.random.default_rng(trials * 100 + seeds)
    counts: dict[str | None, int] = dict.fromkeys([*"abcde"[:families], None], 0)
    for _ in range(repeats):
        made = [
            family(random, name, draw, trials, seeds, noise, ahead if name == "a" else 0.0)
            for name in "abcde"[:families]
        ]
        counts[verdict.decide(made, "accuracy", "max", 0.95).winner] += 1
    return {name: count / repeats for name, count in counts.items()}


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("trials", [8, 20])
@pytest.mark.parametrize("quality", QUALITIES)
def test_two_equal_families_have_a_winner_in_one_of_twenty_repeats_at_most(
    quality: str, trials: int, seeds: int
) -> None:
    """200 repeats at each of three noises together; each by itself, with 2000 repeats, is the slow test below."""
    shares = [winners(QUALITIES[quality], trials, seeds, noise)[None] for noise in NOISES]
    assert np.mean(shares) >= 0.95


@pytest.mark.parametrize("families", [3, 5])
@pytest.mark.parametrize("trials", [8, 20])
def test_more_equal_families_have_no_more_false_winners(trials: int, families: int) -> None:
    assert winners(QUALITIES["normal"], trials, 8, families=families)[None] >= 0.95


def test_what_was_said_before_luck_counted_would_have_been_wrong() -> None:
    """The same families with the luck left out: this is what the tests above would not let through."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(REPEATS):
        pair = [family(random, name, QUALITIES["normal"], 20, 8, 1.0) for name in "ab"]
        blind = [verdict.Standing(**{**vars(one), "luck": luck.Luck(0.0, 1.0, 0.0, 0.0)}) for one in pair]
        wrong += verdict.decide(blind, "accuracy", "max", 0.95).winner is not None
    assert wrong / REPEATS > 0.25


def test_a_true_difference_of_two_deviations_of_seeds_is_found_with_eight_seeds() -> None:
    """All configurations of a family are alike here, as after a search that has converged: seeds are all the noise."""

    def alike(random: np.random.Generator, count: int) -> np.ndarray:
        return np.zeros(count)

    won = winners(alike, trials=20, seeds=8, ahead=2.0)
    assert won["a"] >= 0.8 and won["b"] == 0


def test_where_luck_is_most_of_the_noise_a_difference_of_five_of_its_deviations_is_found() -> None:
    """The best of 20 normal qualities varies with standard deviation 0.525; seeds make a tenth of one here."""
    won = winners(QUALITIES["normal"], trials=20, seeds=8, noise=0.1, ahead=5 * 0.525)
    assert won["a"] >= 0.8 and won["b"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.3, 1.0, 1.5, 3.0])
@pytest.mark.parametrize(("trials", "seeds"), [(8, 8), (20, 3), (20, 8)])
@pytest.mark.parametrize("quality", QUALITIES)
def test_two_thousand_repeats_say_the_same(quality: str, trials: int, seeds: int, noise: float) -> None:
    assert (
        winners(QUALITIES[quality], trials, seeds, noise, repeats=2000)[None] >= 0.945
    )  # 0.95 less one standard error of the share
