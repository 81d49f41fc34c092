"""The journal of a sweep: one durable, append-only table of events. It is the truth; all else reads it.

One process writes, any number read while it writes (SQLite in WAL mode). Every event has a key, and writing a key
a second time changes nothing: a replay after a kill cannot double anything.

    planned    the spec, the cells, the data card, versions          (once)
    extended   the plan changed: more trials, a wider range …        (one a change)
    session    a driver began: process, host, workers                (one a start of the command)
    asked      a trial: its configuration and seed                   (one a trial)
    started    a worker took it                                      (one an attempt)
    reported   one epoch's numbers                                   (one an epoch)
    decided    at a rung: go on, pause or stop                       (one a rung)
    promoted   a paused trial goes on                                (at most one a rung)
    lost       its worker died                                       (one a death)
    retried    it failed, and runs again                             (one a retry)
    ended      complete, pruned, diverged or failed                  (one a trial and retry)
    exhausted  the budget allows no more search                      (at most once a plan)
    closed     a driver left: finished, interrupted or stopped       (one a session)
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError

FILE = "journal.db"


@dataclass(frozen=True)
class Event:
    """One line of the journal. `time` is in seconds since 1970; `content` is what the kind says."""

    sequence: int
    key: str
    kind: str
    trial: str | None
    time: float
    content: dict[str, Any]


class Writer:
    """The only hand that writes. Holds a lock on the run's folder for as long as it lives.

    Raises:
        UserError: another process drives this sweep (it is named), or the folder cannot be written to.
    """

    def __init__(self, run_dir: Path) -> None:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(run_dir)
        except OSError as error:
            raise UserError(f"{run_dir}: cannot be written to ({error.strerror}); give a folder of yours") from None
        # Why it could not be written, if so: whoever called may have wrapped the error in one of its own.
        self.trouble: UserError | None = None
        self._connection = sqlite3.connect(run_dir / FILE, isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            # FULL: an event is on the disk before anything acts on it (0.7 ms), even when the power goes.
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, "
                "kind TEXT NOT NULL, trial TEXT, time REAL NOT NULL, content TEXT NOT NULL)"
            )
        except sqlite3.DatabaseError as error:
            self.close()
            raise _unusable(run_dir / FILE, error) from None

    def append(self, *events: tuple[str, str, str | None, dict[str, Any]]) -> float:
        """Write events (key, kind, trial, content) in one durable step; a key already there is left as it is.

        Returns the time that was written with them.
        """
        now = time.time()
        rows = [(key, kind, trial, now, _dumps(content)) for key, kind, trial, content in events]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                # Not OR IGNORE, which would drop an event that lacks its kind as silently as one that is there.
                "INSERT INTO events (key, kind, trial, time, content) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO NOTHING",
                rows,
            )
            self._connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                self.trouble = UserError(f"the journal cannot be written ({error}); what it holds is safe")
                raise self.trouble from None
            raise
        return now

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)


class Reader:
    """Reads events as they come; each call of `new` returns what was appended since the last."""

    def __init__(self, run_dir: Path) -> None:
        path = run_dir / FILE
        if not path.is_file():
            raise UserError(f"{run_dir}: no sweep here (no {FILE}); give the folder of a run, such as runs/demo")
        self._path = path
        self._seen = 0
        self._connection = _connect_to_read(path)

    def new(self) -> list[Event]:
        try:
            # A file without its table: the writer is at its first step.
            if not self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
                return []
            rows = self._connection.execute(
                "SELECT sequence, key, kind, trial, time, content FROM events WHERE sequence > ? ORDER BY sequence",
                (self._seen,),
            )
            found = [Event(n, key, kind, trial, at, json.loads(text)) for n, key, kind, trial, at, text in rows]
        except (sqlite3.DatabaseError, ValueError) as error:
            raise _unusable(self._path, error) from None
        if found:
            self._seen = found[-1].sequence
        return found

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def reading(run_dir: Path) -> Iterator[Reader]:
    reader = Reader(run_dir)
    try:
        yield reader
    finally:
        reader.close()


def events(run_dir: Path) -> list[Event]:
    """All events so far, oldest first."""
    with reading(run_dir) as reader:
        return reader.new()


def driver(run_dir: Path) -> str | None:
    """Who drives the sweep now ("process 4711 on host"), or None when nobody does."""
    import fcntl

    try:
        descriptor = os.open(run_dir / "driver.lock", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return os.read(descriptor, 200).decode() or "another process"
    finally:
        os.close(descriptor)


def _connect_to_read(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # In a folder that is not ours SQLite can't lay the files that readers and a writer share. Where no
        # writer has left anything (in `-wal`), there is none to share with, and the file is whole as it is.
        log = path.with_name(f"{path.name}-wal")
        if not log.exists() or log.stat().st_size == 0:
            connection.close()
            connection = sqlite3.connect(f"{address}&immutable=1", uri=True, check_same_thread=False)
    except sqlite3.DatabaseError:
        pass  # a damaged file: said by the first reading
    return connection


def _unusable(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: not a journal that can be read ({error}); nothing was changed; move it away, or put back a copy"
    )


def _lock(run_dir: Path) -> int:
    import fcntl
    import socket

    descriptor = os.open(run_dir / "driver.lock", os.O_RDWR | os.O_CREAT, 0o644)
    for attempt in range(20):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # A reader that asks who drives holds the lock for an instant.
            if attempt == 19:
                holder = os.read(descriptor, 200).decode() or "another process"
                os.close(descriptor)
                raise UserError(f"{run_dir}: {holder} is already running this sweep; wait or stop it") from None
            time.sleep(0.01)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def _dumps(content: dict[str, Any]) -> str:
    # Python's JSON writes NaN and Infinity by name and reads them back; floats keep every bit.
    return json.dumps(content, separators=(",", ":"))
