"""Ray nodes as real processes of this machine, each with its own address on loopback's net."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

RAY = str(Path(sys.executable).with_name("ray"))


class Nodes:
    """A head (where a driver may sit) and nodes that join and die. Use as a context.

    Ray's token is on for all of them; `environment` is what a driver needs to be let in.
    """

    def __init__(self, head_cpus: int, environment: dict[str, str] | None = None) -> None:
        self.environment = {"RAY_AUTH_TOKEN": secrets.token_hex(32), **(environment or {})}
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        # Below the ports that Ray gives to workers, which begin at 10002.
        port = 5000 + port % 4000
        self._count, self.address = 1, f"127.0.0.2:{port}"
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._head = self._start(head_cpus, "--head", f"--port={port}", "--include-dashboard=false")

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._nodes.values(), self._head]:
            process.terminate()
        for process in [*self._nodes.values(), self._head]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            _end(process)

    def join(self, name: str, cpus: int, token: str | None = None) -> subprocess.Popen[bytes]:
        environment = {"RAY_AUTH_TOKEN": token} if token else {}
        self._nodes[name] = self._start(cpus, f"--address={self.address}", environment=environment)
        return self._nodes[name]

    def kill(self, name: str) -> None:
        """SIGKILL to all of a node, as when its power goes: the raylet first, which would report a worker's death."""
        _end(self._nodes.pop(name))

    def _start(self, cpus: int, *how: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        self._count += 1
        command = [RAY, "start", "--block", "--disable-usage-stats", "--include-log-monitor=false", "--num-gpus=0"]
        command += [f"--num-cpus={cpus}", "--object-store-memory=80000000", f"--node-ip-address=127.0.0.{self._count}"]
        process = subprocess.Popen(
            [*command, *how],
            env={**os.environ, **self.environment, "RAY_AUTH_MODE": "token", **(environment or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if "--head" in how:
            self._wait_for_head(process)
        return process

    def _wait_for_head(self, process: subprocess.Popen[bytes]) -> None:
        host, _, port = self.address.partition(":")
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port)), 1).close()
                return
            time.sleep(0.2)
        _end(process)
        raise AssertionError(f"Ray's head did not start (exit code {process.poll()})")


def _end(process: subprocess.Popen[bytes]) -> None:
    members = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            about, _, fields = (entry / "stat").read_text().rpartition(")")
            if int(fields.split()[3]) == process.pid:
                members[int(entry.name)] = about.partition("(")[2]
    for pid in sorted(members, key=lambda one: members[one] != "raylet"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(20)
