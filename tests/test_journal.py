"""The journal: durable, idempotent, one writer, many readers."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import socket  # noqa: F401 - journal imports it late, when rights are lost
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import journal
from orchestrator.errors import UserError
from orchestrator.journal import Reader, Writer


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    opened = Writer(tmp_path / "run")
    yield opened
    opened.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any account may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_events_come_back_in_order_and_as_they_were(writer: Writer, tmp_path: Path) -> None:
    writer.append(("planned", "planned", None, {"name": "x", "nested": {"list": [1, 2.5, None, True, "é\n"]}}))
    time = writer.append(("asked/a", "asked", None, {"id": "a"}), ("started/a/1", "started", "a", {}))
    first, second, third = journal.events(tmp_path / "run")
    assert first.content == {"name": "x", "nested": {"list": [1, 2.5, None, True, "é\n"]}}
    assert (second.key, third.kind, third.trial, third.time) == ("asked/a", "started", "a", time)
    assert first.sequence < second.sequence < third.sequence


def test_a_key_written_again_changes_nothing(writer: Writer, tmp_path: Path) -> None:
    writer.append(("reported/a/1", "reported", "a", {"loss": 1.0}))
    writer.append(("reported/a/1", "reported", "a", {"loss": 2.0}), ("reported/a/2", "reported", "a", {"loss": 3.0}))
    assert [event.content["loss"] for event in journal.events(tmp_path / "run")] == [1.0, 3.0]


def test_several_events_are_written_together_or_not_at_all(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        writer.append(("reported/a/1", "reported", "a", {}), ("decided/a/1", None, "a", {}))  # type: ignore[arg-type]
    assert journal.events(tmp_path / "run") == []
    writer.append(("reported/a/1", "reported", "a", {}))
    assert len(journal.events(tmp_path / "run")) == 1


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0])
def test_floats_keep_every_bit(writer: Writer, tmp_path: Path, value: float) -> None:
    writer.append(("reported/a/1", "reported", "a", {"loss": value}))
    (event,) = journal.events(tmp_path / "run")
    assert repr(event.content["loss"]) == repr(value)


def test_a_reader_sees_what_was_committed_since_its_last_look(writer: Writer, tmp_path: Path) -> None:
    with journal.reading(tmp_path / "run") as reader:
        assert reader.new() == []
        writer.append(("a", "session", None, {}))
        assert [event.key for event in reader.new()] == ["a"]
        writer.append(("b", "session", None, {}), ("c", "session", None, {}))
        assert [event.key for event in reader.new()] == ["b", "c"]
        assert reader.new() == []


def test_readers_and_the_writer_do_not_wait_for_each_other(writer: Writer, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def follow() -> None:
        with journal.reading(tmp_path / "run") as reader:
            keys: list[str] = []
            while not keys or keys[-1] != "100":
                keys += [event.key for event in reader.new()]
            seen.append(keys)

    threads = [threading.Thread(target=follow) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 101):
        writer.append((str(number), "session", None, {}))
    for thread in threads:
        thread.join(timeout=30)
    assert seen == [[str(number) for number in range(1, 101)]] * 2


def test_what_was_appended_survives_the_death_of_its_process(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from orchestrator.journal import Writer\n"
        "Writer(Path(sys.argv[1])).append(('a', 'session', None, {})); os._exit(9)"
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path], env=_environment())
    assert ended.returncode == 9
    assert [event.key for event in journal.events(tmp_path)] == ["a"]
    assert journal.driver(tmp_path) is None
    Writer(tmp_path).close()  # the dead hold no lock


@pytest.mark.parametrize("harm", ["cut", "overwritten"])
def test_a_damaged_tail_costs_the_last_write_and_nothing_before_it(tmp_path: Path, harm: str) -> None:
    """As a machine that lost its power may leave it: the end of the log is torn, or holds something else."""
    script = (
        "import os, sys; from pathlib import Path; from orchestrator.journal import Writer\n"
        "w = Writer(Path(sys.argv[1]))\n"
        "for n in range(50): w.append((str(n), 'session', None, {'text': 'x' * 100}))\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], env=_environment())
    log = tmp_path / f"{journal.FILE}-wal"
    content = log.read_bytes()
    # Each write is a page or two of 4 KiB and their checksums: this is within the last.
    log.write_bytes(content[:-2000] if harm == "cut" else content[:-2000] + b"\0" * 2000)
    kept = [event.key for event in journal.events(tmp_path)]
    assert kept == [str(number) for number in range(len(kept))] and 45 < len(kept) < 50
    with contextlib.closing(Writer(tmp_path)) as writer:
        writer.append(("49", "session", None, {}))
    assert [event.key for event in journal.events(tmp_path)] == [*kept, "49"]


def test_a_second_writer_is_refused_and_told_of_the_first(writer: Writer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"process {os.getpid()} on .+ is already running this sweep"):
        Writer(tmp_path / "run")
    writer.append(("a", "session", None, {}))
    assert [event.key for event in journal.events(tmp_path / "run")] == ["a"]


def test_who_drives_is_known_while_it_drives(tmp_path: Path) -> None:
    assert journal.driver(tmp_path) is None
    writer = Writer(tmp_path)
    assert str(os.getpid()) in (journal.driver(tmp_path) or "")
    writer.close()
    assert journal.driver(tmp_path) is None


def test_asking_who_drives_does_not_keep_a_writer_out(tmp_path: Path) -> None:
    Writer(tmp_path).close()
    descriptor = os.open(tmp_path / "driver.lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, lambda: fcntl.flock(descriptor, fcntl.LOCK_UN))
    timer.start()
    Writer(tmp_path).close()
    timer.join()
    os.close(descriptor)


def test_a_folder_without_a_journal_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no sweep here .*runs/demo"):
        Reader(tmp_path)


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_journal_is_named_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / journal.FILE
    file.write_bytes(content)
    for use in (Writer, journal.events):
        with pytest.raises(UserError, match=rf"{journal.FILE}: not a journal that can be read \(.+\)"):
            use(tmp_path)
    assert file.read_bytes() == content
    assert journal.driver(tmp_path) is None, "the refused writer kept its lock"


def test_an_event_that_is_not_json_is_damage_too(writer: Writer, tmp_path: Path) -> None:
    writer._connection.execute("INSERT INTO events VALUES (1, 'a', 'session', NULL, 0, '{broken')")
    with pytest.raises(UserError, match="not a journal that can be read"):
        journal.events(tmp_path / "run")


def test_a_journal_at_its_first_step_is_empty(tmp_path: Path) -> None:
    (tmp_path / journal.FILE).touch()
    assert journal.events(tmp_path) == []


def test_a_folder_with_odd_characters_is_read(tmp_path: Path) -> None:
    run_dir = tmp_path / "a#b?c%20 d"
    writer = Writer(run_dir)
    writer.append(("a", "session", None, {}))
    writer.close()
    assert len(journal.events(run_dir)) == 1


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match=r"runs/demo: cannot be written to \(Not a directory\)"):
        Writer(tmp_path / "runs" / "demo")


def test_a_folder_without_write_permission_is_named(open_folder: Path, without_rights) -> None:
    without_rights()
    with pytest.raises(UserError, match=r"demo: cannot be written to \(Permission denied\); give a folder of yours"):
        Writer(open_folder / "demo")


def test_a_closed_journal_is_read_in_a_folder_without_write_permission(open_folder: Path, without_rights) -> None:
    writer = Writer(open_folder / "run")
    writer.append(("a", "session", None, {}))
    writer.close()
    without_rights()
    assert [event.key for event in journal.events(open_folder / "run")] == ["a"]
    assert journal.driver(open_folder / "run") is None


def test_a_running_sweep_of_another_account_is_read(open_folder: Path, without_rights) -> None:
    writer = Writer(open_folder / "run")
    writer.append(("a", "session", None, {}))
    without_rights()
    assert [event.key for event in journal.events(open_folder / "run")] == ["a"]
    assert journal.driver(open_folder / "run") is not None
    writer.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
