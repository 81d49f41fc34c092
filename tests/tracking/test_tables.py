"""Rows written straight into MLflow's tables are those that its client writes."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_sweep import MadeUpSweep, row

from orchestrator import journal, records
from orchestrator.tracking import mirror, store, tables
from orchestrator.tracking.reading import Reading
from orchestrator.tracking.verify import verify


def dump(runs: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of the store; for a run's random id stands its name."""
    connection = sqlite3.connect(runs / store.DATABASE)
    names = dict(connection.execute("SELECT run_uuid, name FROM runs"))
    told = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        cursor = connection.execute(f"SELECT * FROM {table}")
        columns = [column[0] for column in cursor.description]
        rows = [dict(zip(columns, found, strict=True)) for found in cursor]
        told[table] = sorted(tuple(_named(one, key, names, runs) for key in sorted(columns)) for one in rows)
    connection.close()
    return told


def _named(one: dict[str, Any], key: str, names: dict[str, str], runs: Path) -> str:
    # When an experiment was made, and the ids of its inputs, are nobody's choice.
    if key in ("creation_time", "last_update_time", "input_uuid", "dataset_uuid", "source_id"):
        return key
    text = repr(one[key]).replace(str(runs), "")
    for run_id, name in names.items():
        text = text.replace(run_id, name)
    return text


@pytest.fixture
def both(tmp_path: Path, empty_store: bytes, monkeypatch: pytest.MonkeyPatch) -> Callable[[MadeUpSweep], list[Path]]:
    """Mirrors a sweep's journal as it stands into two stores: through the client, and through the tables."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folders = [tmp_path / way for way in ("client", "tables")]
    for folder in folders:
        folder.mkdir()
        (folder / store.DATABASE).write_bytes(empty_store)

    def mirrored(sweep: MadeUpSweep) -> list[Path]:
        for folder in folders:
            (folder / "demo").mkdir(exist_ok=True)
            copy = sqlite3.connect(folder / "demo" / journal.FILE)
            with sqlite3.connect(sweep.run_dir / journal.FILE) as source:
                source.backup(copy)
            copy.close()
            with monkeypatch.context() as patch:
                if folder.name == "client":
                    patch.setattr(tables, "at", lambda *_: None)
                mirror.sync(folder / "demo")
        return folders

    return mirrored


def test_every_table_is_as_the_client_leaves_it(tmp_path: Path, both: Callable[[MadeUpSweep], list[Path]]) -> None:
    sweep = MadeUpSweep(tmp_path / "demo", trials=3, diverged=("mlp-s-1-t000",))
    sweep.begin()
    steps = sweep.steps()
    for _ in range(12):
        next(steps)
        both(sweep)
    trial = sweep.engine.next()
    assert trial is not None
    sweep.engine.started(trial.id, "worker-2")
    odd = {**row(trial, 1), "train_loss": math.inf, "validation_accuracy": math.nan, "gradient_norm": -math.inf}
    sweep.engine.report(trial.id, [odd])
    both(sweep)
    sweep.engine.end(trial.id, records.FAILED, "a reason of\nseveral lines " + "x" * 6000)
    for _ in steps:
        pass
    sweep.close()
    sweep.leave()
    client, written = (dump(folder) for folder in both(sweep))
    assert len(client["metrics"]) > 100 and len(client["runs"]) == 9
    for table, rows in client.items():
        assert written[table] == rows, table


def test_written_twice_it_is_the_same(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.begin()
    steps = sweep.steps()
    for _ in range(8):
        next(steps)
    sweep.leave()
    mirror.sync(sweep.run_dir)
    before = dump(runs)
    mirror.sync(sweep.run_dir)
    assert dump(runs) == before


def test_tables_that_are_not_known_are_left_to_the_client(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.run()
    connection = sqlite3.connect(runs / store.DATABASE)
    connection.execute("ALTER TABLE metrics ADD COLUMN colour TEXT")
    connection.close()
    assert tables.at(store.address(runs), "1", "file:///nowhere") is None
    mirror.sync(sweep.run_dir)
    counts = verify(sweep.run_dir)
    assert counts["mlflow"] == counts["journal"]


def test_a_trial_that_ends_twice_is_the_same_however_late_the_mirror_is(runs: Path) -> None:
    """One that failed and is tried again, as the journal tells it."""
    early, late = MadeUpSweep(runs / "early", trials=1), MadeUpSweep(runs / "late", trials=1)
    for sweep in (early, late):
        sweep.begin()
        trial = sweep.engine.next()
        assert trial is not None
        sweep.engine.started(trial.id, "worker-1")
        sweep.engine.report(trial.id, [row(trial, 1)])
        sweep.writer.append((f"ended/{trial.id}", "ended", trial.id, {"status": "failed", "reason": "no memory"}))
        if sweep is early:
            mirror.sync(sweep.run_dir)
        sweep.writer.append(
            (f"retried/{trial.id}/1", "retried", trial.id, {"micro_batches": 2}),
            (f"started/{trial.id}/2", "started", trial.id, {"worker": "worker-1", "attempt": 2}),
            (f"reported/{trial.id}/2", "reported", trial.id, row(trial, 2)),
            (f"ended/{trial.id}/1", "ended", trial.id, {"status": "complete", "test": {"test_loss": 0.5}}),
        )
        sweep.leave()
        mirror.sync(sweep.run_dir)
        counts = verify(sweep.run_dir)
        assert counts["mlflow"] == counts["journal"]
    held = {name: mirrored(runs, name) for name in ("early", "late")}
    assert held["early"]["reason"] == held["late"]["reason"]
    assert held["early"] == held["late"]


def mirrored(runs: Path, sweep: str) -> dict[str, Any]:
    reading = Reading.of(journal.events(runs / sweep))
    client = store.connect(runs)
    found = client.search_runs(
        [client.get_experiment_by_name("digits").experiment_id],
        f"tags.`orchestrator.run` = '{reading.run}' AND attributes.run_name = 'mlp-xs-1-t000'",
    )
    (run,) = found
    tags = {key.removeprefix("orchestrator."): text for key, text in run.data.tags.items()}
    keys = ("status", "reason", "epochs", "attempts", "worker")
    points = {key: len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics}
    return {**{key: tags.get(key, "") for key in keys}, "state": run.info.status, "points": points}
