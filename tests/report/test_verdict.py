"""Which family is best: three answers, each where it belongs. How often they are wrong: test_verdict_rates.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import CELLS, begin, finished_run, opened, spec

from orchestrator import records
from orchestrator.report import answers, anytime, frames, luck, verdict
from orchestrator.report.verdict import BETTER, EQUAL, UNSETTLED

Made = Callable[..., Path]


def family(
    name: str, values: list[float], deviation: float = 0.0, trials: int = 20, freedom: float = 5.0
) -> verdict.Standing:
    """A family with these test values, whose search's luck has this standard deviation."""
    search = anytime.Search(tuple(np.linspace(0, 1, trials)), (), trials, 1.0, 1e9)
    told = luck.Luck(deviation**2, freedom, 1.0, deviation)
    names = tuple(f"{name}-m-1-f{number:03d}" for number in range(len(values)))
    return verdict.Standing(
        name, f"{name}-m-1", "m", 1.0, tuple(values), names, tuple(range(len(values))), search, told
    )


def decided(*standings: verdict.Standing, delta: float | None = None, direction: str = "max") -> verdict.Verdict:
    return verdict.decide(standings, "accuracy", direction, 0.95, delta)


def judged(made_up: Made, recipe: Any) -> verdict.Verdict:
    path = made_up("sweeps: [demo]\n", recipe)
    return verdict.judge(frames.read([path.parents[1] / "runs" / recipe.name]), 0.95)


def spread(mean: float, deviation: float, count: int) -> list[float]:
    """Values of just this mean and standard deviation."""
    values = np.linspace(-1, 1, count)
    return [float(v) for v in mean + deviation * values / np.std(values, ddof=1)]


def test_without_luck_the_interval_is_welchs() -> None:
    """By hand: variances 1 and 4, three values each; standard error sqrt(5/3), 2.94118 degrees of freedom."""
    pair = decided(family("a", [9.0, 10.0, 11.0]), family("b", [0.0, 2.0, 4.0])).comparisons[0]
    low, high = pair.interval or (0.0, 0.0)
    assert pair.difference == (low + high) / 2 == pytest.approx(8.0)
    assert (high - low) / 2 == pytest.approx(3.2171 * (5 / 3) ** 0.5, rel=2e-3)


def test_luck_adds_its_variance_by_satterthwaites_rule() -> None:
    """By hand: 1/3 and 4/3 on 2 degrees each, 2 on 5: 11/3 in all, on 13.444 / (0.0556 + 0.8889 + 0.8) = 7.7068."""
    error, freedom = verdict.noise(family("a", [9.0, 10.0, 11.0]), family("b", [0.0, 2.0, 4.0], deviation=2**0.5))
    assert error**2 == pytest.approx(11 / 3)
    assert freedom == pytest.approx((11 / 3) ** 2 / ((1 / 9 + 16 / 9) / 2 + 4 / 5))


def test_the_three_answers() -> None:
    far = decided(family("a", spread(10, 1, 8)), family("b", spread(7, 1, 8)))
    assert (far.answer, far.winner) == (BETTER, "a")
    level = decided(family("a", spread(10, 1, 8)), family("b", spread(9.9, 1, 8)), delta=2.0)
    assert (level.answer, level.winner) == (EQUAL, None)
    near = decided(family("a", spread(10, 1, 8)), family("b", spread(9.5, 1, 8)))
    assert (near.answer, near.winner) == (UNSETTLED, None)
    assert far.delta == near.delta == pytest.approx(0.5)


def test_the_worst_is_not_best_where_less_is_better() -> None:
    found = decided(family("a", spread(10, 1, 8)), family("b", spread(7, 1, 8)), direction="min")
    assert found.winner == "b"


def test_a_difference_that_does_not_matter_is_none_even_where_it_is_certain() -> None:
    found = decided(family("a", spread(10, 0.1, 8)), family("b", spread(9, 0.1, 8)), delta=2.0)
    assert found.answer == EQUAL
    assert "No difference larger than 2.0 between a and b." in str(answers.overall(found))


