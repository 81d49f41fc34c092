"""The mind of a sweep, with a plain loop for workers. The heart: a kill at any moment changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up import CELLS, SPACE, begin, copied, finished_run, opened, outcome, row, run, spec, work

from orchestrator import history, journal, records
from orchestrator.engine import MAX_LOSSES, Engine
from orchestrator.failures import SAME_ERRORS
from orchestrator.journal import Writer
from orchestrator.spec import Sweep

SWEEPS: dict[str, tuple[dict[str, Any], str]] = {
    "tpe-halving": ({}, "min"),
    "tpe-maximized": ({"metric": "validation_accuracy"}, "max"),
    "parzen-hyperband": (
        {
            "sampler": {"name": "parzen", "startup_trials": 2},
            "early_stopping": {"name": "hyperband", "min_epochs": 1, "reduction_factor": 2.0},
        },
        "min",
    ),
    "parzen-promotion": (
        {
            "sampler": {"name": "parzen", "startup_trials": 2},
            "early_stopping": {"name": "promotion", "min_epochs": 1, "reduction_factor": 2.0},
        },
        "min",
    ),
    "random-promotion-of-equals": (
        {
            "sampler": {"name": "random"},
            "early_stopping": {"name": "promotion", "min_epochs": 1, "reduction_factor": 2.0},
            "metric": "validation_accuracy",
        },
        "max",
    ),
    "random-budget": ({"sampler": {"name": "random"}, "budget": {"trials": 9}}, "min"),
    "random-median": (
        {"sampler": {"name": "random"}, "early_stopping": {"name": "median"}, "metric": "validation_accuracy"},
        "max",
    ),
    "parzen-transfer": ({"sampler": {"name": "parzen", "startup_trials": 2}, "transfer": True}, "min"),
    "qmc-none": ({"sampler": {"name": "qmc"}, "early_stopping": {"name": "none"}}, "min"),
}


class Killed(Exception):
    """The process is gone: what was committed stays, nothing else does."""


class Mortal(Writer):
    """A writer that notes the journal's length after each write, and whose process is killed after the n-th."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__(run_dir)
        self.run_dir, self.cuts, self.life = run_dir, [], 10**9

    def append(self, *events: tuple[str, str, str | None, dict[str, Any]]) -> float:
        now = super().append(*events)
        self.cuts.append(len(journal.events(self.run_dir)))
        if len(self.cuts) == self.life:
            raise Killed
        return now


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    one = opened(tmp_path / "run")
    yield one
    one.close()


@pytest.fixture
def engine(writer: Writer, tmp_path: Path) -> Engine:
    return begin(writer, tmp_path / "run", spec())


def killed_every(writes: int, run_dir: Path, sweep: dict[str, Any], direction: str) -> int:
    """Run a sweep that is killed every `writes` writes and started again; the number of kills."""
    for kills in range(1000):
        writer = opened(run_dir, Mortal)
        writer.life = writes
        try:
            run(begin(writer, run_dir, spec(**sweep), direction))
            return kills
        except Killed:
            continue
        finally:
            writer.close()
    raise AssertionError("no progress between the kills")


# ---- a whole sweep --------------------------------------------------------------------------------------------


def test_every_cell_gets_its_trials_and_its_finalists_once(tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path))
    asked = Counter((one.trial.cell, one.trial.kind) for one in told.trials.values())
    assert asked == {(cell.id, kind): count for cell in CELLS for kind, count in (("search", 5), ("final", 2))}
    assert {one.status for one in told.trials.values()} <= set(records.ENDED)


def test_the_made_up_sweep_shows_every_fate(tmp_path: Path) -> None:
    # Else the tests below would prove less than they say.
    statuses = {one.status for one in history.of(finished_run(tmp_path, spec(trials=12))).trials.values()}
    assert statuses == {records.COMPLETE, records.PRUNED, records.DIVERGED}


def test_finalists_train_the_best_configuration_on_fresh_seeds(tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path))
    for cell in CELLS:
        mine = [one for one in told.trials.values() if one.trial.cell == cell.id]
        complete = [one for one in mine if one.trial.kind == "search" and one.status == records.COMPLETE]
        best = min(complete, key=lambda one: one.value or 0)
        finals = [one.trial for one in mine if one.trial.kind == "final"]
        assert [final.config for final in finals] == [best.trial.config] * 2
    seeds = [one.trial.seed for one in told.trials.values()]
    assert len(set(seeds)) == len(seeds)


