"""What is said of the time that a sweep will still take, against what it then takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up import CELLS, FLOPS_AN_EPOCH, begin, finished_run, opened, run, spec

from orchestrator import budget, history, journal
from orchestrator.history import History
from orchestrator.records import FINAL, SEARCH
from orchestrator.space import Float, Space
from orchestrator.time_left import seconds_left

pytestmark = pytest.mark.usefixtures("only_training")

CHEAP, DEAR = (cell.id for cell in CELLS)


@pytest.fixture
def only_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if workers did nothing but train: what they do beside it is `test_budget`'s."""
    monkeypatch.setattr(budget, "MOST_BESIDE", 1.0)


def told_until(run_dir: Path, wanted: str, number: int) -> History:
    """The history up to the `number`-th event of a kind."""
    events, seen = [], 0
    for event in journal.events(run_dir):
        events.append(event)
        seen += event.kind == wanted
        if seen == number:
            return history.fold(events)
    raise AssertionError(f"fewer than {number} events of the kind {wanted}")


def test_nothing_is_said_before_the_first_epoch_and_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    finished_run(tmp_path)
    assert seconds_left(told_until(tmp_path, "started", 1)) is None
    assert seconds_left(history.of(tmp_path)) == 0


def test_without_early_stopping_it_is_exact_from_the_first_epoch_on(tmp_path: Path) -> None:
    """5 trials and 2 finalists of 8 epochs in each cell; what a cell's epochs take, 0.1 s (made_up.row), goes with
    their FLOPs."""
    sweep = spec(early_stopping={"name": "none"}, sampler={"name": "random"})
    writer = opened(tmp_path)
    run(begin(writer, tmp_path, sweep, space=Space("mlp", {"learning_rate": Float(1e-3, 0.1, log=True)})))
    writer.close()
    told = told_until(tmp_path, "reported", 1)
    (first,) = told.spent.epochs_by_cell
    other = DEAR if first == CHEAP else CHEAP
    ratio = FLOPS_AN_EPOCH[other] / FLOPS_AN_EPOCH[first]
    assert seconds_left(told) == pytest.approx(0.1 * (7 * 8 - 1) + 0.1 * ratio * 7 * 8)


def test_trials_to_come_have_as_many_epochs_as_those_that_ended(tmp_path: Path) -> None:
    finished_run(tmp_path)
    told = history.of(tmp_path)
    of_cell = [one for one in told.trials.values() if one.trial.cell == CHEAP and one.trial.kind == SEARCH]
    del told.trials[of_cell[-1].trial.id], told.trials[of_cell[-2].trial.id]
    others = [len(one.reports) for one in of_cell[:-2]]
    assert min(others) < 8, "some were pruned"
    assert seconds_left(told) == pytest.approx(0.1 * 2 * sum(others) / len(others))


def test_a_finalist_is_reckoned_as_its_cells_best_trial(tmp_path: Path) -> None:
    """Whose batches may be small: with all searched, what is left is the finalists' epochs at that trial's pace."""
    finished_run(tmp_path)
    told = history.of(tmp_path)
    of_cell = [one for one in told.trials.values() if one.trial.cell == DEAR]
    finals = [one for one in of_cell if one.trial.kind == FINAL]
    for one in of_cell:
        for row in one.reports if one.trial.config == finals[0].trial.config else []:
            row["seconds"] = 3.0
    for one in finals:
        del told.trials[one.trial.id]
    assert seconds_left(told) == pytest.approx(2 * 8 * 3.0)
    for workers in (2, 8):  # a finalist is no shorter for more of them
        told.sessions[-1]["workers"] = workers
        assert seconds_left(told) == pytest.approx(8 * 3.0)


def test_many_workers_still_wait_for_a_trial_and_then_for_a_finalist(tmp_path: Path) -> None:
    sweep = spec(early_stopping={"name": "none"}, sampler={"name": "random"})
    writer = opened(tmp_path)
    run(begin(writer, tmp_path, sweep, space=Space("mlp", {"learning_rate": Float(1e-3, 0.1, log=True)})))
    writer.close()
    told = told_until(tmp_path, "reported", 3)  # one trial runs; the rest of its cell's and all the other cell's wait
    told.sessions[-1]["workers"] = 1000
    (first,) = told.spent.epochs_by_cell
    ratio = max(FLOPS_AN_EPOCH[cell.id] for cell in CELLS) / FLOPS_AN_EPOCH[first]
    assert seconds_left(told) == pytest.approx(0.1 * ratio * (8 + 8))
    for one in told.trials.values():  # as if it were the last of a sweep of one trial a cell
        told.plan["spec"] |= {"trials": 1, "finalists": 0}
        told.cells = {one.trial.cell: told.cells[one.trial.cell]}
    assert seconds_left(told) == pytest.approx(0.1 * (8 - 3))


def test_what_is_paused_is_not_under_way(tmp_path: Path) -> None:
    """Under promotion every trial that was asked for but two waits at the first rung; few will be promoted."""
    early = {"name": "promotion", "min_epochs": 1, "reduction_factor": 4.0}
    finished_run(tmp_path, spec(trials=4, max_epochs=8, early_stopping=early))
    told = told_until(tmp_path, "decided", 3)
    waiting = [one for one in told.trials.values() if one.paused_at == 1]
    assert len(waiting) >= 2
    left = seconds_left(told)
    for one in waiting:
        one.paused_at = None
    assert left is not None and (seconds_left(told) or 0) > left
