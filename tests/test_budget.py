"""A sweep ends on its budget, with its finalists done; what it spent is known, wasted work included."""

from __future__ import annotations

import heapq
from collections import Counter
from pathlib import Path
from typing import Any

import made_up
import pytest
from made_up import CELLS, FLOPS_AN_EPOCH, begin, finished_run, opened, row, spec
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
    """On a clock that only epochs move, by 36 s each: with two hours, 200 of them, 32 of the finalists."""
    now = [1000.0]

    def an_epoch(*about: Any) -> dict[str, Any]:
        now[0] += 36
        return {**row(*about), "seconds": 36.0}

    monkeypatch.setattr(journal.time, "time", lambda: now[0])
    monkeypatch.setattr(made_up, "row", an_epoch)
    past = history.of(finished_run(tmp_path, limited(hours=2.0)))
    assert past.exhausted and past.exhausted["limit"] == "hours"
    tests = 4 * 0.01  # made-up work asks for a row there too
    assert 1.8 < past.spent.hours(past.last_event) <= 2.0 + tests
    assert sum(count for (_, kind), count in kinds(past).items() if kind == "final") == 4


@pytest.mark.parametrize("workers", [3, 8])
def test_hours_hold_where_there_are_more_workers_than_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """The finalists of a cell run side by side, after its last trial: eight workers make them no shorter than three."""
    now, working, asked = [1000.0], [], 0
    monkeypatch.setattr(journal.time, "time", lambda: now[0])
    writer = opened(tmp_path)
    sweep = Sweep.model_validate(limited(hours=0.5).model_dump() | {"early_stopping": {"name": "none"}})
    engine = begin(writer, tmp_path, sweep)
    engine.history.sessions[-1]["workers"] = workers
    while not engine.finished:
        while len(working) < workers and (trial := engine.next()):
            engine.started(trial.id, "w")
            asked += 1
            heapq.heappush(working, (now[0] + 36, asked, trial, 1))
        if working:
            now[0], place, trial, epoch = heapq.heappop(working)
            engine.report(trial.id, [{**row(trial, 1), "epoch": epoch, "seconds": 36.0}])
            if epoch < 8:
                heapq.heappush(working, (now[0] + 36, place, trial, epoch + 1))
            else:
                engine.end(trial.id, records.COMPLETE)
    writer.close()
    past = engine.history
    assert past.exhausted and sum(one.trial.kind == "final" for one in past.trials.values()) == 4
    assert 0.3 < past.spent.hours(past.last_event) <= 0.5 + 1e-9


@pytest.mark.parametrize(("ahead", "epochs"), [(8, 8 + 8), (1, 5 + 8)])
def test_what_no_worker_can_share_is_the_longest_trial_and_then_a_finalist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, epochs: int
) -> None:
    """Of 36 s an epoch, on more workers than there will ever be work: a new trial, or the one that runs."""
    now = [1000.0]
    monkeypatch.setattr(journal.time, "time", lambda: now[0])
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, limited(hours=0.5))
    engine.history.sessions[-1]["workers"] = 10**9
    for done in (8, 8, 3):  # the last one has 5 before it
        trial = engine.next()
        assert trial
        engine.report(trial.id, [{**row(trial, 1), "epoch": epoch, "seconds": 36.0} for epoch in range(1, done + 1)])
        if done == 8:
            engine.end(trial.id, records.COMPLETE)
    now[0] += 1800 - 36 * epochs - 1
    assert engine._affords(0, {trial.cell: ahead})
    now[0] += 2
    assert not engine._affords(0, {trial.cell: ahead})
    writer.close()


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
    assert past.spent.flops == 2 * FLOPS_AN_EPOCH[CELLS[0].id]  # the epoch in which it diverged is paid for
    by_status = budget.spent_by_status(past)
    assert by_status["diverged"]["worker_hours"] * 3600 == pytest.approx(3)
    assert by_status["diverged"]["flops"] == past.spent.flops


def test_a_cell_without_epochs_is_tried_before_its_time_is_judged() -> None:
    """What an epoch of a large cell takes does not follow from its FLOPs: small ones are mostly overhead."""
    rows = [
        ("reported", "a", {**row(Trial("a", CELLS[0].id, "search", 0, 0, {"learning_rate": 0.1}), 1), "seconds": 2})
    ]
    past = told(asked("a"), ("started", "a", {"worker": "w"}), *rows, ended("a", "complete"))
    measured, other = (budget._epoch_seconds(past, cell.id) for cell in CELLS)
    assert (measured, other) == (pytest.approx(2.0), 0.0)
    ahead = {CELLS[1].id: 8.0}
    assert budget.exceeded({"worker_hours": 0.01}, past, 7.0, 1, ahead, ahead) is None
    ahead = {CELLS[0].id: 8.0}
    assert budget.exceeded({"worker_hours": 2 / 3600}, past, 7.0, 1, ahead, ahead) == "worker_hours"


def test_trials_that_end_within_their_first_epoch_cost_it(tmp_path: Path) -> None:
    """Else a budget of FLOPs would never end where everything diverges."""
    writer = opened(tmp_path)
    one = begin(writer, tmp_path, limited(flops=20.5 * sum(FLOPS_AN_EPOCH.values())))
    count = 0
    while (trial := one.next()) is not None and count < 1000:
        one.end(trial.id, records.DIVERGED, "nan", cause="nan")
        count += 1
    writer.close()
    assert 0 < count < 100 and one.history.exhausted and one.finished


def test_a_cell_without_a_best_needs_no_finalists(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    one = begin(writer, tmp_path, Sweep.model_validate(limited(trials=11).model_dump() | {"trials": 4}))
    while (trial := one.next()) is not None:
        one.started(trial.id, "w")
        if trial.cell == CELLS[0].id:
            one.end(trial.id, records.DIVERGED, "nan", cause="nan")
        else:
            one.report(trial.id, [row(trial, 1)])
            one.end(trial.id, records.COMPLETE)
    writer.close()
    assert len(one.history.trials) == 4 + 4 + 2 and not one.history.exhausted


@pytest.mark.parametrize("limits", [{"trials": 0}, {"flops": -1.0}, {"hours": 0.0}, {"minutes": 3}])
def test_impossible_budgets_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        limited(**limits)
