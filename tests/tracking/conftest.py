from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database as it is made, once for all tests: its migrations take two seconds."""
    from orchestrator.tracking import store

    runs = tmp_path_factory.mktemp("empty")
    store.connect(runs)
    engine = sqlalchemy.create_engine(f"{store.SQLITE}{runs / store.DATABASE}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return (runs / store.DATABASE).read_bytes()


@pytest.fixture
def runs(tmp_path: Path, empty_store: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with an MLflow store that holds nothing."""
    from orchestrator.tracking import store

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / store.DATABASE).write_bytes(empty_store)
    return tmp_path
