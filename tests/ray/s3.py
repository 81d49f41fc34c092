"""An S3 server of this machine (moto's), as a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BUCKET = "trials"
# Any will do for moto; without them pyarrow would look for a machine's role, which takes seconds.
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True)
class Server:
    """`log`: one line a request."""

    port: int
    log: Path

    def address(self, folder: str) -> str:
        return f"s3://{BUCKET}/{folder}?endpoint_override=http://127.0.0.1:{self.port}&region=us-east-1"

    def requests(self, method: str, after: int = 0) -> list[str]:
        """Paths that were asked for with success, from that request on."""
        told = []
        for line in self.log.read_text().splitlines()[after:]:
            asked, _, answer = line.partition(f'"{method} ')[2].partition(' HTTP/1.1" ')
            if asked and answer.startswith("2"):
                told.append(asked)
        return told


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """With one empty bucket."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    server = Server(port, folder / "s3.log")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server.log.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **KEYS})
    try:
        bucket = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(bucket, timeout=10).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, server.log.read_text()
                time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        process.wait(20)
