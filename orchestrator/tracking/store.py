"""Opening MLflow: where it is, a SQLite store made once and in WAL mode, and silence."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
SQLITE = "sqlite:///"

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # A retried "create a run" can create two; whoever calls retries, and looks first.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def address(runs: Path) -> str:
    """MLflow's tracking address for the sweeps in `runs`: $MLFLOW_TRACKING_URI, else SQLite in `runs/mlflow.db`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{runs.resolve() / DATABASE}"


def artifact_location(runs: Path) -> str | None:
    """Where artifacts go: `runs/mlartifacts` beside a local store; a server has a place of its own (None)."""
    return (runs.resolve() / ARTIFACTS).as_uri() if address(runs).startswith(SQLITE) else None


def connect(runs: Path) -> MlflowClient:
    """A client of the store that `address` names; a SQLite store is made here where there is none.

    Raises:
        mlflow.exceptions.MlflowException and others: the tracker can't be reached.
    """
    quiet()
    from mlflow import MlflowClient

    uri = address(runs)
    if not uri.startswith(SQLITE):
        return MlflowClient(tracking_uri=uri)
    database = Path(uri.removeprefix(SQLITE))
    with _alone(database):
        if not database.exists():
            _make(database)
        _use_wal(uri)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    return client


def quiet() -> None:
    """Before the first import of MLflow: no telemetry, no migration log, no advice."""
    os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\..*|alembic\..*")


def _make(database: Path) -> None:
    """MLflow can't go on with a schema of which a kill left one half: it is made aside, and renamed when whole."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(prefix=f".{database.name}.", dir=database.parent) as folder:
        aside = Path(folder) / database.name
        client = MlflowClient(tracking_uri=f"{SQLITE}{aside}")
        client.search_experiments(max_results=1)
        client._tracking_client.store.engine.dispose()  # the file is closed before it moves
        aside.replace(database)


def _use_wal(uri: str) -> None:
    """WAL stays in the file: readers and a writer don't wait for one another."""
    import sqlalchemy

    if not sqlalchemy.event.contains(sqlalchemy.engine.Engine, "connect", _relax):
        sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", _relax)
    Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    finally:
        engine.dispose()


def _relax(connection: Any, record: Any) -> None:
    """With WAL, NORMAL never corrupts; power lost may cost the last transactions, which the journal brings back."""
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("PRAGMA synchronous=NORMAL")


@contextlib.contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Sweeps that start together would migrate the schema together, and fail."""
    database.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(database.with_name(f"{database.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
