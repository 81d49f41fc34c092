"""Every point of a grid once, whatever its conditions; too many trials are refused before the start."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from orchestrator import documents, plan
from orchestrator.errors import UserError
from orchestrator.search.grid import Grid
from orchestrator.search.study import Study
from orchestrator.space import Choice, Float, Int, Space, load
from orchestrator.spec import Sweep

SPACE = Space(
    "mlp",
    {
        "learning_rate": Float(1e-4, 1.0, log=True),
        "layers": Int(1, 2),
        "optimizer": Choice(("sgd", "adam")),
        "momentum": Float(0.0, 0.9, when=(("optimizer", ("sgd",)),)),
        "nesterov": Choice((True, False), when=(("optimizer", ("sgd",)), ("layers", (2,)))),
        "fixed": Float(0.5, 0.5),
    },
)
# 3 rates; with one layer 3 momenta and adam, with two layers 3 momenta × 2 and adam.
SIZE = 3 * ((3 + 1) + (3 * 2 + 1))


def everything(seed: int) -> list[str]:
    grid = Grid(SPACE, 3)
    return [repr(grid.config(seed, number)) for number in range(grid.size)]


def test_every_point_comes_once_and_conditions_make_no_doubles() -> None:
    assert Grid(SPACE, 3).size == SIZE
    assert len(set(everything(0))) == SIZE


def test_a_number_takes_its_ends_and_even_steps_between() -> None:
    configs = [Grid(SPACE, 3).config(0, number) for number in range(SIZE)]
    assert sorted({config["learning_rate"] for config in configs}) == pytest.approx([1e-4, 1e-2, 1.0])
    assert {config["layers"] for config in configs} == {1, 2}
    assert {config["momentum"] for config in configs if "momentum" in config} == {0.0, 0.45, 0.9}
    assert Grid(Space("mlp", {"rate": Float(1e-4, 1.0, log=True)}), 1).config(0, 0) == {"rate": pytest.approx(1e-2)}


def test_the_order_is_another_for_another_seed_and_spreads_wherever_it_is_cut() -> None:
    assert everything(0) != everything(1) and sorted(everything(0)) == sorted(everything(1))
    # Of the first third, none of the rates takes more than two thirds.
    for seed in range(10):
        rates = [Grid(SPACE, 3).config(seed, number)["learning_rate"] for number in range(SIZE // 3)]
        assert max(map(rates.count, rates)) <= 2 * len(rates) / 3


def test_a_grid_too_large_to_lay_out_is_counted_and_sampled() -> None:
    space = load(Path(__file__).parents[2] / "search_spaces" / "mlp.yaml").given(task="classification")
    grid = Grid(space, 10)
    assert grid.size > 10**11
    assert len({repr(grid.config(0, number)) for number in range(200)}) == 200


def test_the_sampler_asks_for_every_point_of_the_grid() -> None:
    one = Study(SPACE, "min", "grid", 10, seed=4, grid_points=3)
    assert [repr(one.ask()) for _ in range(SIZE)] == everything(4)
    with pytest.raises(UserError, match=f"trial {SIZE + 1} .* {SIZE} points"):
        one.ask()


def test_whole_numbers_and_choices_are_never_repeated() -> None:
    space = Space("mlp", {"size": Int(1, 8, log=True), "batch": Int(16, 60, step=16), "other": Choice((1, 2, 3))})
    grid = Grid(space, 30)
    assert grid.size == 8 * 3 * 3
    expected = itertools.product(range(1, 9), (16, 32, 48), (1, 2, 3))
    assert sorted(tuple(grid.config(0, number).values()) for number in range(grid.size)) == sorted(expected)


@pytest.mark.parametrize(("trials", "fits"), [(SIZE, True), (SIZE + 1, False)])
def test_more_trials_than_points_are_refused_before_the_start(tmp_path: Path, trials: int, fits: bool) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"name: small\ntrials: {trials}\n")
    content = {"name": "small", "data": "digits", "families": ["mlp"], "trials": trials}
    sweep = Sweep.model_validate({**content, "sampler": {"name": "grid", "points": 3}})
    if fits:
        plan._fits_the_grid(documents.load(path), sweep, {"mlp": SPACE})
        return
    with pytest.raises(UserError, match=rf"small.yaml:2: trials: {trials} trials .* mlp .* {SIZE} points"):
        plan._fits_the_grid(documents.load(path), sweep, {"mlp": SPACE})


def test_a_count_agrees_with_the_list_for_conditions_on_numbers() -> None:
    space = Space(
        "mlp",
        {
            "layers": Int(1, 4),
            "skip": Choice(("yes", "no"), when=(("layers", (2, 3, 4)),)),
            "rate": Float(0.0, 1.0, when=(("skip", ("yes",)),)),
        },
    )
    grid = Grid(space, 4)
    # One layer: 1; each other: yes with four rates, or no.
    assert grid.size == 1 + 3 * (4 + 1)
    assert len({repr(grid.config(7, number)) for number in range(grid.size)}) == grid.size
    assert math.isfinite(grid.size)