def test_only_pairs_that_were_held_against_each_other_are_said_to_be_level() -> None:
    a, b, c = (family(name, spread(mean, sd, 8)) for name, mean, sd in (("a", 2, 0.2), ("b", 1.9, 1), ("c", 1.8, 1)))
    found = decided(a, b, c, delta=1.4)
    answer = {pair.first + pair.second: pair.answer for pair in found.comparisons}
    assert answer == {"ab": EQUAL, "ac": EQUAL, "bc": UNSETTLED}
    assert "No difference larger than 1.4 between a and each of b and c." in str(answers.overall(found))
    assert "between a, b and c." in str(answers.overall(decided(a, b, c, delta=2.0)))


def test_more_seeds_are_as_many_as_it_takes() -> None:
    """Simulated: with what was asked for added, four of five experiments find the difference that was seen."""
    a, b = family("a", spread(0.8, 1, 5)), family("b", spread(0, 1, 5))
    pair = decided(a, b).comparisons[0]
    assert pair.answer == UNSETTLED and pair.obstacle == "" and pair.more_seeds
    random = np.random.default_rng(0)
    count = 5 + pair.more_seeds
    found = [
        decided(
            family("a", list(random.normal(0.8, 1, count))), family("b", list(random.normal(0, 1, count))), delta=1e-9
        ).winner
        == "a"
        for _ in range(400)
    ]
    assert 0.74 <= np.mean(found) <= 0.86


def test_more_seeds_also_settle_that_there_is_no_difference() -> None:
    pair = decided(family("a", spread(0, 1, 5)), family("b", spread(0.01, 1, 5)), delta=1.0).comparisons[0]
    # By hand, on many degrees of freedom: (1.96 + 1.28) sqrt(2 / n) = 0.99 gives n = 21.4.
    assert pair.more_seeds is not None and 21 <= pair.more_seeds + 5 <= 24


def test_luck_cannot_be_outnumbered_by_seeds() -> None:
    found = decided(family("a", spread(10, 1, 8), deviation=2), family("b", spread(8, 1, 8), deviation=2))
    pair = found.comparisons[0]
    assert (pair.answer, pair.more_seeds, pair.obstacle) == (UNSETTLED, None, verdict.LUCK)
    said = str(answers.overall(found))
    assert "more seeds will not settle it" in said.lower() and "more search trials may" in said
    assert decided(family("a", spread(10, 1, 8)), family("b", spread(8, 1, 8))).winner == "a"


def test_a_tiny_difference_takes_too_many_seeds() -> None:
    pair = decided(family("a", spread(0, 1, 4)), family("b", spread(1e-3, 1, 4)), delta=2e-3).comparisons[0]
    assert (pair.more_seeds, pair.obstacle) == (None, verdict.TOO_MANY)


@pytest.mark.parametrize(
    ("a", "b", "obstacle"),
    [
        ([1.0], [0.0, 0.1], verdict.ONE_SEED),
        ([1.0, 1.0], [0.0, 0.1], verdict.SAME_SEEDS),
        ([0.675] * 3, [0.1, 0.2], verdict.SAME_SEEDS),  # whose variance is 1.2e-32
    ],
)
def test_an_unknown_spread_gives_no_interval(a: list[float], b: list[float], obstacle: str) -> None:
    found = decided(family("a", a), family("b", b))
    assert (found.comparisons[0].interval, found.comparisons[0].obstacle) == (None, obstacle)
    assert found.answer == UNSETTLED and "annot tell" in answers.text(found)


def test_a_search_too_short_to_know_its_luck_gives_no_interval() -> None:
    short = replace(family("a", spread(10, 1, 8)), luck=None)
    found = decided(short, family("b", spread(0, 1, 8)))
    assert (found.comparisons[0].interval, found.comparisons[0].obstacle) == (None, verdict.SHORT_SEARCH)
    assert "more search trials" in answers.text(found)


def test_the_longer_search_gets_no_credit_for_its_length() -> None:
    few = family("b", spread(8, 1, 8), trials=5)
    for ahead, widened in (
        (family("a", spread(10, 1, 8), trials=20), True),
        (family("a", spread(10, 1, 8), 0, 5), False),
    ):
        pair = decided(ahead, few).comparisons[0]
        below, above = pair.unequal
        low, high = pair.interval or (0, 0)
        assert (below > 0) == widened and above == 0
        assert pair.difference - low == pytest.approx(high - pair.difference + below)
    said = answers.unequal_trials(decided(family("a", spread(10, 1, 8), trials=20), few))
    assert "a 20 trials and b 5 trials" in said
    assert answers.unequal_trials(decided(family("a", spread(10, 1, 8), trials=5), few)) == ""