def test_a_configuration_holds_just_what_its_conditions_allow(tmp_path: Path) -> None:
    for one in history.of(finished_run(tmp_path)).trials.values():
        config = one.trial.config
        assert ("momentum" in config) == (config["optimizer"] == "sgd")
        assert set(config) <= set(SPACE.parameters)


def test_a_stopped_trial_ends_at_its_rung_and_finalists_are_never_stopped(tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path, spec(trials=12)))
    for one in told.trials.values():
        if one.status == records.PRUNED:
            assert len(one.reports) == one.reports[-1]["epoch"] in (1, 2, 4)
            assert one.trial.kind == "search"
        elif one.status == records.COMPLETE:
            assert len(one.reports) == 8


def test_at_a_rung_the_better_share_goes_on(engine: Engine) -> None:
    first, second, third = (engine.next() for _ in range(3))
    assert first and second and third and first.cell == third.cell != second.cell

    def report(trial: records.Trial, loss: float) -> bool:
        return engine.report(trial.id, [{**row(trial, 1), "validation_loss": loss}])

    assert report(first, 2.0) is False  # alone at the rung
    assert report(second, 9.0) is False  # alone in its own cell
    assert report(third, 2.1) is True  # of two, one goes on


def test_the_same_seed_gives_the_same_sweep_and_another_seed_another(tmp_path: Path) -> None:
    once = outcome(finished_run(tmp_path / "a"))
    assert outcome(finished_run(tmp_path / "b")) == once
    assert outcome(finished_run(tmp_path / "c", spec(seed=1))) != once


def test_each_suggestion_knows_all_results_before_it(engine: Engine) -> None:
    """The cell that has asked least asks next, so that one worker alternates between cells."""
    cells = []
    for _ in range(6):
        trial = engine.next()
        assert trial
        cells.append(trial.cell)
        for _ in work(engine, trial, 8):
            pass
    assert cells == [CELLS[0].id, CELLS[1].id] * 3


def test_a_cell_in_which_all_diverged_has_no_finalists_and_the_sweep_ends(engine: Engine) -> None:
    while not engine.finished:
        trial = engine.next()
        assert trial and trial.kind == "search"
        engine.end(trial.id, records.DIVERGED, "nan in epoch 1")
    assert engine.next() is None


def test_a_cell_without_a_complete_trial_takes_its_finalists_from_the_pruned(engine: Engine) -> None:
    for _ in range(10):
        trial = engine.next()
        assert trial
        engine.report(trial.id, [row(trial, 1)])
        engine.end(trial.id, records.PRUNED)
    final = engine.next()
    assert final and final.kind == "final"


@pytest.mark.parametrize("rule", ["halving", "promotion"])
@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_in_any_order_neither_double_nor_block(tmp_path: Path, workers: int, rule: str) -> None:
    writer = opened(tmp_path)
    early = {"name": rule, "min_epochs": 1, "reduction_factor": 2.0}
    engine = begin(writer, tmp_path, spec(trials=6, early_stopping=early))
    chance, busy = random.Random(workers), {}
    while not engine.finished:
        while len(busy) < workers and (trial := engine.next()):
            assert trial.id not in busy
            busy[trial.id] = work(engine, trial, 8)
        assert busy, "a deadlock"
        name = chance.choice(list(busy))
        if chance.random() < 0.1:
            del busy[name]
            engine.lost(name, "out of memory")
        elif next(busy[name], "over") == "over":
            del busy[name]
    writer.close()
    told = history.of(tmp_path)
    assert len(told.trials) == 2 * (6 + 2)
    for one in told.trials.values():
        assert [report["epoch"] for report in one.reports] == list(range(1, len(one.reports) + 1))
    events = Counter(event.kind for event in journal.events(tmp_path))
    assert events["asked"] == events["ended"] == len(told.trials)
    assert events["lost"], "the test shows nothing"


# ---- pausing and promoting --------------------------------------------------------------------------------------


PROMOTION = {"name": "promotion", "min_epochs": 1, "reduction_factor": 2.0}


