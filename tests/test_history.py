"""A sweep's state as a fold over its events."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from made_up import CELLS, copied, finished_run, planned, row, spec

from orchestrator import history, journal, records
from orchestrator.history import History
from orchestrator.journal import Event
from orchestrator.records import Cell, Trial


def told(*events: tuple[str, str | None, dict], direction: str = "min") -> History:
    """A history of made-up events, at times 1, 2, 3…"""
    start = [("planned", None, planned(spec(), direction)), ("session", None, {"workers": 1})]
    return history.fold(
        Event(time, f"{kind}/{time}", kind, trial, float(time), content)
        for time, (kind, trial, content) in enumerate([*start, *events], start=1)
    )


def asked(name: str, kind: str = records.SEARCH, cell: str = CELLS[0].id) -> tuple[str, str | None, dict]:
    return "asked", None, {"id": name, "cell": cell, "kind": kind, "number": 0, "seed": 1, "config": {"a": 1}}


def reported(name: str, epoch: int, loss: float) -> tuple[str, str | None, dict]:
    trial = Trial(name, CELLS[0].id, "search", 0, 0, {"learning_rate": 0.1})
    return "reported", name, {**row(trial, epoch), "validation_loss": loss}


def ended(name: str, status: str, **content: object) -> tuple[str, str | None, dict]:
    return "ended", name, {"status": status, **content}


def test_a_trial_goes_from_asked_to_its_end() -> None:
    events = [asked("a"), ("started", "a", {"worker": "w1"}), reported("a", 1, 2.0), ended("a", "complete")]
    statuses = [told(*events[:count]).trials["a"].status for count in range(1, 5)]
    assert statuses == ["asked", "running", "running", "complete"]
    one = told(*events).trials["a"]
    assert (one.asked, one.started, one.ended, one.worker, one.attempts) == (3.0, 4.0, 6.0, "w1", 1)


def test_what_a_dead_driver_had_under_way_waits_again() -> None:
    events = [asked("a"), ("started", "a", {"worker": "w"}), asked("b"), ended("b", "complete")]
    after = told(*events, ("session", None, {"workers": 1}))
    assert {name: one.status for name, one in after.trials.items()} == {"a": "asked", "b": "complete"}


def test_a_retried_trial_keeps_the_time_of_its_first_start() -> None:
    one = told(asked("a"), ("started", "a", {"worker": "w1"}), ("started", "a", {"worker": "w2"})).trials["a"]
    assert (one.started, one.attempts, one.worker) == (4.0, 2, "w2")


@pytest.mark.parametrize(("direction", "best"), [("min", (2, 1.0)), ("max", (3, 7.0))])
def test_the_value_is_that_of_the_best_epoch_and_never_nan(direction: str, best: tuple[int, float]) -> None:
    losses = [5.0, 1.0, 7.0, math.nan, math.inf]
    rows = [reported("a", epoch, loss) for epoch, loss in enumerate(losses, start=1)]
    one = told(asked("a"), *rows, direction=direction).trials["a"]
    assert (one.best_epoch, one.value) == best


def test_of_equal_epochs_the_first_is_the_best() -> None:
    assert told(asked("a"), reported("a", 1, 1.0), reported("a", 2, 1.0)).trials["a"].best_epoch == 1


def test_the_best_of_a_search_ran_to_its_end() -> None:
    """A pruned trial's value is of few epochs: it stands only where nothing else does. Finalists are no search."""
    events = [
        *(asked("pruned"), reported("pruned", 1, 0.1), ended("pruned", "pruned")),
        *(asked("diverged"), reported("diverged", 1, 0.01), ended("diverged", "diverged")),
        *(asked("final", "final"), reported("final", 1, 0.001), ended("final", "complete")),
    ]

    def best(told: History) -> str | None:
        found = history.best_of_search(told.trials.values(), "min")
        return found.trial.id if found else None

    assert best(told()) is None
    assert best(told(*events)) == "pruned"
    whole = [asked("whole"), reported("whole", 1, 0.5), ended("whole", "complete")]
    assert best(told(*events, *whole)) == "whole"


def test_counts_are_of_what_is_now_and_asked_of_all() -> None:
    events = [
        *(asked("a"), ended("a", "complete"), asked("b"), ("started", "b", {"worker": "w"})),
        *(asked("c"), asked("d", cell=CELLS[1].id), ended("d", "diverged")),
    ]
    counts = told(*events).counts()
    assert counts == {"asked": 4, "running": 1, "complete": 1, "pruned": 0, "diverged": 1, "failed": 0}
    assert told(*events).counts(CELLS[1].id)["asked"] == 1


def test_an_event_of_a_trial_that_was_never_asked_is_an_error() -> None:
    with pytest.raises(ValueError, match="never asked"):
        told(reported("ghost", 1, 1.0))


