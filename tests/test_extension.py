"""A finished sweep goes on with more of everything, and keeps what it has."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import CELLS, SPACE, begin, finished_run, opened, outcome, planned, run, spec
from plans import generators, made, write

from orchestrator import extension, history, journal, records
from orchestrator.data.card import JUDGE_FILE
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.plan import Plan
from orchestrator.space import Choice, Float, Int, Space
from orchestrator.spec import Sweep


@pytest.fixture
def plan(tmp_path: Path, data_root: Path) -> Plan:
    return made(write(tmp_path), data_root)


def go_on(run_dir: Path, sweep: Sweep, space: Space = SPACE) -> History:
    """Extend a made-up sweep as `sweep.extend` does, and run it to its end."""
    writer = opened(run_dir)
    number = len(history.of(run_dir).extensions) + 1
    plan = {**planned(sweep), "fingerprint": f"made up {number}"}
    writer.append((f"extended/{number}", "extended", None, {"changes": ["more"], "plan": plan}))
    run(begin(writer, run_dir, sweep, space=space))
    writer.append((f"closed/{number + 1}", "closed", None, {"state": "finished"}))
    writer.close()
    return history.of(run_dir)


def searched(told: History, cell: str) -> list[history.TrialHistory]:
    return [one for one in told.trials.values() if one.trial.cell == cell and one.trial.kind == records.SEARCH]


def test_more_trials_go_on_from_the_whole_history(tmp_path: Path) -> None:
    before = outcome(finished_run(tmp_path))
    told = go_on(tmp_path, spec(trials=8))
    after = outcome(tmp_path)
    assert {name: after[name] for name in before} == before, "what was there is as it was"
    for cell in CELLS:
        assert [one.trial.number for one in searched(told, cell.id)] == list(range(8))
    assert told.extensions[0]["changes"] == ["more"] and told.fingerprints == ["made up", "made up 1"]


def test_a_sweep_extended_is_one_that_was_asked_for_at_once(tmp_path: Path) -> None:
    """With one worker and one cell at a time nothing but the finalists in between tells them apart."""
    finished_run(tmp_path / "two steps")
    go_on(tmp_path / "two steps", spec(trials=8))
    finished_run(tmp_path / "at once", spec(trials=8))
    once, twice = outcome(tmp_path / "at once"), outcome(tmp_path / "two steps")
    assert {name: told for name, told in once.items() if "-t" in name} == {
        name: told for name, told in twice.items() if "-t" in name
    }


def test_finalists_stand_for_the_present_best_only(tmp_path: Path) -> None:
    for seed in range(6):
        run_dir = tmp_path / str(seed)
        finished_run(run_dir, spec(seed=seed))
        told = go_on(run_dir, spec(seed=seed, trials=12))
        kinds = Counter((row["cell"], row["kind"]) for row in history.tables(told)["trials"])
        for row in history.cell_rows(told):
            assert kinds[row["cell"], records.FINAL] == 2
            best = told.trials[row["best_trial"]]
            finals = [
                one for one in told.trials.values() if one.trial.kind == "final" and one.trial.cell == row["cell"]
            ]
            current = [one for one in finals if one.trial.config == best.trial.config]
            assert [one.test["test_loss"] for one in current] and len(current) == 2
            assert row["test"] == pytest.approx(sum(one.test["test_loss"] for one in current) / 2)
        if kinds[CELLS[0].id, records.FORMER]:
            return
    raise AssertionError("no best was overtaken: the test shows nothing")


def test_a_longer_training_renews_the_finalists_and_leaves_what_ended(tmp_path: Path) -> None:
    before = outcome(finished_run(tmp_path))
    told = go_on(tmp_path, spec(trials=6, max_epochs=12))
    assert {name: outcome(tmp_path)[name] for name in before} == before
    for cell in CELLS:
        finals = [one for one in told.trials.values() if one.trial.cell == cell.id and one.trial.kind == "final"]
        assert [len(one.reports) for one in finals] == [8, 8, 12, 12]
        assert [one.max_epochs for one in searched(told, cell.id)] == [8] * 5 + [12]


def test_finalists_may_be_left_out_where_they_are_not_wanted_any_more(tmp_path: Path, plan: Plan) -> None:
    small, large = CELLS
    finished_run(tmp_path / "run")
    told = go_on(tmp_path / "run", spec(trials=8, max_epochs=12, finalists_on=[large.data_fraction]))
    finals = [one for one in told.trials.values() if one.trial.kind == records.FINAL]
    assert Counter((one.trial.cell, one.max_epochs) for one in finals) == {
        (small.id, 8): 2,
        (large.id, 8): 2,
        (large.id, 12): 2,
    }
    after, changes = extension.extended(plan, ("finalists_on=[1.0]",), None)
    assert after.spec.finalists_on == [1.0] and changes == ["finalists_on: nothing → 1.0"]


def test_finalists_that_are_not_wanted_any_more_leave_the_budget_as_it_is(tmp_path: Path) -> None:
    """Those that are there already give no trial back: of 17, 14 are spent and 2 set aside for the larger cell."""
    finished_run(tmp_path)
    told = go_on(tmp_path, spec(trials=6, finalists_on=[CELLS[1].data_fraction], budget={"trials": 17}))
    assert sum(len(searched(told, cell.id)) for cell in CELLS) == 11
    assert told.exhausted and len(told.trials) <= 17


def test_a_wider_range_is_searched_with_what_is_known(tmp_path: Path) -> None:
    finished_run(tmp_path)
    wider = Space(
        "mlp",
        {**SPACE.parameters, "optimizer": Choice(("sgd", "adam", "lion")), "learning_rate": Float(1e-6, 1.0, log=True)},
    )
    told = go_on(tmp_path, spec(trials=40, sampler={"name": "random"}), wider)
    new = [one.trial.config for cell in CELLS for one in searched(told, cell.id)[5:]]
    assert any(config["optimizer"] == "lion" for config in new)
    assert any(config["learning_rate"] < 1e-4 for config in new)


def test_an_extension_that_got_no_further_than_its_first_event_goes_on(tmp_path: Path) -> None:
    """Whatever kept Ray from starting: the run is not finished, and no time passes while nobody is there."""
    before = history.of(finished_run(tmp_path))
    writer = opened(tmp_path)
    writer.append(("extended/1", "extended", None, {"changes": ["more"], "plan": planned(spec(trials=7))}))
    writer.close()
    told = history.of(tmp_path)
    assert told.closed is None
    assert told.spent.hours(told.last_event + 1e6) == before.spent.hours(before.last_event)


def test_under_a_longer_training_an_unfinished_trial_keeps_its_own_rungs(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    one = begin(writer, tmp_path, spec())
    short = one.next()
    assert short and one.rungs_ahead(short.id) == [1, 2, 4]
    writer.append(("extended/1", "extended", None, {"changes": [], "plan": planned(spec(max_epochs=20))}))
    one = begin(writer, tmp_path, spec(max_epochs=20))
    assert one.next() == short
    longer = one.next()
    assert longer and one.rungs_ahead(longer.id) == [1, 2, 4, 8, 16]
    assert one.rungs_ahead(short.id) == [1, 2, 4] and one.orders(short.id)["max_epochs"] == 8
    writer.close()


def test_a_budget_may_grow_and_not_shrink(plan: Plan) -> None:
    limited, _ = extension.extended(plan, ["budget={hours: 2}"], None)
    assert extension.extended(limited, ["budget={hours: 3}"], None)[1] == ["budget: hours 2 → hours 3"]
    with pytest.raises(UserError, match=r"budget\.hours: 1 is less than 2"):
        extension.extended(limited, ["budget={hours: 1}"], None)


def test_a_kill_during_an_extension_changes_nothing(tmp_path: Path) -> None:
    finished_run(tmp_path / "whole")
    go_on(tmp_path / "whole", spec(trials=7))
    events = journal.events(tmp_path / "whole")
    expected = outcome(tmp_path / "whole")
    start = next(n for n, event in enumerate(events) if event.kind == "extended")
    for cut in range(start + 1, len(events), 7):
        if events[cut].kind in ("decided", "ended") and events[cut - 1].kind != "ended":
            continue  # these are one write with the event before
        writer = opened(tmp_path / str(cut))
        writer.append(*((event.key, event.kind, event.trial, event.content) for event in events[:cut]))
        run(begin(writer, tmp_path / str(cut), spec(trials=7)))
        writer.close()
        assert outcome(tmp_path / str(cut)) == expected, f"killed after {events[cut - 1].key}"


def test_a_sweep_of_generators_does_not_go_on_with_another_judge(tmp_path: Path, data_root: Path) -> None:
    made_of_three = generators(write(tmp_path), data_root, "metric=validation_frechet")
    writer = opened(tmp_path / "run")
    writer.append(("planned", "planned", None, made_of_three.as_dict()))
    writer.close()
    past, copied = history.of(tmp_path / "run"), tmp_path / "data"
    shutil.copytree(made_of_three.data, copied / "prepared" / made_of_three.card.name)
    assert extension.restore(past, tmp_path / "run", copied).fingerprint == made_of_three.fingerprint
    (copied / "prepared" / made_of_three.card.name / JUDGE_FILE).write_bytes(b"another")
    with pytest.raises(UserError, match="not the judge of images that the sweep in"):
        extension.restore(past, tmp_path / "run", copied)


# ---- what may grow ---------------------------------------------------------------------------------------------


def test_a_plan_comes_back_from_the_journal_as_it_was(plan: Plan, tmp_path: Path) -> None:
    writer = opened(tmp_path / "run")
    writer.append(("planned", "planned", None, plan.as_dict()))
    writer.close()
    again = extension.restore(history.of(tmp_path / "run"), tmp_path / "run", plan.data.parents[1])
    assert again == plan and again.fingerprint == plan.fingerprint


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("trials=9", "trials: 4 → 9"),
        ("max_epochs=20", "max_epochs: 9 → 20"),
        ("sizes=[xs, s, m]", "sizes: xs, s → xs, s, m"),
        ("budget={hours: 2}", "budget: none → hours 2"),
    ],
)
def test_what_may_grow_grows(plan: Plan, override: str, change: str) -> None:
    after, changes = extension.extended(plan, [override], None)
    assert changes == [change]
    assert after.fingerprint != plan.fingerprint and set(plan.cells) <= set(after.cells)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("trials=1", "1 is less than 4"),
        ("sampler.name=tpe", "sampler: decides what the results so far are"),
        ("seed=5", "seed: decides what the results so far are"),
        ("metric=validation_accuracy", "decides what the results so far are"),
        ("sizes=[xs]", "lacks s"),
        ("families=[perceptron, mlp, lenet]", "lenet is new here; give the folder of its search space with --spaces"),
        ("trial=9", "unknown key 'trial'; did you mean 'trials'?"),
        ("max_epochs=many", "expected a whole number"),
    ],
)
def test_what_would_change_the_results_so_far_is_refused(plan: Plan, override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint.replace("?", r"\?")):
        extension.extended(plan, [override], None)


def test_a_range_may_widen_and_not_narrow() -> None:
    def widened(**changes: Any) -> Space:
        return Space("mlp", {**SPACE.parameters, **changes})

    rate = SPACE.parameters["learning_rate"]
    assert isinstance(rate, Float)
    assert widened().narrower_than(SPACE) is None
    assert widened(learning_rate=replace(rate, low=1e-6)).narrower_than(SPACE) is None
    assert widened(optimizer=Choice(("adam", "sgd", "lion"))).narrower_than(SPACE) is None
    strided = Space("mlp", {"batch_size": Int(16, 64, step=16)})
    assert Space("mlp", {"batch_size": Int(0, 80, step=16)}).narrower_than(strided) is None
    assert "its step is 16" in str(Space("mlp", {"batch_size": Int(8, 64, step=16)}).narrower_than(strided))
    for changes, why in (
        ({"learning_rate": replace(rate, low=1e-2)}, "no longer reaches"),
        ({"optimizer": Choice(("adam",))}, "lacks 'sgd'"),
        ({"batch_size": Float(16.0, 64.0)}, "another kind"),
        ({"dropout": Float(0.0, 0.5)}, "is new"),
    ):
        assert why in str(widened(**changes).narrower_than(SPACE))
    assert "is gone" in str(Space("mlp", {"learning_rate": rate}).narrower_than(SPACE))


def test_a_folder_with_the_widened_space_alone_is_enough(plan: Plan, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    before = (tmp_path / "search_spaces" / "mlp.yaml").read_text()
    (wide / "mlp.yaml").write_text(before.replace("low: 1.0e-3", "low: 1.0e-6"))
    after, changes = extension.extended(plan, [], wide)
    assert changes == ["search space of mlp"] and after.spaces["perceptron"] == plan.spaces["perceptron"]
    with pytest.raises(UserError, match=r"--spaces .*none: holds no perceptron.yaml or mlp.yaml"):
        extension.extended(plan, [], tmp_path / "none")


def test_every_space_comes_back_from_its_plain_form() -> None:
    import json

    from orchestrator import space

    for path in sorted((Path(__file__).parents[1] / "search_spaces").glob("*.yaml")):
        one = space.load(path)
        assert Space.from_dict(one.family, json.loads(json.dumps(one.as_dict()))) == one
