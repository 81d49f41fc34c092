"""What a person sees while a sweep runs; above all, how little of it."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from made_up import begin, finished_run, opened, run, spec, work
from rich.console import Console

from orchestrator import progress
from orchestrator.progress import Progress, duration


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The display looks a hundred times a second instead of twice."""
    wait = progress.threading.Event.wait
    monkeypatch.setattr(progress.threading.Event, "wait", lambda event, timeout=None: wait(event, timeout and 0.01))


def watched(run_dir: Path, console: Console, max_epochs: int = 8) -> str:
    """Run a made-up sweep under the display; what the display wrote."""
    sweep = spec(max_epochs=max_epochs)
    writer = opened(run_dir)
    engine = begin(writer, run_dir, sweep)
    with Progress(run_dir, 14, console):
        while not engine.finished:
            trial = engine.next()
            assert trial
            for _ in work(engine, trial, max_epochs):
                pass
            time.sleep(0.03)
    writer.close()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("max_epochs", [4, 40])
def test_lines_do_not_grow_with_the_epochs(tmp_path: Path, max_epochs: int) -> None:
    lines = watched(tmp_path, Console(file=io.StringIO(), width=120), max_epochs).splitlines()
    assert 1 <= len(lines) <= 1 / progress.SHARE
    assert all("/14 trials" in line for line in lines)
    assert " left" in lines[0] and not any(" 0 s left" in line for line in lines)
    assert "best validation_loss" in lines[-1]


@pytest.mark.usefixtures("quick")
def test_a_terminal_sees_every_cell_in_one_live_view_that_goes_away(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120, height=30, force_terminal=True)
    text = watched(tmp_path, console)
    for word in ("mlp-s-0.25", "mlp-m-1", "/14 trials", "pruned", "validation_loss"):
        assert word in text
    assert text.rstrip().endswith("\x1b[2K"), "the last lines are erased"


@pytest.mark.usefixtures("quick")
def test_a_screen_too_low_for_all_cells_says_how_many_are_hidden(tmp_path: Path, monkeypatch) -> None:
    view = Progress(finished_run(tmp_path), 14, Console(file=io.StringIO(), width=120, height=8, force_terminal=True))
    view._update()
    cells = progress.cell_rows(view._history)
    many = [{**cells[0], "cell": name} for name in view._history.cells] * 5
    monkeypatch.setattr(progress, "cell_rows", lambda history: many)
    view._console.print(view._view())
    view._reader.close()
    assert isinstance(view._console.file, io.StringIO)
    assert "… 7 cells more" in view._console.file.getvalue()


def test_a_budget_that_ends_before_the_trials_tells_the_time_left(tmp_path: Path) -> None:
    """At this session's pace: a tenth of the FLOPs in the 60 s since it began, so 540 s for the rest."""
    run_dir = finished_run(tmp_path, spec(budget={"flops": 1e12}))
    with Progress(run_dir, 14, Console(file=io.StringIO())) as view:
        told = view._history
        told.spent.flops, view._spent_before = 10**11, 0.0
        view._began -= 60.0
        told.plan["spec"]["trials"] = 10**6
        assert view._left() == pytest.approx(540, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (44.6, "45 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_display_only_reads(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec())
    before = sorted(file.name for file in tmp_path.iterdir())
    with Progress(tmp_path, 14, Console(file=io.StringIO())):
        assert sorted(file.name for file in tmp_path.iterdir()) == before
    run(engine)
    writer.close()
