"""The mind of a sweep, with a plain loop for workers. The heart: a kill at any moment changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up import CELLS, SPACE, begin, copied, finished_run, opened, outcome, row, run, spec, work

from orchestrator import engine as engines
from orchestrator import history, journal, records
from orchestrator.engine import Engine
from orchestrator.journal import Writer

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
    "random-median": (
        {"sampler": {"name": "random"}, "early_stopping": {"name": "median"}, "metric": "validation_accuracy"},
        "max",
    ),
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
            assert len(one.reports) == one.stopped_at in (1, 2, 4)
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


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_in_any_order_neither_double_nor_block(tmp_path: Path, workers: int) -> None:
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec(trials=6))
    chance, busy = random.Random(workers), {}
    while not engine.finished:
        while len(busy) < workers and (trial := engine.next()):
            assert trial.id not in busy
            busy[trial.id] = work(engine, trial, 8)
        assert busy, "a deadlock"
        name = chance.choice(list(busy))
        if chance.random() < 0.05:
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
    assert events["started"] > events["asked"], "no worker was lost: the test shows nothing"


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
    assert len(cuts) > 50 and cuts[-1] == len(events)
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
    for _ in range(engines.MAX_LOSSES + 1):
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


def test_a_decision_to_stop_is_carried_out_after_a_kill(tmp_path: Path) -> None:
    """The decision was the last thing written: the trial is pruned at the next start, and not run again."""
    events = journal.events(finished_run(tmp_path / "whole"))
    cut = next(n for n, event in enumerate(events) if event.kind == "decided" and event.content["stop"])
    run_dir = copied(events[: cut + 1], tmp_path / "killed")
    writer = opened(run_dir)
    engine = begin(writer, run_dir, spec())
    stopped = engine.history.trials[events[cut].trial or ""]
    assert stopped.status == records.PRUNED
    following = engine.next()
    assert following and following.id != stopped.trial.id
    writer.close()


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
    for loss in range(1, engines.MAX_LOSSES + 1):
        trial = engine.next()
        assert trial and trial.number == 0
        engine.lost(trial.id, f"signal {loss}")  # dead before it even started counts as well
    told = engine.history.trials[trial.id]
    assert told.status == records.FAILED
    assert told.reason == f"its worker died {engines.MAX_LOSSES} times: signal {engines.MAX_LOSSES}"
    following = engine.next()
    assert following and following.id != trial.id


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
