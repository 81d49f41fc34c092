"""Real sweeps: the command in a process of its own, Ray's workers, MLflow's store."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from projects import PIPELINE, SPACE, finish, start, write_project

from orchestrator import history, journal
from orchestrator.status import status
from orchestrator.tracking.verify import verify


def results(run_dir: Path) -> dict[str, list[dict[str, object]]]:
    """The tables without what a clock or a process number decides."""
    clocks = {"seconds", "samples_per_second", "started", "ended", "worker", "worker_seconds"}
    tables = history.tables(history.of(run_dir))
    return {
        name: [{key: value for key, value in row.items() if key not in clocks} for row in rows]
        for name, rows in tables.items()
    }


def wait_for(run_dir: Path, reports: int, process: subprocess.Popen[str]) -> None:
    """Until that many epochs are in the journal."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if (run_dir / journal.FILE).exists() and sum(e.kind == "reported" for e in journal.events(run_dir)) >= reports:
            return
        time.sleep(0.02)
    process.kill()
    raise AssertionError("the sweep did not get that far")


def assert_whole(run_dir: Path, trials: int) -> None:
    """Every trial once and ended, every epoch once and in order."""
    told = history.of(run_dir)
    assert told.closed == "finished"
    assert len(told.trials) == trials
    for trial in told.trials.values():
        assert trial.status in ("complete", "pruned", "diverged"), trial.reason
        assert [row["epoch"] for row in trial.reports] == list(range(1, len(trial.reports) + 1))
    keys = [event.key for event in journal.events(run_dir)]
    assert len(keys) == len(set(keys))


def test_one_worker_and_one_seed_give_the_same_sweep_even_when_killed(tmp_path: Path) -> None:
    whole = write_project(tmp_path / "whole")
    finish(start(whole, "--workers", "1"))
    killed = write_project(tmp_path / "killed")
    run_dir = killed / "runs" / "small"
    for reports in (4, 20):
        process = start(killed, "--workers", "1")
        wait_for(run_dir, reports, process)
        process.kill()
        process.communicate()
        assert status(run_dir)["state"] == "interrupted"
    finish(start(killed, "--workers", "1"))
    assert_whole(run_dir, trials=14)
    assert results(run_dir) == results(whole / "runs" / "small")


def test_a_sweep_is_whole_quiet_and_makes_one_worker_a_slot(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    printed = finish(start(project, "--workers", "2", "--set", "max_epochs=30"))
    run_dir = project / "runs" / "small"
    assert_whole(run_dir, trials=14)
    assert status(run_dir)["reports"] > 100
    assert len(printed.splitlines()) < 40, printed
    workers = {event.content["worker"] for event in journal.events(run_dir) if event.kind == "started"}
    assert len(workers) == 2
    finals = [trial for trial in history.of(run_dir).trials.values() if trial.trial.kind == "final"]
    assert len({trial.trial.seed for trial in finals}) == len(finals) == 4
    assert all(0.5 < trial.test["test_accuracy"] <= 1 for trial in finals)
    assert all(not t.test for t in history.of(run_dir).trials.values() if t.trial.kind == "search")

    again = finish(start(project, "--workers", "2", "--set", "max_epochs=30"))
    assert len(history.of(run_dir).sessions) == 1, again
    other = finish(start(project, "--set", "max_epochs=1"))
    assert "'max_epochs' (30 → 1) is not the same. To go on with it: orchestrate extend." in other
    assert "The earlier run is kept as runs/small." in other

    counted = verify(run_dir)
    assert counted["mlflow"] == counted["journal"]
    assert counted["journal"]["children"] == 14


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    project = write_project(tmp_path, PIPELINE.replace("trials: 5", "trials: 500"))
    process = start(project, "--set", "max_epochs=7")
    wait_for(project / "runs" / "small", 10, process)
    process.send_signal(signal.SIGINT)
    printed = finish(process, 130)
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].endswith("orchestrate sweep pipelines/small.yaml --set max_epochs=7")
    assert status(project / "runs" / "small")["state"] == "interrupted"


def test_diverging_trials_are_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    space = SPACE.replace("low: 1.0e-3, high: 1.0e-1", "low: 1.0e-3, high: 1.0e+9")
    project = write_project(tmp_path, PIPELINE.replace("sizes: [xs, s]", "sizes: [xs]"), space)
    finish(start(project, "--set", "trials=10", "--set", "optimizer_note=1"), 2)
    finish(start(project, "--set", "trials=10", "--set", "sampler.name=random"))
    told = status(project / "runs" / "small")
    assert told["state"] == "finished"
    assert told["trials"]["diverged"] >= 1
    assert told["trials"]["failed"] == 0
    assert json.dumps(told)


@pytest.mark.parametrize("field", ["seed", "trials"])
def test_a_specification_changed_under_an_unfinished_sweep_is_refused(tmp_path: Path, field: str) -> None:
    project = write_project(tmp_path)
    process = start(project)
    wait_for(project / "runs" / "small", 1, process)
    process.kill()
    process.communicate()
    before = len(journal.events(project / "runs" / "small"))
    printed = finish(start(project, "--set", f"{field}=7"), 2)
    assert f"'{field}'" in printed.splitlines()[-1] and "--fresh" in printed.splitlines()[-1]
    assert len(journal.events(project / "runs" / "small")) == before