def test_a_promoted_trial_goes_on_from_its_rung_and_the_rest_are_pruned_in_the_end(tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path, spec(trials=12, early_stopping=PROMOTION)))
    kinds = Counter(event.kind for event in journal.events(tmp_path))
    assert kinds["promoted"] >= 3
    for cell in CELLS:
        mine = [one for one in told.trials.values() if one.trial.cell == cell.id and one.trial.kind == "search"]
        lengths = Counter(len(one.reports) for one in mine if one.status != records.DIVERGED)
        assert lengths[8] >= 1, "nobody was trained to the end"
        assert lengths[1] > lengths[8], "who came first was not simply let through"
        for one in mine:
            epochs = [report["epoch"] for report in one.reports]
            assert epochs == list(range(1, len(epochs) + 1))


def test_a_paused_trial_frees_its_worker_and_is_taken_up_once_it_is_among_the_best(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec(early_stopping=PROMOTION, finalists=0))

    def to_first_rung(loss: float) -> records.Trial:
        trial = engine.next()
        assert trial and engine.rungs_ahead(trial.id)[0] == 1
        assert engine.orders(trial.id)["checkpoint_epochs"] == engine.rungs_ahead(trial.id)
        assert engine.report(trial.id, [{**row(trial, 1), "validation_loss": loss}]) is True, "it waits"
        return trial

    first, _, _ = to_first_rung(2.0), to_first_rung(9.0), to_first_rung(3.0)
    again = engine.next()
    assert again == first, "the better of two"
    assert engine.rungs_ahead(first.id) == [2, 4]
    writer.close()


def test_of_few_paused_trials_one_still_runs_to_its_end(tmp_path: Path) -> None:
    """Four come to the first rung, one to the second: a quarter of one is none."""
    few = spec(trials=4, early_stopping={**PROMOTION, "reduction_factor": 4.0}, max_epochs=6, seed=3)
    told = history.of(finished_run(tmp_path, few))
    for cell in CELLS:
        mine = [one for one in told.trials.values() if one.trial.cell == cell.id and one.trial.kind == "search"]
        assert sum(one.status == records.COMPLETE for one in mine) == 1


# ---- errors of different classes ----------------------------------------------------------------------------------


def test_out_of_memory_is_retried_once_in_halves_and_then_recorded(engine: Engine) -> None:
    trial = engine.next()
    assert trial and engine.orders(trial.id)["micro_batches"] == 1
    engine.started(trial.id, "one")
    engine.report(trial.id, [row(trial, 1)])
    engine.end(trial.id, records.FAILED, "no memory", cause=records.OUT_OF_MEMORY)
    again = engine.next()
    assert again == trial and engine.orders(trial.id)["micro_batches"] == 2
    engine.end(trial.id, records.FAILED, "no memory", cause=records.OUT_OF_MEMORY)
    told = engine.history.trials[trial.id]
    assert (told.status, told.cause, len(told.reports)) == (records.FAILED, records.OUT_OF_MEMORY, 1)
    following = engine.next()
    assert following and following != trial


def test_a_retry_stands_after_a_kill(engine: Engine, writer: Writer, tmp_path: Path) -> None:
    trial = engine.next()
    assert trial
    engine.end(trial.id, records.FAILED, "no memory", cause=records.OUT_OF_MEMORY)
    again = begin(writer, tmp_path / "run", spec())
    assert again.next() == trial and again.orders(trial.id)["micro_batches"] == 2
    again.end(trial.id, records.COMPLETE)
    assert history.of(tmp_path / "run").trials[trial.id].status == records.COMPLETE


def test_a_diverged_trial_is_never_retried_and_keeps_its_class_and_last_finite_value(engine: Engine) -> None:
    trial = engine.next()
    assert trial
    engine.end(trial.id, records.DIVERGED, "nan loss", cause="nan", last_finite=2.5)
    told = engine.history.trials[trial.id]
    assert (told.status, told.cause, told.last_finite) == (records.DIVERGED, "nan", 2.5)
    following = engine.next()
    assert following and following != trial


def traceback(line: int, message: str) -> str:
    return (
        f'Traceback (most recent call last):\n  File "fit.py", line {line}, in fit\n    batch = rows[name]\n{message}'
    )


def fail(engine: Engine, trial: records.Trial, line: int = 3) -> None:
    reason = traceback(line, f"KeyError: {trial.id}")
    engine.end(trial.id, records.FAILED, reason, cause=records.ERROR)


def failing(engine: Engine, line: int = 3) -> records.Trial:
    trial = engine.next()
    assert trial
    fail(engine, trial, line)
    return trial


