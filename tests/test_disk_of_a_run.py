"""The disk of a run fills up: one line, exit code 2, nothing lost; with more room the sweep goes on to its end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import finish, launch, start, write_project

from orchestrator import history, journal, records

pytestmark = pytest.mark.drill


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A project whose run's folder is a disk of its own, of 400 KiB."""
    project = write_project(tmp_path)
    run_dir = project / "runs" / "small"
    run_dir.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", run_dir], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a disk")
    yield project
    subprocess.run(["umount", "--lazy", run_dir], check=True)


def test_a_full_disk_stops_the_sweep_in_one_line_and_more_room_lets_it_go_on(small_disk: Path) -> None:
    run_dir = small_disk / "runs" / "small"
    longer = ("--set", "max_epochs=30", "--workers", "2")
    printed = finish(start(small_disk, *longer), 2)
    assert printed.splitlines()[-1].startswith("error: the journal cannot be written (database or disk is full)")
    assert "Traceback" not in printed
    before = [event.key for event in journal.events(run_dir)]
    assert len(before) > 20

    subprocess.run(["mount", "-o", "remount,size=64m", run_dir], check=True)
    finish(launch(small_disk, "resume", "runs/small"))
    told, after = history.of(run_dir), [event.key for event in journal.events(run_dir)]
    assert after[: len(before)] == before, "what was written before is as it was"
    assert told.closed == records.FINISHED and len(told.trials) == 14
    for one in told.trials.values():
        assert [row["epoch"] for row in one.reports] == list(range(1, len(one.reports) + 1))
