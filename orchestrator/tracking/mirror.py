"""The journal carried into MLflow by a process of its own, in its own time. `orchestrate sweep` starts it.

    python -m orchestrator.tracking.mirror runs/demo     by hand: catch up; while a driver is alive, follow it

It ends when the driver has closed its session, or is gone, and everything is written. It may be killed at any moment:
the next one looks up what MLflow holds and goes on. A tracker that is down costs delay, never data, and never the
sweep's time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from orchestrator import journal, records
from orchestrator.errors import UserError
from orchestrator.history import TrialHistory
from orchestrator.tracking import store
from orchestrator.tracking.reading import Reading
from orchestrator.tracking.runs import Runs
from orchestrator.tracking.verify import verify as verify

LOG, LOCK = "mirror.log", "mirror.lock"
# Beside workers that take all cores: a quarter of one.
NICENESS = 5

LOOK_SECONDS = 0.25  # between looks at the journal
WRITE_SECONDS = 2.0  # between writes to MLflow: the longer, the more a batch holds
LONGEST_PAUSE_SECONDS = 30.0  # between attempts to reach a tracker that is down
LAST_PAUSE_SECONDS = 5.0  # the same, when somebody may be waiting
GIVE_UP_SECONDS = 120.0  # of attempts after the sweep is over
LAST_CHANCE_SECONDS = 5.0  # the same, where the tracker was down already
TRIALS_A_BATCH = 256  # written together: others who write wait that long, half a second
FAILURES_IN_A_ROW = 3  # of trials, before the rest is left for the next attempt

_log = logging.getLogger("orchestrator.tracking")


# ---- what the sweep calls ----------------------------------------------------------------------------------------


def start(run_dir: Path) -> subprocess.Popen[bytes]:
    """Start a mirror that follows the journal in `run_dir` until this process closes its session, or is gone.

    Its standard input is a pipe that ends with this process, however it dies. It has a session of its own: Ctrl-C in
    the terminal does not reach it. What it has to say is in `run_dir/mirror.log`.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with (run_dir / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.tracking.mirror", str(run_dir.absolute()), "--until-parent-leaves"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
        )


def wait(process: subprocess.Popen[bytes], seconds: float = 60.0) -> bool:
    """Tell a mirror that no more will come, and wait for it to have written everything: whether it has.

    One that has not stays, and goes on trying for two minutes.
    """
    if process.stdin is not None:
        process.stdin.close()
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False


def sync(run_dir: Path, seconds: float = 30.0) -> None:
    """Bring MLflow up to the journal, in this process, once.

    Raises:
        UserError: no journal in `run_dir`, or another mirror has been writing for longer than `seconds`.
        mlflow.exceptions.MlflowException and others: the tracker can't be reached.
    """
    until = time.monotonic() + seconds
    with _alone(run_dir, lambda: time.monotonic() > until), contextlib.closing(Mirror(run_dir)) as mirror:
        mirror.write(leaving=journal.driver(run_dir) is None)


# ---- the mirror itself -------------------------------------------------------------------------------------------


