"""A tracking server that dies, hangs and comes back: a real one, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_up_sweep import MadeUpSweep
from projects import PIPELINE, write_project

from orchestrator import journal
from orchestrator.tracking import dashboard, mirror, store
from orchestrator.tracking.verify import verify

pytestmark = pytest.mark.drill


class Server:
    """MLflow's own server on a database that outlives it."""

    def __init__(self, folder: Path, empty: bytes) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / store.DATABASE).write_bytes(empty)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        uri = f"{store.SQLITE}{self._folder / store.DATABASE}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                dashboard.command(uri, self._folder, "127.0.0.1", self._port),
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"},
            )
        until(self._answers)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """To the server and its workers."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
        self._process = None


def until(condition: object, seconds: float = 120.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path: Path, empty_store: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(tmp_path / "server", empty_store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    yield made
    made.kill()


def held(run_dir: Path) -> int:
    return int(verify(run_dir)["mlflow"]["runs"])


def test_a_server_that_dies_hangs_and_comes_back_misses_nothing(tmp_path: Path, server: Server) -> None:
    sweep = MadeUpSweep(tmp_path / "runs" / "demo", trials=6)
    sweep.begin()
    steps = sweep.steps()
    next(steps)
    log = sweep.run_dir / mirror.LOG
    server.start()
    copying = mirror.start(sweep.run_dir)
    until(lambda: held(sweep.run_dir) == 2)
    assert log.read_text() == ""

    server.kill()
    for _ in range(10):
        next(steps)
    until(lambda: "can't be written to" in log.read_text())
    time.sleep(3)  # for more attempts, which are not said
    server.start()
    until(lambda: "answers again" in log.read_text())
    assert log.read_text().count("can't be written to") == 1
    until(lambda: held(sweep.run_dir) > 2)

    server.signal(signal.SIGSTOP)
    for _ in range(10):
        next(steps)
    until(lambda: log.read_text().count("can't be written to") == 2)
    server.signal(signal.SIGCONT)
    for _ in steps:
        pass
    until(lambda: log.read_text().count("answers again") == 2)
    sweep.close()
    sweep.leave()
    assert mirror.wait(copying, 120)
    counts = verify(sweep.run_dir)
    assert counts["mlflow"] == counts["journal"]


def test_a_sweep_ends_without_its_server_and_the_next_start_brings_all(tmp_path: Path, server: Server) -> None:
    project = write_project(tmp_path / "project", PIPELINE + "workers: 1\n")
    run_dir = project / "runs" / "small"

    def run() -> tuple[str, float]:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", "sweep", "pipelines/small.yaml"],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr, time.time()

    printed, left = run()
    closed = journal.events(run_dir)[-1]
    assert closed.kind == "closed" and closed.content["state"] == "finished"
    assert printed.count("MLflow does not hold all of it yet") == 1
    assert f"python -m orchestrator.tracking.mirror {Path('runs', 'small')}" in printed
    # Ray's own end, a last attempt or two.
    assert left - closed.time < 30
    lines = (run_dir / mirror.LOG).read_text().splitlines()
    assert ["can't be written to" in line for line in lines] == [True, False] and "gave up" in lines[1]

    server.start()
    assert "MLflow does not hold" not in run()[0]
    counts = verify(run_dir)
    assert counts["mlflow"] == counts["journal"] and counts["mlflow"]["models"] == 4


def test_by_hand_too(tmp_path: Path, server: Server) -> None:
    sweep = MadeUpSweep(tmp_path / "runs" / "demo", trials=2)
    sweep.run()
    server.start()
    assert subprocess.run([sys.executable, "-m", "orchestrator.tracking.mirror", str(sweep.run_dir)]).returncode == 0
    counts = verify(sweep.run_dir)
    assert counts["mlflow"] == counts["journal"]
