"""What a sweep on one machine opens to others: nothing."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
import time
from pathlib import Path

from listeners import family, listening
from projects import PIPELINE, finish, start, write_project

from orchestrator import journal

ASK = """
import os, sys
os.environ.pop("RAY_AUTH_MODE", None)
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1])
except Exception as error:
    sys.exit(str(error))
"""


def test_a_sweep_listens_on_loopback_alone_and_lets_nobody_in_without_the_token(tmp_path: Path) -> None:
    project = write_project(tmp_path, PIPELINE.replace("sizes: [xs, s]", "sizes: [xs]"))
    process = start(project, "--workers", "1", "--set", "max_epochs=60")
    deadline, opened = time.monotonic() + 100, {}
    while process.poll() is None and time.monotonic() < deadline:
        opened |= listening(family(process.pid))
        if any(event.kind == "reported" for event in _events(project / "runs" / "small")):
            break
        time.sleep(0.2)
    opened |= listening(family(process.pid))
    heads = [port for (_, port), command in opened.items() if "gcs_server" in command]
    stranger = subprocess.run(
        [sys.executable, "-c", ASK, f"127.0.0.1:{heads[0]}"], capture_output=True, text=True, timeout=60
    )
    printed = finish(process)
    beyond = {place: who for place, who in opened.items() if not ipaddress.ip_address(place[0]).is_loopback}
    assert not beyond, beyond
    commands = " ".join(opened.values())
    assert all(part in commands for part in ("gcs_server", "raylet", "ray::")), f"not all was seen: {opened}"
    assert stranger.returncode == 1 and "token" in stranger.stderr, f"{stranger} {printed}"


def _events(run_dir: Path) -> list[journal.Event]:
    return journal.events(run_dir) if (run_dir / journal.FILE).exists() else []


def test_the_list_would_show_an_open_door() -> None:
    import socket

    with (
        socket.create_server(("0.0.0.0", 0)) as server,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
    ):
        found = listening(family(os.getpid()))
        assert ("0.0.0.0", server.getsockname()[1]) in found
        assert ("::1", six.getsockname()[1]) in found