def let_go(engine: Engine) -> records.Trial:
    """A trial worse than all before it, which early stopping takes away at the first rung: it pauses, or is pruned."""
    trial = engine.next()
    assert trial
    assert engine.report(trial.id, [{**row(trial, 1), "validation_loss": 1e3 + trial.number}])
    return trial


def test_a_bug_ends_the_sweep_after_a_few_trials_and_they_run_again_once_it_is_mended(
    engine: Engine, writer: Writer, tmp_path: Path
) -> None:
    failed = [failing(engine) for _ in range(SAME_ERRORS)]
    assert engine.fault == traceback(3, f"KeyError: {failed[-1].id}")
    assert engine.next() is None and engine.finished, "nothing is left to wait for"
    writer.append(("closed/1", "closed", None, {"state": records.STOPPED}))
    begin(writer, tmp_path / "run", spec())  # killed as soon as it had begun
    again = begin(writer, tmp_path / "run", spec())
    assert [again.next() for _ in failed] == failed
    for trial in failed:
        again.end(trial.id, records.COMPLETE)
    assert {history.of(tmp_path / "run").trials[one.id].status for one in failed} == {records.COMPLETE}


def test_trials_that_run_are_waited_for_after_a_bug_was_found(engine: Engine) -> None:
    other = engine.next()
    assert other
    for _ in range(SAME_ERRORS):
        failing(engine)
    assert engine.fault and engine.next() is None and not engine.finished
    engine.end(other.id, records.COMPLETE)
    assert engine.fault and engine.finished


def test_errors_at_different_places_or_with_successes_between_do_not_end_the_sweep(engine: Engine) -> None:
    for number in range(SAME_ERRORS):
        failing(engine, number)
    for _ in range(SAME_ERRORS - 1):
        failing(engine, 9)
    trial = engine.next()
    assert trial
    engine.end(trial.id, records.COMPLETE)
    failing(engine, 9)
    assert engine.fault is None


@pytest.mark.parametrize("rule", ["halving", "promotion"])
def test_a_trial_that_early_stopping_takes_away_breaks_the_row_of_errors(tmp_path: Path, rule: str) -> None:
    """Else three scattered errors would end a healthy sweep, in which nearly all good trials end so."""
    early = {"name": rule, "min_epochs": 1, "reduction_factor": 4.0}
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec(trials=20, early_stopping=early))
    for cell in CELLS:  # what comes first at a rung is not stopped
        trial = engine.next()
        assert trial and trial.cell == cell.id
        engine.report(trial.id, [{**row(trial, 1), "validation_loss": 0.0}])
    for _ in range(SAME_ERRORS + 1):
        for _ in range(SAME_ERRORS - 1):
            failing(engine)
        let_go(engine)
        assert engine.fault is None
    for _ in range(SAME_ERRORS):
        failing(engine)
    assert engine.fault
    writer.close()


def test_a_trial_that_was_stopped_before_it_came_to_the_bug_hides_nothing(engine: Engine) -> None:
    """A bug in the second epoch, when most trials are stopped after the first."""
    first, second = engine.next(), engine.next()
    assert first and second
    for trial in (first, second):  # of each cell one that passes every rung
        engine.report(trial.id, [{**row(trial, 1), "validation_loss": 0.0}])
    for failed in range(1, SAME_ERRORS + 1):
        assert engine.fault is None
        trial = engine.next()
        assert trial
        assert not engine.report(trial.id, [{**row(trial, 1), "validation_loss": -failed}])
        fail(engine, trial)
        if failed < SAME_ERRORS:
            let_go(engine)
    assert engine.fault


def test_it_is_enough_to_come_further_than_one_of_those_that_failed(engine: Engine) -> None:
    failing(engine)
    second = engine.next()
    assert second and not engine.report(second.id, [{**row(second, 1), "validation_loss": 0.0}])
    fail(engine, second)
    trial = engine.next()
    assert trial and not engine.report(trial.id, [{**row(trial, 1), "validation_loss": 0.0}])
    let_go(engine)
    failing(engine)
    assert engine.fault is None


def test_an_error_after_a_retry_for_memory_counts_like_any_other(engine: Engine) -> None:
    for _ in range(SAME_ERRORS):
        trial = engine.next()
        assert trial
        engine.end(trial.id, records.FAILED, "no memory", cause=records.OUT_OF_MEMORY)
        assert failing(engine) == trial
    assert engine.fault


