from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from made_up_sweep import CARD, COLUMNS, SPACE, MadeUpSweep
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator import journal, records
from orchestrator.data.card import Card
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.sweep import _start_mirror
from orchestrator.tracking import mirror, store, tables
from orchestrator.tracking.artifacts import attach_report
from orchestrator.tracking.reading import Reading
from orchestrator.tracking.tables import Entry, Tables
from orchestrator.tracking.verify import verify


def held(runs: Path, experiment: str = "digits") -> dict[str, Run]:
    """Every run of the experiment by name, as MLflow's own client tells; fails on two of one name."""
    client = MlflowClient(store.address(runs))
    found = client.get_experiment_by_name(experiment)
    all_runs = client.search_runs([found.experiment_id]) if found else []
    by_name = {run.info.run_name: run for run in all_runs}
    assert len(by_name) == len(all_runs)
    return by_name


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def equal(run_dir: Path) -> bool:
    counts = verify(run_dir)
    assert counts["journal"] == counts["mlflow"]
    return counts["mlflow"]["points"] > 0


def test_mlflow_holds_what_the_journal_holds(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", diverged=("mlp-s-1-t000",))
    sweep.run()
    mirror.sync(sweep.run_dir)
    counts = verify(sweep.run_dir)["mlflow"]
    told = Reading.of(journal.events(sweep.run_dir))
    ended = told.history.counts()
    assert counts["runs"] == 1 + 14 and counts["children"] == ended["asked"] == 14
    assert counts["statuses"] == {"FINISHED": ended["complete"], "KILLED": ended["pruned"], "FAILED": 1}
    # Each epoch, the best value and its epoch of each trial, a test metric of each finalist, seven of the sweep.
    assert counts["points"] == told.history.reports * COLUMNS + 14 * 2 + 2 + 7
    assert equal(sweep.run_dir)


def test_trials_are_children_of_their_sweep(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.run()
    mirror.sync(sweep.run_dir)
    by_name = held(runs)
    parent = by_name.pop("demo")
    assert parent.info.status == "FINISHED"
    assert {run.data.tags["mlflow.parentRunId"] for run in by_name.values()} == {parent.info.run_id}
    assert set(by_name) == {run.data.tags["orchestrator.trial"] for run in by_name.values()}
    assert "mlflow.parentRunId" not in parent.data.tags


def test_a_child_tells_what_was_trained_and_what_came_out(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=3)
    sweep.run()
    mirror.sync(sweep.run_dir)
    history = Reading.of(journal.events(sweep.run_dir)).history
    told, run = history.trials["mlp-s-1-f000"], held(runs)["mlp-s-1-f000"]
    assert float(run.data.params["learning_rate"]) == told.trial.config["learning_rate"]
    assert run.data.params["activation"] == told.trial.config["activation"]
    about = {key: run.data.params[key] for key in ("family", "size", "data_fraction", "kind", "seed", "params")}
    assert about == {
        **{"family": "mlp", "size": "s", "data_fraction": "1.0"},
        **{"kind": "final", "seed": str(told.trial.seed), "params": "1000"},
    }
    assert run.data.metrics["best_value"] == told.value
    assert run.data.metrics["test_accuracy"] == 0.9
    assert run.data.tags["orchestrator.status"] == "complete"
    assert run.data.tags["orchestrator.data_version"] == "f" * 64
    assert run.data.tags["mlflow.source.git.commit"] == "c" * 40
    assert told.ended is not None
    assert (run.info.start_time, run.info.end_time) == (int(told.asked * 1000), int(told.ended * 1000))


def test_metrics_have_the_epoch_as_step_and_the_events_time(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    mirror.sync(sweep.run_dir)
    run = held(runs)["mlp-xs-1-t000"]
    history = MlflowClient(store.address(runs)).get_metric_history(run.info.run_id, "train_loss")
    events = [e for e in journal.events(sweep.run_dir) if e.kind == "reported" and e.trial == "mlp-xs-1-t000"]
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (e.content["epoch"], e.content["train_loss"], int(e.time * 1000)) for e in events
    ]


def test_nan_and_infinity_survive(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.begin()
    trial = sweep.engine.next()
    assert trial is not None
    sweep.engine.started(trial.id, "worker-1")
    rows = [{"epoch": 1, "validation_loss": math.nan, "train_loss": math.inf, "note": "no number"}]
    rows[0] |= {"seconds": 1, "flops": 1}
    sweep.engine.report(trial.id, rows)
    sweep.engine.end(trial.id, records.DIVERGED, "loss is NaN")
    sweep.leave()
    mirror.sync(sweep.run_dir)
    mirror.sync(sweep.run_dir)
    run = held(runs)[trial.id]
    assert math.isnan(run.data.metrics["validation_loss"])
    # MLflow's SQL stores keep infinity as the largest float there is.
    assert run.data.metrics["train_loss"] >= sys.float_info.max
    assert set(run.data.metrics) == {"validation_loss", "train_loss", "seconds", "flops"}
    assert equal(sweep.run_dir)


def test_the_parent_keeps_the_plan_the_data_and_the_cells(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    mirror.sync(sweep.run_dir)
    parent = held(runs)["demo"]
    files = {file.path for file in MlflowClient(store.address(runs)).list_artifacts(parent.info.run_id)}
    assert files == {"spec.json", "spaces.json", "card.json", "lineage.json", "cells.json"}
    assert parent.data.params["sampler.name"] == "parzen"
    assert parent.data.metrics["trials_asked"] == 4
    assert [data.dataset.name for data in parent.inputs.dataset_inputs] == ["digits"]


def test_a_mirror_follows_a_sweep_that_runs_and_another_goes_on_where_one_was_killed(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.begin()
    steps = sweep.steps()
    next(steps)
    first = mirror.start(sweep.run_dir)
    until(lambda: "mlp-xs-1-t000" in held(runs))
    assert held(runs)["demo"].info.status == held(runs)["mlp-xs-1-t000"].info.status == "RUNNING"
    next(steps)
    until(lambda: "train_loss" in held(runs)["mlp-xs-1-t000"].data.metrics)
    first.kill()
    assert not mirror.wait(first)
    second = mirror.start(sweep.run_dir)
    for _ in steps:
        pass
    sweep.close()
    # It leaves by itself once the session is closed, or when it is told that no more will come.
    assert mirror.wait(second, 120)
    sweep.leave()
    assert equal(sweep.run_dir)
    assert (sweep.run_dir / mirror.LOG).read_text() == ""


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


# How many calls of each are survived: the first are the sweep's own run's.
CALLS = {
    "client": {"create_run": 1, "log_inputs": 0, "log_artifacts": 0, "log_batch": 1, "set_terminated": 1},
    "tables": {"create_run": 0, "log_batch": 0, "log_artifacts": 0, "log_inputs": 0, "write": 1},
}


@pytest.mark.parametrize("way", CALLS)
def test_killed_before_or_after_any_call_nothing_is_missing_or_doubled(
    runs: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=4)
    sweep.run()
    monkeypatch.setattr(mirror, "TRIALS_A_BATCH", 2)
    if way == "client":
        monkeypatch.setattr(tables, "at", lambda *_: None)
    for name, survived in CALLS[way].items():
        owner = Tables if name == "write" else MlflowClient
        for before in (True, False):
            with monkeypatch.context() as patch, pytest.raises(Killed):
                patch.setattr(owner, name, _killing(getattr(owner, name), before, survived))
                mirror.sync(sweep.run_dir)
    assert len(held(runs)) < 1 + 10, "nothing is left to write"
    mirror.sync(sweep.run_dir)
    assert equal(sweep.run_dir)
    assert len(held(runs)) == 1 + 10


def _killing(call: Callable[..., object], before: bool, survived: int) -> Callable[..., object]:
    """`call`, and the death of its process before or after the call that follows `survived` others."""
    calls: list[str] = []

    def kills(*arguments: object, **options: object) -> object:
        calls.append("")
        if len(calls) > survived and before:
            raise Killed
        answer = call(*arguments, **options)
        if len(calls) > survived:
            raise Killed
        return answer

    return kills


def test_a_driver_killed_with_9_leaves_an_interrupted_sweep_that_goes_on(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.begin()
    steps = sweep.steps()
    for _ in range(9):
        under_way = next(steps)
    sweep.leave()
    mirror.sync(sweep.run_dir)
    assert held(runs)["demo"].data.tags["orchestrator.status"] == "interrupted"
    assert (held(runs)["demo"].info.status, held(runs)[under_way].info.status) == ("KILLED", "SCHEDULED")
    assert equal(sweep.run_dir)
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.run()
    mirror.sync(sweep.run_dir)
    assert (held(runs)["demo"].info.status, held(runs)[under_way].info.status) == ("FINISHED", "FINISHED")
    assert equal(sweep.run_dir)


def test_a_mirror_leaves_when_its_parent_was_killed(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.begin()
    next(sweep.steps())
    code = (
        "import pathlib, sys, time; from orchestrator.tracking import mirror\n"
        f"print(mirror.start(pathlib.Path({str(sweep.run_dir)!r})).pid, flush=True); time.sleep(100)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    until(lambda: "mlp-xs-1-t000" in held(runs))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until(lambda: not _alive(pid))
    sweep.leave()
    # The journal's driver, this process, was there all the time: the pipe told that the parent was not.
    assert held(runs)["demo"].data.tags["orchestrator.status"] == "interrupted"


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_two_mirrors_never_write_at_once(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    with (
        mirror._alone(sweep.run_dir, lambda: True),
        pytest.raises(UserError, match=f"process {os.getpid()} is already"),
    ):
        mirror.sync(sweep.run_dir, seconds=0)


def test_a_double_that_a_slow_server_made_is_removed(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    mirror.sync(sweep.run_dir)
    reading = Reading.of(journal.events(sweep.run_dir))
    client = store.connect(runs)
    experiment = client.get_experiment_by_name("digits").experiment_id
    told = reading.history.trials["mlp-xs-1-t000"]
    client.create_run(experiment, 0, {**reading.tags(told), "mlflow.parentRunId": "lost"}, told.trial.id)
    before = verify(sweep.run_dir)
    assert before["mlflow"]["runs"] == before["journal"]["runs"] + 1
    mirror.sync(sweep.run_dir)
    assert equal(sweep.run_dir)


def test_one_trial_that_cannot_be_written_does_not_hold_up_the_others(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.run()
    write = Tables.write

    def refuses(self: Tables, entries: Sequence[Entry]) -> None:
        if any(entry.name == "mlp-xs-1-t000" for entry in entries):
            raise ValueError("no")
        write(self, entries)

    monkeypatch.setattr(Tables, "write", refuses)
    with pytest.raises(ValueError):
        mirror.sync(sweep.run_dir)
    assert len(held(runs)) == 1 + 5
    monkeypatch.undo()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mirror.sync(sweep.run_dir)
    assert equal(sweep.run_dir)


def test_a_tracker_that_is_down_is_tried_again_and_said_once(
    runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    connect, attempts = store.connect, []

    def down(folder: Path) -> MlflowClient:
        attempts.append(folder)
        if len(attempts) < 4:
            raise ConnectionError("connection refused")
        return connect(folder)

    monkeypatch.setattr(store, "connect", down)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    moments = iter(range(10**9))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(moments)))
    assert mirror.follow(sweep.run_dir, lambda: True)
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "MLflow can't be written to",
        "MLflow answers again",
    ]
    monkeypatch.undo()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert equal(sweep.run_dir)


def test_a_tracker_that_stays_down_is_given_up_with_the_command_to_catch_up(
    runs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(mirror, "GIVE_UP_SECONDS", 0.5)
    assert not mirror.follow(sweep.run_dir, lambda: True)
    assert "python -m orchestrator.tracking.mirror" in caplog.records[-1].message


def test_a_tracker_that_was_down_before_the_end_holds_nobody_up(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(mirror, "LAST_CHANCE_SECONDS", 0.5)
    asked: list[str] = []
    began = time.monotonic()
    assert not mirror.follow(sweep.run_dir, lambda: len(asked) > 2 or bool(asked.append("")))
    assert time.monotonic() - began < 0.5 * mirror.GIVE_UP_SECONDS


def test_a_tracker_that_lost_what_it_had_gets_it_again(runs: Path) -> None:
    """What is in MLflow is not kept in memory: it comes from the journal anew."""
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.begin()
    steps = sweep.steps()
    for _ in range(4):
        next(steps)
    following = mirror.Mirror(sweep.run_dir)
    following.write(leaving=False)
    client = MlflowClient(store.address(runs))
    for run in held(runs).values():
        client.delete_run(run.info.run_id)
    for _ in steps:
        pass
    sweep.close()
    sweep.leave()
    following.read()
    following.forget()
    following.write(leaving=True)
    following.close()
    assert equal(sweep.run_dir)


def test_sweeps_on_the_same_data_that_start_together_share_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No database is there yet: its schema is made once."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    processes = []
    for name in ("one", "two"):
        MadeUpSweep(tmp_path / name, trials=1).run()
    for name in ("one", "two"):
        processes.append(mirror.start(tmp_path / name))
    assert all([mirror.wait(process, 120) for process in processes])
    assert equal(tmp_path / "one") and equal(tmp_path / "two")
    assert {(tmp_path / name / mirror.LOG).read_text() for name in ("one", "two")} == {""}


def test_starting_over_under_the_same_name_is_another_run(runs: Path) -> None:
    first = MadeUpSweep(runs / "demo", trials=1)
    first.run()
    mirror.sync(first.run_dir)
    first.run_dir.rename(runs / "demo.before")
    second = MadeUpSweep(runs / "demo", trials=2)
    second.run()
    mirror.sync(second.run_dir)
    assert equal(second.run_dir) and equal(runs / "demo.before")


def test_without_a_journal_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep here"):
        mirror.sync(tmp_path)
    assert mirror.main([str(tmp_path)]) == 2


def test_tracking_can_be_off_and_a_sweep_is_the_same_with_or_without(tmp_path: Path) -> None:
    sweep = MadeUpSweep(tmp_path / "demo", trials=1)
    off = sweep.spec.model_copy(update={"tracking": False})
    assert off.fingerprint({}) == sweep.spec.fingerprint({})
    sweep.leave()
    planned = Plan(off, Card(**CARD), tmp_path, "min", {"mlp": SPACE}, tuple(sweep.cells))
    assert _start_mirror(planned, sweep.run_dir) is None
    assert [file.name for file in tmp_path.iterdir()] == ["demo"]


def test_a_page_is_not_brought_to_a_tracker_that_is_off(tmp_path: Path) -> None:
    sweep = MadeUpSweep(tmp_path / "demo", trials=1, tracking=False)
    sweep.run()
    attach_report(sweep.run_dir, tmp_path, [])
    assert not (tmp_path / store.DATABASE).exists()
