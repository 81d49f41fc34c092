"""Ray's own processes are killed under a sweep: it leaves at once, says how to go on, and leaves no worker behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from projects import finish, launch, start, write_project
from test_sweep import assert_whole, wait_for


def processes(name: str, above: int) -> list[int]:
    """Processes below `above` whose command line holds `name`."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            parents[entry.name] = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            commands[entry.name] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, IndexError):
            continue
    below = {str(above)}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return [int(pid) for pid in below if name in commands.get(pid, "")]


@pytest.mark.parametrize("victim", ["raylet/raylet", "gcs_server"])
def test_a_sweep_whose_ray_dies_leaves_and_goes_on_with_nothing_lost(tmp_path: Path, victim: str) -> None:
    project = write_project(tmp_path)
    run_dir = project / "runs" / "small"
    process = start(project, "--workers", "1", "--set", "max_epochs=60")
    wait_for(run_dir, 10, process)
    # At work, and between two calls.
    workers = processes("ray::ResourceTrainable", process.pid) + processes("ray::TrialRunner", process.pid)
    assert workers
    for pid in processes(victim, process.pid):
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    printed = finish(process, 1)
    assert time.monotonic() - killed < 20, "it hung"
    assert printed.splitlines()[-1] == "Ray died; nothing is lost. To go on: orchestrate resume runs/small"
    deadline = time.monotonic() + 20
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"left behind: {alive}"
        time.sleep(0.1)
    finish(launch(project, "resume", "runs/small", "--workers", "1"))
    assert_whole(run_dir, trials=14)