def test_the_place_of_an_error_is_where_the_code_was_whatever_was_said_there(engine: Engine) -> None:
    """Of several lines, or of an error that another one led to."""
    for _ in range(SAME_ERRORS):
        trial = engine.next()
        assert trial
        chained = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
        said = f"ValueError: a batch\nof {trial.seed} rows\nis none"
        reason = traceback(3, f"KeyError: {trial.id}") + chained + traceback(5, said)
        engine.end(trial.id, records.FAILED, reason + "\n", cause=records.ERROR)
    assert engine.fault == reason


def test_errors_without_a_traceback_are_alike_if_they_say_the_same(engine: Engine) -> None:
    def end(said: str) -> None:
        trial = engine.next()
        assert trial
        engine.end(trial.id, records.FAILED, said, cause=records.ERROR)

    for number in range(SAME_ERRORS):
        end(f"no prepared data\nat {number}")
    assert engine.fault is None
    for _ in range(SAME_ERRORS):
        end("no prepared data\nat all")
    assert engine.fault == "no prepared data\nat all"


def go_on(run_dir: Path, sweep: Sweep, broken: Callable[[records.Trial], bool]) -> str:
    """A session of one worker, in which what is `broken` fails at one place, to its end: its state."""
    writer = opened(run_dir)
    engine = begin(writer, run_dir, sweep)
    while (trial := engine.next()) is not None:
        if broken(trial):
            fail(engine, trial)
        else:
            list(work(engine, trial, 8))
    assert engine.finished
    state = records.STOPPED if engine.fault else records.FINISHED
    writer.append((f"closed/{len(engine.history.sessions)}", "closed", None, {"state": state}))
    writer.close()
    return state


def test_a_resumed_sweep_does_not_stop_again_at_the_same_configurations(tmp_path: Path) -> None:
    """Three that can never work, one after the other: they are tried again, fail, and all others run."""
    broken = [f"{CELLS[0].id}-t001", f"{CELLS[1].id}-t001", f"{CELLS[0].id}-t002"]
    states = [go_on(tmp_path, spec(), lambda trial: trial.id in broken) for _ in range(2)]
    assert states == [records.STOPPED, records.FINISHED]
    told = history.of(tmp_path)
    assert Counter(one.status == records.FAILED for one in told.trials.values()) == {True: 3, False: 11}
    assert [told.trials[name].retries for name in broken] == [1, 1, 1]


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_sweep_resumed_before_the_bug_is_mended_stops_again_and_brings_all_back_later(
    tmp_path: Path, interrupted: bool
) -> None:
    """As soon as a new trial fails as well and, when there is no new one, instead of calling itself finished."""
    sweep = spec(trials=3)
    asked = []
    for _ in range(5):
        assert go_on(tmp_path, sweep, lambda trial: True) == records.STOPPED
        asked.append(len(history.of(tmp_path).trials))
    assert asked == [3, 4, 5, 6, 6]
    if interrupted:
        writer = opened(tmp_path)
        engine = begin(writer, tmp_path, sweep)
        failing(engine)
        writer.append(("closed/6", "closed", None, {"state": records.INTERRUPTED}))
        writer.close()
    assert go_on(tmp_path, sweep, lambda trial: False) == records.FINISHED
    told = history.of(tmp_path)
    assert len(told.trials) == 2 * (3 + 2)
    assert all(one.cause != records.ERROR for one in told.trials.values())


