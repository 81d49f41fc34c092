"""A study rebuilt suggests what the uninterrupted one would; what ended how is told as what it is."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
from optuna.trial import TrialState

from orchestrator import records
from orchestrator.search.samplers import SAMPLERS
from orchestrator.search.study import SHOWN_BEST, SHOWN_LATEST, Study
from orchestrator.space import Choice, Float, Int, Space, is_active

SPACE = Space(
    "mlp",
    {
        "learning_rate": Float(1e-4, 1.0, log=True),
        "batch_size": Int(16, 60, step=16),
        "units": Int(1, 100, log=True),
        "optimizer": Choice(("sgd", "adam")),
        "momentum": Float(0.0, 0.9, when=(("optimizer", ("sgd",)),)),
        "nesterov": Choice((True, False), when=(("optimizer", ("sgd",)),)),
        "beta": Float(0.8, 0.99, when=(("optimizer", ("adam",)),)),
        "fixed": Choice((0.5,)),
    },
)
RUNGS = (1, 3, 9)
Event = tuple[str, int, Any]


def loss(config: Mapping[str, Any]) -> float:
    """Best at learning_rate 0.01, adam; nan where the learning rate is above 0.3."""
    rate = config["learning_rate"]
    return math.nan if rate > 0.3 else abs(math.log10(rate) + 2) + 0.3 * (config["optimizer"] == "sgd")


def study(sampler: str, seed: int = 0, direction: str = "min") -> Study:
    return Study(SPACE, direction, sampler, 5, seed, grid_points=5)


def search(one: Study, trials: int, workers: int = 3, seed: int = 0) -> list[Event]:
    """Ask, report and tell in a disorder that is the same for a seed; what was said, in order."""
    chance, said, running = random.Random(seed), [], {}
    asked = 0
    while asked < trials or running:
        if asked < trials and len(running) < workers:
            running[asked] = (one.ask(), list(RUNGS))
            said.append(("ask", asked, running[asked][0]))
            asked += 1
            continue
        number = chance.choice(list(running))
        config, ahead = running[number]
        value = loss(config)
        if math.isnan(value) and len(ahead) < len(RUNGS):
            said.append(("tell", number, (records.DIVERGED, 1.0)))
        elif ahead and chance.random() < 0.7:
            epoch = ahead.pop(0)
            said.append(("report", number, (epoch, (0.9 if math.isnan(value) else value) + 1 / epoch)))
        else:
            status = records.FAILED if chance.random() < 0.1 else records.PRUNED if ahead else records.COMPLETE
            said.append(("tell", number, (status, None if math.isnan(value) else value)))
        hear(one, said[-1])
        if said[-1][0] == "tell":
            del running[number]
    return said


def hear(one: Study, event: Event) -> None:
    kind, number, content = event
    if kind == "report":
        one.report(number, *content)
    elif kind == "tell":
        one.tell(number, *content)


def rebuilt(said: list[Event], sampler: str, seed: int = 0) -> Study:
    """As the engine does it: trial by trial, in the order in which they were asked."""
    one = study(sampler, seed)
    for _, number, config in [event for event in said if event[0] == "ask"]:
        one.replay(config)
        for event in said:
            if event[1] == number:
                hear(one, event)
    return one


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_rebuilt_at_any_moment_suggests_what_the_uninterrupted_one_does(sampler: str) -> None:
    said = search(study(sampler), 30)
    for cut, (kind, _, config) in enumerate(said):
        if kind == "ask":
            assert rebuilt(said[:cut], sampler).ask() == config, f"event {cut}"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_suggestion_depends_on_the_seed_and_on_nothing_else(sampler: str) -> None:
    asked = [[event for event in search(study(sampler, seed), 12) if event[0] == "ask"] for seed in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("direction", ["min", "max"])
def test_a_configuration_holds_what_its_conditions_allow_within_the_ranges(sampler: str, direction: str) -> None:
    one = study(sampler, direction=direction)
    for _, _, config in [event for event in search(one, 60) if event[0] == "ask"]:
        active = [name for name, parameter in SPACE.parameters.items() if is_active(parameter, config)]
        assert list(config) == active
        assert 1e-4 <= config["learning_rate"] <= 1 and 1 <= config["units"] <= 100
        assert config["batch_size"] in (16, 32, 48) and type(config["batch_size"]) is int
        assert config["fixed"] == 0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_a_sampler_knows_does_not_depend_on_the_order_in_which_it_heard_it(sampler: str) -> None:
    said = search(study(sampler), 40, workers=8)
    asked = [event for event in said if event[0] == "ask"]
    again = study(sampler)
    for event in asked:
        again.replay(event[2])
    # Rungs first, in the order of their numbers turned round, then the ends.
    for kind in ("report", "tell"):
        for event in reversed([one for one in said if one[0] == kind]):
            hear(again, event)
    assert again.ask() == rebuilt(said, sampler).ask()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_goes_on_where_the_task_leaves_a_condition_nothing_to_ask(sampler: str) -> None:
    of_task = Choice((True, False), when=(("task", ("classification",)),))
    amount = Float(0.0, 0.2, when=(("smooth", (True,)),))
    space = Space("mlp", {"rate": Float(0.0, 1.0), "smooth": of_task, "amount": amount}).given(task="regression")
    one = Study(space, "min", sampler, 2, 0, grid_points=9)
    for number in range(5):
        config = one.ask()
        assert list(config) == ["rate"]
        one.tell(number, records.COMPLETE, config["rate"])


@pytest.mark.parametrize("sampler", ["grid", "qmc", "parzen", "gp", "cmaes"])
@pytest.mark.parametrize("known", [0, 30])
def test_trials_that_run_at_the_same_time_try_different_things(sampler: str, known: int) -> None:
    """In a space so small that a sampler with an opinion would repeat itself: 24 configurations."""
    space = Space("mlp", {"size": Int(1, 4), "other": Choice((1, 2, 3)), "on": Choice((True, False))})
    one = Study(space, "min", sampler, 5, 0, grid_points=4)
    for number in range(known if sampler != "grid" else 0):
        one.tell(number, records.COMPLETE, float(one.ask()["size"]))
    running = [tuple(one.ask().values()) for _ in range(6)]
    # A Sobol point is what it is: of the samplers without a model only the grid promises more.
    assert sampler == "qmc" or len(set(running)) == 6


def test_every_ending_is_told_as_what_it_is() -> None:
    one = study("random")
    endings = [(records.COMPLETE, 0.5), (records.PRUNED, 0.7), (records.DIVERGED, 0.1), (records.FAILED, 0.2)]
    for number, (status, value) in enumerate([*endings, (records.COMPLETE, None)]):
        one.ask()
        one.report(number, 1, 0.8)
        one.tell(number, status, value)
    one.ask()
    trials = one._study.trials
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert [trial.state for trial in trials] == [*states, TrialState.RUNNING]
    assert [trial.intermediate_values for trial in trials[:3]] == [{1: 0.8}] * 3
    assert [bool(trial.constraints) for trial in trials] == [False, False, True, False, False, False]
    assert trials[0].value == 0.5


def test_diverged_ranks_below_the_worst_for_optunas_own_sampler_however_far_it_came() -> None:
    from optuna.samplers._tpe.sampler import _split_trials

    one = study("tpe")
    for number, status in enumerate([records.DIVERGED, records.PRUNED, records.PRUNED]):
        one.ask()
        for rung in RUNGS if status == records.DIVERGED else RUNGS[:1]:
            one.report(number, rung, 0.1 if status == records.DIVERGED else 9.0)
        one.tell(number, status, None)
    good, bad = _split_trials(one._study, one._study.trials, 2)
    assert [trial.number for trial in good] == [1, 2] and [trial.number for trial in bad] == [0]


@pytest.mark.parametrize("sampler", ["tpe", "parzen", "gp", "cmaes"])
def test_a_sampler_that_learns_beats_random_draws(sampler: str) -> None:
    def last_half(name: str) -> float:
        found = []
        for seed in range(6):
            asked = [event[2] for event in search(study(name, seed), 60, seed=seed) if event[0] == "ask"]
            losses = sorted(2.0 if math.isnan(loss(config)) else loss(config) for config in asked[30:])
            found.append(losses[len(losses) // 2])
        return sum(found) / len(found)

    assert last_half(sampler) < 0.85 * last_half("random")


def test_qmc_covers_the_space_more_evenly_than_chance_even_after_a_restart() -> None:
    one = study("qmc")
    said: list[Event] = []
    for number in range(64):
        one = rebuilt(said, "qmc") if number % 16 == 5 else one
        said.append(("ask", number, one.ask()))
    rates = [event[2]["learning_rate"] for event in said]
    # One in each 64th of the logarithmic range: what a Sobol sequence promises in every coordinate.
    assert sorted(int((math.log10(rate) + 4) / 4 * 64) for rate in rates) == list(range(64))


def test_a_long_study_shows_its_sampler_the_best_the_latest_and_all_that_run() -> None:
    one = study("random")
    count = 3 * (SHOWN_BEST + SHOWN_LATEST)
    for number in range(count):
        one.ask()
        if number != 7:
            one.tell(number, records.COMPLETE, abs(number - 50.2))
    one._study.chosen = None
    shown = [trial.number for trial in one._study._get_trials(deepcopy=False)]
    half = SHOWN_BEST // 2
    assert shown == [7, *range(51 - half, 51 + half), *range(count - SHOWN_LATEST, count)]
