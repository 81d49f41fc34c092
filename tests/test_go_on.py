"""Going on with real sweeps through the command: extended, resumed, stopped by an error that repeats itself."""

from __future__ import annotations

import time
from pathlib import Path

from projects import finish, launch, start, write_project

from orchestrator import history, journal, records
from orchestrator.tracking.verify import verify


def test_a_finished_sweep_is_extended_and_mlflow_follows(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    run_dir = project / "runs" / "small"
    early = ("--set", "early_stopping.name=promotion", "--set", "sizes=[xs]")
    finish(start(project, *early, "--set", "trials=3", "--set", "budget={trials: 20}"))
    before = {name: one.reports for name, one in history.of(run_dir).trials.items()}
    assert len(before) == 3 + 2
    assert "decides what the results so far are" in finish(
        launch(project, "extend", "runs/small", "--set", "seed=1"), 2
    )

    more = ("--trials", "6", "--set", "data_fractions=[0.5, 1.0]")
    printed = finish(launch(project, "extend", "runs/small", *more))
    told = history.of(run_dir)
    assert {name: told.trials[name].reports for name in before} == before
    searched = [one.trial.cell for one in told.trials.values() if one.trial.kind == records.SEARCH]
    assert {cell: searched.count(cell) for cell in searched} == {"mlp-xs-0.5": 6, "mlp-xs-1": 6}
    assert told.closed == records.FINISHED and all(one.status in records.ENDED for one in told.trials.values()), printed
    counted = verify(run_dir)
    assert counted["mlflow"] == counted["journal"]
    said = finish(launch(project, "status", "runs/small"))
    assert "Extended: data_fractions: 0.5 → 0.5, 1.0; trials: 3 → 6" in said and " of 20 trials" in said

    # The specification as it was asks for nothing that is not there.
    finish(start(project, *early, "--set", "trials=3", "--set", "budget={trials: 20}"))
    assert len(history.of(run_dir).sessions) == 2


def test_an_error_that_repeats_itself_stops_the_sweep_and_once_mended_nothing_is_lost(tmp_path: Path) -> None:
    project = write_project(tmp_path)
    run_dir, data = project / "runs" / "small", project / "data" / "prepared" / "digits"
    finish(launch(project, "data", "prepare", "digits"))
    process = start(project, "--set", "sizes=[xs]", "--workers", "1")
    deadline = time.monotonic() + 120
    while not (run_dir / journal.FILE).exists() or not any(e.kind == "asked" for e in journal.events(run_dir)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    data.rename(data.with_name("elsewhere"))  # while the worker is only just starting
    printed = finish(process, 1)
    assert printed.count("no prepared data at") == 1 and "Traceback" not in printed
    assert printed.splitlines()[-1].startswith("Stopped: trials fail one after the other like this. Once it is mended:")
    told = history.of(run_dir)
    assert told.closed == records.STOPPED and len(told.trials) == 3

    data.with_name("elsewhere").rename(data)
    finish(launch(project, "resume", "runs/small", "--workers", "1"))
    told = history.of(run_dir)
    assert told.closed == records.FINISHED and len(told.trials) == 7
    assert {one.status for one in told.trials.values()} <= {records.COMPLETE, records.PRUNED}
    counted = verify(run_dir)
    assert counted["mlflow"] == counted["journal"]
