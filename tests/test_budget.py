"""A sweep ends on its budget, with its finalists done; what it spent is known, wasted work included."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from made_up import CELLS, FLOPS_AN_EPOCH, begin, finished_run, opened, row, run, spec
from test_history import asked, ended, told

from orchestrator import budget, history, journal, records
from orchestrator.history import History
from orchestrator.records import Trial
from orchestrator.spec import NO_LIMIT, Sweep


def limited(**limits: float) -> Sweep:
    changed = spec().model_dump() | {"budget": limits}
    del changed["trials"]
    return Sweep.model_validate(changed)


def kinds(told: History) -> Counter[tuple[str, str]]:
    return Counter((one.trial.cell, one.trial.kind) for one in told.trials.values())


def test_with_a_budget_and_no_number_of_trials_the_budget_decides() -> None:
    assert limited(trials=12).trials == NO_LIMIT
    assert spec(budget={"trials": 12}).trials == 5
    assert spec().budget.limits() == {}


def test_a_budget_of_trials_is_used_to_the_last_and_holds_the_finalists(tmp_path: Path) -> None:
    past = history.of(finished_run(tmp_path, limited(trials=12)))
    assert kinds(past) == {(cell.id, kind): n for cell in CELLS for kind, n in (("search", 4), ("final", 2))}
    assert past.exhausted and past.exhausted["limit"] == "trials"
    assert all(one.status in records.ENDED for one in past.trials.values())


def test_a_budget_of_flops_is_never_passed_and_the_finalists_are_done(tmp_path: Path) -> None:
    a_round = sum(FLOPS_AN_EPOCH.values()) * 8
    limit = 5.5 * a_round  # of it two for the finalists
    past = history.of(finished_run(tmp_path, limited(flops=limit)))
    spent = budget.spent(past, past.last_event)["flops"]
    assert limit - a_round < spent <= limit
    finals = [one for one in past.trials.values() if one.trial.kind == "final"]
    assert len(finals) == 4 and all(len(one.reports) == 8 for one in finals)


def test_trials_of_every_cell_are_equal_to_one_whatever_they_cost(tmp_path: Path) -> None:
    past = history.of(finished_run(tmp_path, limited(flops=7.3 * sum(FLOPS_AN_EPOCH.values()) * 8)))
    first, second = (kinds(past)[cell.id, "search"] for cell in CELLS)
    assert first >= 3 and abs(first - second) <= 1


def test_with_promotion_the_paused_are_pruned_when_the_budget_ends(tmp_path: Path) -> None:
    early = {"name": "promotion", "min_epochs": 1, "reduction_factor": 2.0}
    sweep = Sweep.model_validate(
        limited(flops=5.5 * sum(FLOPS_AN_EPOCH.values()) * 8).model_dump() | {"early_stopping": early}
    )
    past = history.of(finished_run(tmp_path, sweep))
    assert past.exhausted and all(one.status in records.ENDED for one in past.trials.values())


def test_hours_end_the_search_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every event takes 36 s: with half an hour, about fifty of them."""
    now = [1000.0]

    def tick() -> float:
        now[0] += 36
        return now[0]

    monkeypatch.setattr(journal.time, "time", tick)
    writer = opened(tmp_path)
    one = begin(writer, tmp_path, limited(hours=2.0))
    run(one)
    writer.close()
    past = history.of(tmp_path)
    assert past.exhausted and past.exhausted["limit"] == "hours"
    assert 1.0 < past.spent.hours(past.last_event) < 3.0
    assert sum(count for (_, kind), count in kinds(past).items() if kind == "final") == 4


def test_an_exhausted_budget_stays_so_after_a_kill(tmp_path: Path) -> None:
    finished_run(tmp_path, limited(trials=12))
    writer = opened(tmp_path)
    again = begin(writer, tmp_path, limited(trials=12))
    assert again.finished and again.next() is None
    writer.close()


def test_what_was_spent_is_what_workers_were_busy_for() -> None:
    """Events at 1, 2, 3 … seconds: planned, session, then these."""
    rows = [("reported", "a", {**row(Trial("a", CELLS[0].id, "search", 0, 0, {"learning_rate": 0.1}), 1)})]
    past = told(
        asked("a"),  # 3
        ("started", "a", {"worker": "w"}),  # 4
        *rows,  # 5
        ("session", None, {"workers": 2}),  # 6: the driver was killed after 5
        ("started", "a", {"worker": "w"}),  # 7
        ("lost", "a", {"reason": "signal 9"}),  # 8
        ("started", "a", {"worker": "v"}),  # 9
        ended("a", "diverged", cause="nan", last_finite=1.0),  # 10
        asked("b"),  # 11
        ("started", "b", {"worker": "v"}),  # 12
    )
    assert past.trials["a"].worker_seconds == (5 - 4) + (8 - 7) + (10 - 9)
    assert past.spent.worker_hours(20.0) * 3600 == pytest.approx(3 + 20 - 12)
    assert past.spent.hours(20.0) * 3600 == pytest.approx((5 - 2) + (20 - 6))
    assert past.spent.flops == FLOPS_AN_EPOCH[CELLS[0].id]
    by_status = budget.spent_by_status(past)
    assert by_status["diverged"]["worker_hours"] * 3600 == pytest.approx(3)
    assert by_status["diverged"]["flops"] == past.spent.flops


def test_the_time_of_a_cell_without_epochs_is_reckoned_from_its_flops() -> None:
    rows = [
        ("reported", "a", {**row(Trial("a", CELLS[0].id, "search", 0, 0, {"learning_rate": 0.1}), 1), "seconds": 2})
    ]
    past = told(asked("a"), ("started", "a", {"worker": "w"}), *rows, ended("a", "complete"))
    measured, other = (budget._epoch_seconds(past, cell.id) for cell in CELLS)
    assert measured == pytest.approx(2.0)  # busy for 2 s, 2 s of it training
    assert other / measured == pytest.approx(FLOPS_AN_EPOCH[CELLS[1].id] / FLOPS_AN_EPOCH[CELLS[0].id])
    assert math.isfinite(other)


@pytest.mark.parametrize("limits", [{"trials": 0}, {"flops": -1.0}, {"hours": 0.0}, {"minutes": 3}])
def test_impossible_budgets_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        limited(**limits)