def test_intervals_hold_at_once() -> None:
    two = decided(family("a", spread(1, 1, 5)), family("b", spread(0, 1, 5)))
    three = decided(family("a", spread(1, 1, 5)), family("b", spread(0, 1, 5)), family("c", spread(-9, 1, 5)))
    width = [np.ptp(found.comparisons[0].interval or (0, 0)) for found in (two, three)]
    # t on 8 degrees of freedom: 2.306 at 95 %, 3.016 at 98.33 %.
    assert width[1] / width[0] == pytest.approx(3.016 / 2.306, rel=1e-3)
    assert (three.answer, three.winner) == (UNSETTLED, None)
    assert "it is better than c" in str(answers.overall(three))


def test_a_far_better_family_wins(made_up: Made, recipe: Any) -> None:
    families = recipe(families=("mlp", "lenet"), floors={"mlp": 2.5}, search=20, finals=4, accidents=False)
    assert judged(made_up, families).winner == "lenet"


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
    assert found.winner is None and found.answer == UNSETTLED


def test_failed_pruned_and_diverged_trials_count(made_up: Made, recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(families=("mlp",), search=30))
    read = frames.read([path.parents[1] / "runs" / "demo"])
    standing = verdict.judge(read, 0.95).standings[0]
    mine = read.search[read.search["cell"] == standing.cell]
    assert set(mine["status"]) >= {"complete", "pruned", "diverged"}
    assert standing.search.count == 30
    assert standing.search.flops == mine["flops"].sum()
    assert standing.search.worker_hours == pytest.approx(mine["seconds"].sum() / 3600)
    assert len(standing.search.finished) == (mine["status"] == "complete").sum()


def test_finalists_of_two_families_share_no_randomness(tmp_path: Path) -> None:
    """Were they to, a paired comparison would be the sharper one."""
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec())
    seeds = {
        engine._ask(cell, records.FINAL, number, {"learning_rate": 0.1}).seed for cell in CELLS for number in (0, 1)
    }
    writer.close()
    assert len(seeds) == 4


# ---- orchestrate compare ------------------------------------------------------------------------------------------


def test_compare_says_it_in_words(tmp_path: Path, orchestrate: Callable[..., Any]) -> None:
    said = orchestrate("compare", finished_run(tmp_path))
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Only mlp was tested: its mean test loss is ")


def test_compare_says_it_to_programs(made_up: Made, recipe: Any, orchestrate: Callable[..., Any]) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=12, finals=3))
    told = json.loads(orchestrate("compare", path.parents[1] / "runs" / "demo", "--json", "--delta", "0.5").out)
    assert {"answer", "families", "pairs", "delta", "confidence", "luck"} <= set(told)
    assert (told["delta"], told["confidence"]) == (0.5, 0.95)
    assert told["answer"] in (BETTER, EQUAL, UNSETTLED)
    for one in told["families"]:
        assert {"mean", "sd", "seeds", "trials", "spend", "cell"} <= set(one)
        assert (one["seeds"], one["trials"]) == (3, 12)
    assert len(told["equal_compute"]["expected_best_validation"]) == 3 and told["equal_compute"]["flops"] > 0
    assert len(told["pairs"]) == 3
    for pair in told["pairs"]:
        assert {"difference", "interval", "answer", "more_seeds"} <= set(pair)
    assert set(told["luck"]) == {one["family"] for one in told["families"]}


@pytest.mark.parametrize("given", [("--delta", "0"), ("--delta", "-1"), ("--confidence", "1"), ("--delta", "nan")])
def test_a_mistake_is_one_line(tmp_path: Path, given: tuple[str, str], orchestrate: Callable[..., Any]) -> None:
    said = orchestrate("compare", finished_run(tmp_path), *given)
    assert said.code == 2 and said.err.startswith(f"error: {given[0]}: expected ") and said.err.count("\n") == 1