def test_tables_have_the_columns_of_the_schema(tmp_path: Path) -> None:
    sweep = history.of(finished_run(tmp_path))
    tables = history.tables(sweep)
    assert set(tables) == {"trials", "reports", "cells"}
    for name, columns in (("trials", records.TRIALS), ("reports", records.REPORTS), ("cells", records.CELLS)):
        for line in tables[name]:
            assert set(columns) <= set(line), name
    assert len(tables["trials"]) == len(sweep.trials) == 14
    assert len(tables["reports"]) == sweep.reports == sum(line["epochs"] for line in tables["trials"])


def test_a_row_of_trials_says_what_its_reports_say(tmp_path: Path) -> None:
    tables = history.tables(history.of(finished_run(tmp_path)))
    for line in tables["trials"]:
        reports = [report for report in tables["reports"] if report["trial"] == line["trial"]]
        assert line["flops"] == max((report["flops"] for report in reports), default=0)
        assert line["seconds"] == pytest.approx(0.1 * len(reports))
        assert line["value"] == min((report["validation_loss"] for report in reports), default=None)
        config = json.loads(line["config"])
        assert config == {key.removeprefix("config."): line[key] for key in line if key.startswith("config.")}
        assert ("test_loss" in line) == (line["kind"] == "final" and line["status"] == "complete")


def test_a_cell_has_the_mean_and_the_spread_of_its_finalists() -> None:
    final = "final"
    events = [
        *(asked("a", final), ended("a", "complete", test={"test_loss": 1.0})),
        *(asked("b", final), ended("b", "complete", test={"test_loss": 2.0})),
        *(asked("c", final), ended("c", "diverged")),
    ]
    first, second = history.cell_rows(told(*events))
    assert (first["test"], first["finals"], first["diverged"]) == (1.5, 2, 1)
    assert first["test_sd"] == pytest.approx(math.sqrt(0.5))
    assert (second["test"], second["test_sd"], second["best"], second["finals"]) == (None, None, None, 0)


def test_one_finalist_has_no_spread() -> None:
    events = [asked("a", "final"), ended("a", "complete", test={"test_loss": 1.0})]
    assert history.cell_rows(told(*events))[0]["test_sd"] is None


def test_the_state_is_that_of_the_last_session(tmp_path: Path) -> None:
    events = journal.events(finished_run(tmp_path / "a"))
    assert history.header(history.fold(events))["state"] == "finished"
    reopened = copied(events, tmp_path / "b")
    writer = journal.Writer(reopened)
    writer.append(("session/2", "session", None, {"workers": 2}))
    writer.close()
    assert history.header(history.of(reopened))["state"] is None
    assert [one["workers"] for one in history.of(reopened).sessions] == [1, 2]


@pytest.mark.parametrize(
    ("fraction", "name"),
    [(1.0, "mlp-xs-1"), (0.25, "mlp-xs-0.25"), (1e-5, "mlp-xs-0.00001"), (1 / 3, "mlp-xs-0.333333333333")],
)
def test_a_cell_is_named_by_family_size_and_fraction_and_can_be_split_again(fraction: float, name: str) -> None:
    cell = Cell("mlp", "xs", fraction, 1, 1, 1)
    assert cell.id == name
    family, size, text = name.rsplit("-", 2)
    assert (family, size) == ("mlp", "xs") and float(text) == pytest.approx(fraction, abs=1e-12)


def test_a_journal_from_before_embeddings_were_counted_is_read() -> None:
    older = planned(spec())
    older["cells"] = [{key: cell[key] for key in cell if key != "params_without_embeddings"} for cell in older["cells"]]
    newer = planned(spec())
    newer["cells"][0]["params_without_embeddings"] = 900
    for plan, counts in ((older, [None, None]), (newer, [900, None])):
        rows = history.cell_rows(history.fold([Event(1, "planned", "planned", None, 1.0, plan)]))
        assert [row["params_without_embeddings"] for row in rows] == counts
        assert [row["params"] for row in rows] == [1000, 2000]


def test_what_a_configuration_had_is_told_beside_what_its_size_has(tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path))
    assert [(row["params"], row["best_params"]) for row in history.cell_rows(told)] == [(1000, 1234), (2000, 1234)]
    trials = history.tables(told)["trials"]
    assert {row["own_params"] for row in trials} == {1234} and {row["params"] for row in trials} == {1000, 2000}
    for one in told.trials.values():  # as in a journal from before it was counted
        for report in one.reports:
            del report["own_params"]
    assert [row["best_params"] for row in history.cell_rows(told)] == [None, None]


def test_seeds_are_of_an_identity_and_fit_everywhere() -> None:
    assert records.seed_of(0, "mlp-m-1", "search", 3) == records.seed_of(0, "mlp-m-1", "search", 3)
    seeds = {records.seed_of(sweep, "mlp-m-1", "search", number) for sweep in range(10) for number in range(100)}
    assert len(seeds) == 1000 and max(seeds) < 2**31
    # Written down once: another value here would be another sweep for everybody.
    assert records.seed_of(0, "mlp-m-1", "search", 0) == 1342580985
