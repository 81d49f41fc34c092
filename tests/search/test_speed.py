"""The time of a suggestion does not grow with the study."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import records
from orchestrator.search import evolution
from orchestrator.search.samplers import SAMPLERS
from orchestrator.search.study import Study
from orchestrator.space import load

SPACE = load(Path(__file__).parents[2] / "search_spaces" / "mlp.yaml").given(task="classification")


def told(trials: int) -> Study:
    """So many trials of a space of twenty parameters, told as successive halving leaves them."""
    one, chance = Study(SPACE, "min", "random", 10, 0), random.Random(0)
    configs = [one.ask() for _ in range(50)]
    for number in range(trials):
        if number >= len(configs):
            one.replay(configs[number % len(configs)])
        value = chance.random()
        for rung, share in ((1, 1.0), (3, 0.33), (9, 0.11), (27, 0.04)):
            if value < share:
                one.report(number, rung, value)
        status = records.COMPLETE if value < 0.02 else records.DIVERGED if value > 0.9 else records.PRUNED
        one.tell(number, status, value)
    return one


@pytest.fixture(scope="module")
def short() -> Study:
    return told(1_000)


@pytest.fixture(scope="module")
def long() -> Study:
    return told(10_000)


def least(study: Study, sampler: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds of a suggestion; of many the least, since other processes only ever add."""
    monkeypatch.setattr(study, "_make", SAMPLERS[sampler])
    taken = []
    for _ in range(25):
        began = time.process_time()
        study.ask()
        taken.append(time.process_time() - began)
    return min(taken)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_suggestion_after_ten_times_as_many_trials_takes_much_less_than_ten_times_as_long(
    short: Study, long: Study, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of how many milliseconds: `benchmarks/overhead.py --cases search`."""
    assert least(long, sampler, monkeypatch) < 4 * least(short, sampler, monkeypatch) + 0.005


def test_the_distribution_of_a_long_study_is_folded_once_and_then_only_goes_on(
    long: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = 0
    tell = evolution._tell

    def counted(*arguments: Any) -> Any:
        nonlocal folded
        folded += 1
        return tell(*arguments)

    monkeypatch.setattr(evolution, "_tell", counted)
    monkeypatch.setattr(long, "_make", SAMPLERS["cmaes"])
    monkeypatch.setattr(long, "_kept", {})
    long.ask()
    assert folded > 500
    folded = 0
    long.ask()
    assert folded <= evolution.MOST_OPEN
