"""A sweep on a real cluster of several Ray nodes: some join, one dies, and all of the sweep is there."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from nodes import Nodes
from projects import PIPELINE, finish, start, write_project

from orchestrator import history, journal
from orchestrator.history import History

LONG = PIPELINE.replace("trials: 5", "trials: 8").replace("sizes: [xs, s]", "sizes: [xs]")
EPOCHS = 1000  # long enough that a node can still join a sweep of ten trials once another is known to be lost
LONG = LONG.replace("epochs: 6", f"epochs: {EPOCHS}")
LONG += "early_stopping: {name: none}\ntracking: false\n"


def wait_until(run_dir: Path, process: subprocess.Popen[str], what: str, true: object) -> History:
    """Until `true` of the sweep's history."""
    assert callable(true)
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if (run_dir / journal.FILE).exists() and true(told := history.of(run_dir)):
            return told
        time.sleep(0.2)
    process.kill()
    raise AssertionError(f"not seen: {what}\n{process.communicate()[0]}")


def running(told: History) -> dict[str, str]:
    return {name: trial.worker for name, trial in told.trials.items() if trial.status == "running" and trial.reports}


@pytest.mark.drill
@pytest.mark.timeout(600)
def test_nodes_join_and_die_and_the_sweep_ends_whole(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", LONG + f"storage: {tmp_path / 'shared'}\n")
    run_dir = project / "runs" / "small"
    with Nodes(head_cpus=1) as nodes:
        process = start(project, "--address", nodes.address, environment=nodes.environment)
        alone = wait_until(run_dir, process, "a trial on the head", lambda told: len(running(told)) == 1)
        assert alone.sessions[-1]["workers"] == 1
        nodes.join("first", cpus=1)
        two = wait_until(run_dir, process, "a trial on the node that joined", lambda told: len(running(told)) == 2)
        of_first = next(name for name, worker in running(two).items() if worker not in running(alone).values())
        nodes.kill("first")
        nodes.join("second", cpus=2)
        wait_until(run_dir, process, "the loss", lambda told: told.trials[of_first].losses)
        printed = finish(process)
    told = history.of(run_dir)
    assert told.closed == "finished", printed
    assert len(told.trials) == 10
    for trial in told.trials.values():
        assert trial.status == "complete", trial.reason
        assert [row["epoch"] for row in trial.reports] == list(range(1, EPOCHS + 1))
    events = journal.events(run_dir)
    assert len({event.key for event in events}) == len(events)
    lost = [event for event in events if event.kind == "lost"]
    assert {event.trial for event in lost} == {of_first} and all(event.content["by_node"] for event in lost)
    before = set(running(two).values())
    assert {event.content["worker"] for event in events if event.kind == "started"} > before, "the last node was used"
    assert len(list((run_dir / "models").glob("*.pt"))) == 2, "brought from the shared folder"
    assert len(list((tmp_path / "shared").glob("small-*/models/*.pt"))) == 2
    assert not list((tmp_path / "shared").glob("small-*/checkpoints/*")), "what is over keeps no checkpoint"
    assert "Traceback" not in printed and len(printed.splitlines()) < 40, printed


@pytest.mark.drill
def test_who_does_not_know_the_token_is_refused(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    with Nodes(head_cpus=1) as nodes:
        printed = finish(start(project, "--address", nodes.address, environment={"RAY_AUTH_TOKEN": "f" * 64}), 2)
        assert "wants its token" in printed.splitlines()[-1]
        assert nodes.join("stranger", cpus=1, token="f" * 64).wait(90) != 0
        asking = ("--address", nodes.address, "--set", "resources.cpus=2")
        printed = finish(start(project, *asking, environment=nodes.environment), 2)
        assert printed.splitlines()[-1].endswith("no node holds a trial of 2 CPUs; its nodes: 1 CPUs, 0 GPUs")
