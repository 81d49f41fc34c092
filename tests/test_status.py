"""How a sweep stands, at every stage of its life."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up import begin, finished_run, opened, planned, row, run, spec

from orchestrator import records
from orchestrator.errors import UserError
from orchestrator.journal import Writer
from orchestrator.status import status


def test_a_sweep_is_running_then_interrupted_then_finished(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec())
    trial = engine.next()
    assert trial
    engine.started(trial.id, "worker")
    told = status(tmp_path)
    assert told["state"] == "running" and told["driver"] and told["trials"]["running"] == 1
    writer.close()  # as a kill does: the lock is gone, the journal has no last word
    told = status(tmp_path)
    assert told["state"] == "interrupted" and told["driver"] is None and told["trials"]["running"] == 0
    writer = opened(tmp_path)
    run(begin(writer, tmp_path, spec()))
    writer.append(("closed/2", "closed", None, {"state": "finished"}))
    writer.close()
    assert status(tmp_path)["state"] == "finished"


@pytest.mark.parametrize("state", ["stopped", "interrupted", "finished"])
def test_the_last_word_of_the_driver_is_the_state(tmp_path: Path, state: str) -> None:
    writer = opened(tmp_path)
    begin(writer, tmp_path, spec())
    writer.append(("closed/1", "closed", None, {"state": state}))
    writer.close()
    assert status(tmp_path)["state"] == state


def test_it_says_what_the_issue_promises_to_programs(tmp_path: Path) -> None:
    told = json.loads(json.dumps(status(finished_run(tmp_path)), allow_nan=False))
    assert told["sweep"] == "made-up" and told["planned"] == 14
    assert set(told["trials"]) == {"asked", "running", "complete", "pruned", "diverged", "failed"}
    assert told["trials"]["asked"] == sum(told["trials"][word] for word in records.ENDED) == 14
    assert told["reports"] > 14
    assert told["seconds"] == pytest.approx(0.1 * told["reports"])
    for cell in told["cells"]:
        assert set(records.CELLS) <= set(cell)
        assert cell["best"] is not None and cell["finals"] == 2


def test_what_failed_is_listed_with_its_reason(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    engine = begin(writer, tmp_path, spec())
    first, second, third = (engine.next() for _ in range(3))
    assert first and second and third
    engine.end(first.id, records.FAILED, "out of memory")
    engine.report(second.id, [row(second, 1)])
    engine.end(second.id, records.DIVERGED, "nan in epoch 2")
    engine.end(third.id, records.COMPLETE)
    writer.close()
    failures = status(tmp_path)["failures"]
    assert failures[0].pop("ended") < failures[1].pop("ended")
    assert failures == [
        {"trial": first.id, "status": "failed", "cause": "", "reason": "out of memory"},
        {"trial": second.id, "status": "diverged", "cause": "", "reason": "nan in epoch 2"},
    ]


def test_a_sweep_that_has_only_begun_says_so(tmp_path: Path) -> None:
    Writer(tmp_path).close()
    with pytest.raises(UserError, match="only just begun"):
        status(tmp_path)
    writer = opened(tmp_path)
    writer.append(("planned", "planned", None, planned(spec())))
    writer.close()
    told = status(tmp_path)
    assert told["state"] == "interrupted" and told["trials"]["asked"] == 0 and len(told["cells"]) == 2