# ---- kills ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWEEPS)
def test_a_kill_at_any_event_changes_nothing(tmp_path: Path, name: str) -> None:
    """The journal's first k events in a new folder, for every k between two writes: the same sweep comes out."""
    changes, direction = SWEEPS[name]
    changes = {**changes, "trials": 4, "max_epochs": 4}
    whole = tmp_path / "whole"
    writer = opened(whole, Mortal)
    run(begin(writer, whole, spec(**changes), direction))
    writer.close()
    cuts = writer.cuts
    expected, events = outcome(whole), journal.events(whole)
    assert len(cuts) > 40 and cuts[-1] == len(events)
    # Every one for the default; a sample of the rest keeps the suite quick.
    for cut in cuts if name == "tpe-halving" else cuts[:: len(cuts) // 12]:
        run_dir = copied(events[:cut], tmp_path / str(cut))
        writer = opened(run_dir)
        run(begin(writer, run_dir, spec(**changes), direction))
        writer.close()
        last = events[cut - 1].key
        assert outcome(run_dir) == expected, f"killed after {last}"
        ours = [event for event in journal.events(run_dir) if event.kind not in ("session", "started")]
        theirs = [event for event in events if event.kind not in ("session", "started")]
        assert [event.key for event in ours] == [event.key for event in theirs], f"killed after {last}"


@pytest.mark.parametrize("writes", [4, 7])
def test_a_sweep_that_is_killed_over_and_over_gets_to_the_same_end(tmp_path: Path, writes: int) -> None:
    kills = killed_every(writes, tmp_path / "killed", {}, "min")
    assert kills > 10
    assert outcome(tmp_path / "killed") == outcome(finished_run(tmp_path / "whole"))


def test_many_interruptions_do_not_make_the_first_lost_worker_fatal(tmp_path: Path) -> None:
    for _ in range(MAX_LOSSES + 1):
        writer = opened(tmp_path)
        engine = begin(writer, tmp_path, spec())
        trial = engine.next()
        assert trial and trial.number == 0
        engine.started(trial.id, "worker")
        writer.close()
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec())
    again = engine.next()
    assert again == trial
    engine.lost(trial.id, "out of memory")
    assert engine.history.trials[trial.id].status not in records.ENDED
    writer.close()


def test_a_decision_to_stop_and_its_carrying_out_are_one_write(tmp_path: Path) -> None:
    writer = opened(tmp_path, Mortal)
    run(begin(writer, tmp_path, spec()))
    writer.close()
    events = journal.events(tmp_path)
    stops = [n for n, event in enumerate(events, start=1) if event.kind == "decided" and event.content["stop"]]
    assert stops and not set(stops) & set(writer.cuts)
    assert all((events[n].kind, events[n].trial) == ("ended", events[n - 1].trial) for n in stops)


def test_a_decision_to_go_on_stands_after_a_kill(tmp_path: Path) -> None:
    """Rows that are sent again are not judged again, whatever came to the rung in between."""
    events = journal.events(finished_run(tmp_path / "whole"))
    cut = next(n for n, event in enumerate(events) if event.kind == "decided" and not event.content["stop"])
    run_dir = copied(events[: cut + 1], tmp_path / "killed")
    writer = opened(run_dir)
    engine = begin(writer, run_dir, spec())
    trial = engine.next()
    assert trial and trial.id == events[cut].trial
    assert events[cut].content["epoch"] not in engine.rungs_ahead(trial.id)
    before = len(journal.events(run_dir))
    assert engine.report(trial.id, [row(trial, 1)]) is False
    assert len(journal.events(run_dir)) == before
    writer.close()


def test_a_finished_sweep_has_nothing_left_to_do(tmp_path: Path) -> None:
    finished_run(tmp_path)
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec())
    assert engine.finished and engine.next() is None
    writer.close()


# ---- workers that die -----------------------------------------------------------------------------------------


def test_a_trial_whose_worker_died_runs_again_before_anything_new(engine: Engine) -> None:
    first = engine.next()
    assert first
    engine.started(first.id, "one")
    engine.report(first.id, [row(first, 1)])
    engine.lost(first.id, "out of memory")
    assert not engine.finished
    assert engine.next() == first
    engine.started(first.id, "two")
    assert len(engine.history.trials[first.id].reports) == 1
    assert engine.history.trials[first.id].attempts == 2


def test_a_trial_that_keeps_killing_workers_fails_and_says_why(engine: Engine) -> None:
    for loss in range(1, MAX_LOSSES + 1):
        trial = engine.next()
        assert trial and trial.number == 0
        engine.lost(trial.id, f"signal {loss}")  # dead before it even started counts as well
    told = engine.history.trials[trial.id]
    assert (told.status, told.cause) == (records.FAILED, records.LOST_WORKER)
    assert told.reason == f"its worker died {MAX_LOSSES} times: signal {MAX_LOSSES}"
    following = engine.next()
    assert following and following.id != trial.id


def losing(engine: Engine) -> records.Trial:
    """A trial under which workers die until it gets no more."""
    for _ in range(MAX_LOSSES):
        trial = engine.next()
        assert trial
        engine.lost(trial.id, "signal 9")
    assert engine.history.trials[trial.id].cause == records.LOST_WORKER
    return trial


