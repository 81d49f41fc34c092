from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from made_up_sweep import MadeUpSweep

from orchestrator.errors import UserError
from orchestrator.tracking import dashboard, mirror, store
from orchestrator.tracking.artifacts import attach_report


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_needs_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="no MLflow store here"):
        dashboard.serve(tmp_path)


def test_a_tracker_that_is_a_server_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    with pytest.raises(UserError, match="http://tracker:5000"):
        dashboard.serve(tmp_path)


def test_a_port_that_is_taken_is_named(runs: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}"):
            dashboard.serve(runs, port=port)


def test_a_server_that_ends_by_itself_is_an_error(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "command", lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(UserError, match=r"exit code 3.*dashboard\.log"):
        dashboard.serve(runs, port=free_port())


def start(runs: Path, port: int) -> subprocess.Popen[str]:
    code = "import pathlib, sys; from orchestrator.tracking import dashboard\n"
    code += "dashboard.serve(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]))"
    return subprocess.Popen([sys.executable, "-c", code, str(runs), str(port)], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_it_serves_the_runs_and_leaves_nothing_behind(runs: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    mirror.sync(sweep.run_dir)
    port = free_port()
    process = start(runs, port)
    try:
        body = json.dumps({"experiment_ids": ["1"], "max_results": 50}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/runs/search", body, {"Content-Type": "application/json"}
        )
        deadline = time.monotonic() + 90
        while True:
            try:
                answer = json.load(urllib.request.urlopen(request, timeout=10))
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.3)
        assert len(answer["runs"]) == 5
    finally:
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=20)[1]
    assert process.returncode == 0 and errors == ""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_a_report_is_kept_with_its_sweep(runs: Path, tmp_path: Path) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    page = tmp_path / "page"
    (page / "tables").mkdir(parents=True)
    files = [page / "index.html", page / "tables" / "cells.csv"]
    for file in (*files, page / "of-mine.txt"):
        file.write_text(file.name)
    with pytest.raises(UserError, match="does not hold this sweep"):
        attach_report(sweep.run_dir, page, files)
    mirror.sync(sweep.run_dir)
    attach_report(sweep.run_dir, page, files)
    (kept,) = (runs / store.ARTIFACTS).glob("*/artifacts/report")
    there = {file.relative_to(kept).as_posix(): file.read_text() for file in kept.rglob("*") if file.is_file()}
    assert there == {"index.html": "index.html", "tables/cells.csv": "cells.csv"}