class Mirror:
    """Reads the journal and writes MLflow. After an error, `forget`: it then starts from what MLflow holds."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir.absolute()
        self._runs: Runs | None = None
        # What MLflow has is not kept here: after an error the journal is read again.
        self._wrote = False
        self._begin()

    def _begin(self) -> None:
        self._journal = journal.Reader(self._run_dir)
        self._reading = Reading.new()
        self._changed: dict[str, None] = {}
        self._told_parent: tuple[str | None, int] | None = None
        self.read()

    @property
    def closed(self) -> int:
        """How many sessions have been closed."""
        return sum("left" in session for session in self._reading.history.sessions)

    def read(self) -> None:
        """Take in what was appended to the journal since the last time."""
        for event in self._journal.new():
            self._reading.apply(event)
            if event.kind == "session":
                # What a killed driver had under way waits again.
                self._changed |= dict.fromkeys(self._reading.history.trials)
            elif event.kind == "asked":
                self._changed[event.content["id"]] = None
            elif event.trial is not None:
                self._changed[event.trial] = None

    def write(self, *, leaving: bool) -> None:
        """Write what has changed; `leaving`: no driver is there, so what is under way in the journal is not running.

        Raises:
            Exception: of the first trial that could not be written. The others were tried, unless several failed in
                a row.
        """
        history = self._reading.history
        if not history.plan:
            return
        if self._runs is None:
            self._runs = self._open()
            self._wrote = True
        leaving = leaving or history.closed is not None
        if leaving:
            self._changed |= {name: None for name, told in history.trials.items() if told.status == records.RUNNING}
        names = list(self._changed)
        for first in range(0, len(names), TRIALS_A_BATCH):
            if errors := self._write_trials(self._runs, names[first : first + TRIALS_A_BATCH], leaving):
                raise errors[0]
        state = history.closed or ("interrupted" if leaving else None)
        if self._told_parent != (state, self.closed):
            self._runs.write_parent(state)
            self._told_parent = (state, self.closed)

    def _open(self) -> Runs:
        """MLflow, asked first: nothing is read again for a tracker that does not answer."""
        client = store.connect(self._run_dir.parent)
        client.search_experiments(max_results=1)
        if self._wrote:
            self._journal.close()
            self._begin()
        return Runs(client, self._reading, self._run_dir)

    def _write_trials(self, runs: Runs, names: Sequence[str], leaving: bool) -> list[Exception]:
        """All at once; where that fails, one after another: what can be written is. Returns what went wrong."""
        trials = [self._with_status(name, leaving) for name in names]
        try:
            runs.write([one for one in trials if runs.is_behind(*one)])
        except Exception as error:
            errors, in_a_row = [error], 0
            for name in names if len(names) > 1 else ():
                wrong = self._write_trials(runs, [name], leaving)
                errors += wrong
                in_a_row = in_a_row + 1 if wrong else 0
                if in_a_row == FAILURES_IN_A_ROW:
                    break
            return errors
        for name in names:
            del self._changed[name]
        return []

    def _with_status(self, name: str, leaving: bool) -> tuple[TrialHistory, str]:
        told = self._reading.history.trials[name]
        return told, records.ASKED if leaving and told.status == records.RUNNING else told.status

    def forget(self) -> None:
        """What MLflow is thought to hold: look it up before the next write."""
        if self._runs is not None:
            self._runs.close()
        self._runs = None

    def close(self) -> None:
        self.forget()
        self._journal.close()


def follow(run_dir: Path, is_over: Callable[[], bool]) -> bool:
    """Mirror until `is_over`, or until a session is closed from now on; whether everything was written.

    An error is tried again after a while, longer each time; one line is logged when the errors begin, one when they
    end. What the sweep waits for at its end is bounded: a tracker that was down before gets a last chance.
    """
    with contextlib.closing(Mirror(run_dir)) as mirror:
        return _follow(mirror, run_dir, is_over)


def _follow(mirror: Mirror, run_dir: Path, is_over: Callable[[], bool]) -> bool:
    closed_before = mirror.closed
    trouble, pause, next_write, give_up = "", 1.0, 0.0, math.inf
    while time.monotonic() < give_up:
        # Asked first: what the driver wrote before it left is then read below.
        leaving = is_over()
        mirror.read()
        last = leaving or mirror.closed > closed_before
        if last and give_up == math.inf:
            # Somebody may be waiting for us: not long for a tracker that was down before.
            give_up = time.monotonic() + (LAST_CHANCE_SECONDS if trouble else GIVE_UP_SECONDS)
            next_write, pause = 0.0, 1.0
        if time.monotonic() < next_write:
            time.sleep(LOOK_SECONDS)
            continue
        try:
            mirror.write(leaving=leaving)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            if not trouble:
                _log.warning("MLflow can't be written to, trying on (%s)", said)
            trouble = said
            mirror.forget()
            next_write = time.monotonic() + pause
            pause = min(2 * pause, LAST_PAUSE_SECONDS if last else LONGEST_PAUSE_SECONDS)
            continue
        if trouble:
            _log.warning("MLflow answers again")
        trouble, pause, next_write = "", 1.0, time.monotonic() + WRITE_SECONDS
        if last:
            return True
    _log.error("gave up (%s); to write the rest: python -m orchestrator.tracking.mirror %s", trouble, run_dir)
    return False


@contextlib.contextmanager
def _alone(run_dir: Path, is_over: Callable[[], bool]) -> Iterator[None]:
    """Two mirrors never write at once: waits for the other, until `is_over`."""
    descriptor = os.open(run_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if is_over():
                    holder = os.pread(descriptor, 100, 0).decode() or "another process"
                    raise UserError(f"{run_dir}: {holder} is already mirroring this sweep; wait for it") from None
                time.sleep(LOOK_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _parent_left(parent: int) -> bool:
    """The pipe from the parent has ended, or (a fork of the parent keeps the pipe open) the parent is another."""
    if os.getppid() != parent:
        return True
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.tracking.mirror", description="Journal → MLflow.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--until-parent-leaves", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    parent = os.getppid()
    os.nice(NICENESS)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    over_since: list[float] = []

    def is_over() -> bool:
        if options.until_parent_leaves:
            return _parent_left(parent)
        return journal.driver(options.run_dir) is None

    def gave_up_waiting() -> bool:
        if is_over():
            over_since.append(time.monotonic())
        return bool(over_since) and time.monotonic() > over_since[0] + GIVE_UP_SECONDS

    try:
        if not (options.run_dir / journal.FILE).is_file():
            raise UserError(f"{options.run_dir}: no sweep here (no {journal.FILE}); give the folder of a run")
        with _alone(options.run_dir, gave_up_waiting):
            return 0 if follow(options.run_dir, is_over) else 1
    except UserError as error:
        _log.error("%s", error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
