"""A larger cell's search waits for the smaller ones, and begins where they lead."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from made_up import CELLS, SPACE, begin, finished_run, opened, spec, work

from orchestrator import history, journal, records, transfer
from orchestrator.cell_search import CellSearch
from orchestrator.history import TrialHistory
from orchestrator.records import Cell, Trial
from orchestrator.search import stopping
from orchestrator.search.study import Study
from orchestrator.space import Choice, Float, Int
from orchestrator.status import status
from orchestrator.time_left import seconds_left


def cell(params: int, rows: int = 1000, family: str = "mlp") -> Cell:
    return Cell(family, f"of-{params}", rows / 1e6, params, 6 * params, rows)


def search(one: Cell, *trials: tuple[float, float, str]) -> CellSearch:
    """A cell whose search is over; trials: loss, learning rate, optimizer."""
    made = CellSearch(one, Study(SPACE, "min", "random", 1, 0), stopping.make("none", 1, 2.0), "min")
    for number, (loss, rate, optimizer) in enumerate(trials):
        config = {"learning_rate": rate, "batch_size": 32, "optimizer": optimizer}
        if optimizer == "sgd":
            config["momentum"] = 0.5
        told = TrialHistory(Trial(f"{one.id}-{number}", one.id, "search", number, number, config), 0.0, 8)
        told.status, told.value = records.COMPLETE, loss
        made.members.append(told)
    return made


def test_smaller_is_no_larger_in_any_way_and_smaller_in_one() -> None:
    assert cell(10).is_smaller(cell(20)) and cell(10, 500).is_smaller(cell(10, 1000))
    assert not cell(20).is_smaller(cell(10)) and not cell(10).is_smaller(cell(10))
    assert not cell(10, 2000).is_smaller(cell(20, 1000)), "which of the two costs more nobody knows"
    assert not cell(10, family="lenet").is_smaller(cell(20))


@pytest.mark.parametrize("slope", [-0.4, 0.0, 0.3])
def test_a_law_of_the_optimum_is_followed(slope: float) -> None:
    """Optima on a power law of the parameters: the prior pulls the slope to 0 by a little."""

    def optimum(params: int) -> float:
        return 0.01 * (params / 1000) ** slope

    losses = (1.0, 1.01, 1.02)
    before = [search(cell(n), *((loss, optimum(n), "adam") for loss in losses)) for n in (1_000, 10_000, 100_000)]
    [(origin, predicted), *copied] = transfer.expectations(cell(1_000_000), before, SPACE, "min")
    assert origin == records.PREDICTED
    off = math.log(predicted["learning_rate"] / optimum(1_000_000))
    far = math.log(optimum(1_000_000) / optimum(100_000))
    assert abs(off) <= 0.2 * abs(far) + 1e-9, "closer than what was best before"
    rates = [config["learning_rate"] for _, config in copied]
    assert all(name == records.COPIED for name, _ in copied) and len(copied) <= transfer.MOST - 1
    if slope:
        assert rates == [optimum(100_000), optimum(10_000)], "the nearest first"
    else:
        assert not rates, "nothing is tried twice"


def test_one_smaller_cell_shows_no_slope() -> None:
    [(_, predicted), *_] = transfer.expectations(cell(4000), [search(cell(1000), (1.0, 0.02, "adam"))], SPACE, "min")
    assert predicted["learning_rate"] == pytest.approx(0.02)


def test_a_rate_of_another_optimizer_says_nothing() -> None:
    small = search(cell(1000), (1.0, 0.5, "sgd"), (1.1, 0.01, "adam"))
    large = search(cell(2000), (1.0, 0.01, "adam"), (1.5, 0.4, "sgd"))
    [(_, predicted), *_] = transfer.expectations(cell(4000), [small, large], SPACE, "min")
    assert predicted["optimizer"] == "adam" and predicted["learning_rate"] == pytest.approx(0.01)


def test_the_best_few_of_a_cell_count_not_the_best_alone() -> None:
    small = search(cell(1000), (1.0, 0.001, "adam"), (1.01, 0.01, "adam"), (1.02, 0.1, "adam"), (9.0, 1.0, "adam"))
    [(_, predicted), *copied] = transfer.expectations(cell(4000), [small], SPACE, "min")
    assert predicted["learning_rate"] == pytest.approx(0.01)
    # The second best is what is predicted already; the third fills what a second smaller cell would have told.
    assert [config["learning_rate"] for _, config in copied] == [0.001, 0.1]


def test_the_nearest_cells_next_best_comes_after_the_best_of_every_cell() -> None:
    small = search(cell(1000), (1.0, 0.02, "sgd"), (1.1, 0.03, "sgd"))
    large = search(cell(2000), (1.0, 0.01, "adam"), (1.5, 0.04, "adam"))
    _, *copied = transfer.expectations(cell(4000), [small, large], SPACE, "min")
    assert [(config["optimizer"], config["learning_rate"]) for _, config in copied] == [("adam", 0.01), ("sgd", 0.02)]


def test_where_nothing_came_to_an_end_nothing_is_expected() -> None:
    assert transfer.expectations(cell(4000), [search(cell(1000))], SPACE, "min") == []
    assert transfer.expectations(cell(4000), [], SPACE, "min") == []


@pytest.mark.parametrize(
    ("parameter", "value", "nearest"),
    [
        (Float(1e-4, 1e-1, log=True), 3.0, 1e-1),
        (Float(1e-4, 1e-1, log=True), 1e-9, 1e-4),
        (Float(1e-4, 1e-1, log=True), 2e-3, 2e-3),
        (Choice((16, 32, 64, 128)), 50.0, 64),
        (Choice((16, 32, 64, 128)), 1e4, 128),
        (Int(16, 64, step=16), 50.0, 48),
        (Int(16, 70, step=16), 1e4, 64),
        (Int(1, 1000, log=True), 7.4, 7),
    ],
)
def test_a_prediction_is_a_value_of_the_space(parameter: Float | Int | Choice, value: float, nearest: float) -> None:
    found = transfer._within(parameter, value)
    assert found == nearest and type(found) is type(nearest)


def test_the_larger_cell_waits_for_the_smaller_and_begins_with_what_it_found(tmp_path: Path) -> None:
    past = history.of(finished_run(tmp_path, spec(transfer=True)))
    small, large = CELLS
    first = [event for event in journal.events(tmp_path) if event.kind in ("asked", "ended")]
    asked = [event.content["id"] for event in first if event.kind == "asked"]
    ended = [event.trial for event in first if event.kind == "ended"]
    searched = [name for name, one in past.trials.items() if one.trial.kind == "search" and one.trial.cell == small.id]
    opening = asked.index(f"{large.id}-t000")
    assert all(asked.index(name) < opening for name in searched)
    assert all(ended.index(name) < ended.index(f"{large.id}-t000") for name in searched)
    origins = [one.trial.origin for one in past.trials.values() if one.trial.cell == large.id]
    assert origins[:3] == [records.PREDICTED, records.COPIED, records.COPIED]
    assert set(origins[3:]) == {records.SAMPLED}
    best = min(
        (past.trials[name] for name in searched if past.trials[name].status == "complete"), key=lambda t: t.value or 0
    )
    assert past.trials[f"{large.id}-t001"].trial.config == best.trial.config
    assert {row["origin"] for row in history.tables(past)["trials"]} == {"predicted", "copied", "sampled"}


def test_a_cell_to_which_others_lead_may_get_fewer_trials(tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path, spec(transfer=True, transfer_trials=2)))
    small, large = CELLS
    origins = {cell.id: [one.trial.origin for one in told.trials.values() if one.trial.cell == cell.id
                         and one.trial.kind == records.SEARCH] for cell in CELLS}  # fmt: skip
    assert origins == {small.id: [records.SAMPLED] * 5, large.id: [records.PREDICTED, records.COPIED]}
    assert sum(one.trial.kind == records.FINAL and one.trial.cell == large.id for one in told.trials.values()) == 2
    assert status(tmp_path)["planned"] == 5 + 2 + 2 * 2 == len(told.trials)


def test_smaller_cells_may_be_searched_alone(tmp_path: Path) -> None:
    _, large = CELLS
    told = history.of(finished_run(tmp_path, spec(transfer=True, finalists_on=[large.data_fraction])))
    finals = [one.trial.cell for one in told.trials.values() if one.trial.kind == records.FINAL]
    assert finals == [large.id] * 2
    assert status(tmp_path)["planned"] == 5 + 5 + 2 == len(told.trials)
    assert seconds_left(told) == 0


def test_with_two_workers_one_waits_rather_than_begin_too_early(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec(transfer=True, trials=2, finalists=0))
    one, two = engine.next(), engine.next()
    assert one and two and {one.cell, two.cell} == {CELLS[0].id}
    list(work(engine, one, 8))
    assert engine.next() is None and not engine.finished
    list(work(engine, two, 8))
    third = engine.next()
    assert third and third.cell == CELLS[1].id and third.origin == records.PREDICTED
    writer.close()