def test_workers_that_always_die_end_the_sweep_and_their_trials_run_again(
    engine: Engine, writer: Writer, tmp_path: Path
) -> None:
    lost = [losing(engine) for _ in range(SAME_ERRORS)]
    assert len({trial.cell for trial in lost}) == 2, "whatever the cell"
    assert engine.fault and engine.fault.startswith("workers die, whatever they take up: its worker died 5 times:")
    assert engine.next() is None and engine.finished
    writer.append(("closed/1", "closed", None, {"state": records.STOPPED}))
    again = begin(writer, tmp_path / "run", spec())
    first = again.next()
    assert first == lost[0]
    again.lost(first.id, "its node went away", by_node=True)
    assert again.next() == lost[1] and again.next() == lost[2] and again.next() == first, "it is given workers again"
    for trial in lost:
        again.end(trial.id, records.COMPLETE)
    assert not again.fault


def test_trials_that_kill_their_workers_while_others_make_progress_end_nothing(engine: Engine) -> None:
    other = engine.next()
    assert other
    for epoch in range(1, SAME_ERRORS + 2):
        for _ in range(SAME_ERRORS - 1):
            losing(engine)
        engine.report(other.id, [{**row(other, 1), "epoch": epoch}])
    assert engine.fault is None


def test_one_that_fails_in_another_way_shows_that_workers_live(engine: Engine) -> None:
    for _ in range(SAME_ERRORS - 1):
        losing(engine)
    failing(engine)
    losing(engine)
    assert engine.fault is None


def test_lost_workers_do_not_count_against_a_trial_that_makes_progress(engine: Engine) -> None:
    for epoch in range(1, 4):
        for _ in range(MAX_LOSSES - 2):
            trial = engine.next()
            assert trial and trial.number == 0
            engine.lost(trial.id, "signal 9")
        assert engine.next() == trial
        assert engine.report(trial.id, [{**row(trial, 1), "epoch": epoch}]) is False
        engine.lost(trial.id, "signal 9")
    told = engine.history.trials[trial.id]
    assert (told.status, told.losses, told.losses_in_a_row) == (records.ASKED, 3 * (MAX_LOSSES - 1), 1)


def test_a_worker_reported_lost_twice_or_too_late_doubles_nothing(engine: Engine) -> None:
    first = engine.next()
    assert first
    engine.lost(first.id, "once")
    engine.lost(first.id, "the same again")
    assert engine.next() == first
    engine.end(first.id, records.COMPLETE)
    engine.lost(first.id, "after its end")
    following = engine.next()
    assert following and following != first
    assert engine.history.trials[first.id].status == records.COMPLETE


def test_what_is_said_twice_is_written_once(engine: Engine, tmp_path: Path) -> None:
    trial = engine.next()
    assert trial
    engine.report(trial.id, [row(trial, 1), row(trial, 2)])
    engine.report(trial.id, [row(trial, 1), row(trial, 2), row(trial, 3)])
    engine.end(trial.id, records.COMPLETE)
    engine.end(trial.id, records.FAILED, "a late complaint")
    assert engine.report(trial.id, [row(trial, 4)]) is True, "a worker that still runs it is told to stop"
    kinds = Counter(event.kind for event in journal.events(tmp_path / "run") if event.trial == trial.id)
    assert kinds["reported"] == 3 and kinds["ended"] == 1
    assert outcome(tmp_path / "run")[trial.id][1] == records.COMPLETE


def test_what_the_engine_remembers_is_what_the_journal_says(engine: Engine, tmp_path: Path) -> None:
    run(engine)
    assert repr(history.tables(engine.history)) == repr(history.tables(history.of(tmp_path / "run")))


@pytest.mark.parametrize("rule", ["halving", "promotion", "hyperband"])
def test_where_fewer_trials_are_searched_than_one_is_let_through_of_none_is_stopped(tmp_path: Path, rule: str) -> None:
    """Of two that a smaller cell led to, the first epoch would decide."""
    early = {"name": rule, "min_epochs": 1, "reduction_factor": 3.0}
    asked = {"trials": 6, "finalists": 0, "transfer": True, "transfer_trials": 2, "early_stopping": early}
    ends: Counter[tuple[str, str]] = Counter()
    for seed in range(6):
        told = history.of(finished_run(tmp_path / str(seed), spec(**asked, seed=seed)))
        ends.update((one.trial.cell, one.status) for one in told.trials.values())
    small, large = (cell.id for cell in CELLS)
    assert ends[small, records.PRUNED] and not ends[large, records.PRUNED]
    assert ends[large, records.COMPLETE] + ends[large, records.DIVERGED] == 12
