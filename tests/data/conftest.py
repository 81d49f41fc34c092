"""A web server of files that serves ranges, breaks off, and remembers what it was asked for."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.data import Dataset, from_entry


@dataclass
class Server:
    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True  # whether it understands Range
    break_after: list[int] = field(default_factory=list)  # bytes of each coming answer before it hangs up
    failures: list[int] = field(default_factory=list)  # status codes to answer first
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    sent: int = 0  # bytes of content, over all requests


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            content = state.files.get(self.path.lstrip("/"))
            if state.failures or content is None:
                self.send_error(state.failures.pop(0) if state.failures else 404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = start + state.break_after.pop(0) if state.break_after else len(content)
            state.sent += min(end, len(content)) - start  # before the client can look
            self.wfile.write(content[start:end])

        def log_message(self, *args: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{web.server_port}/"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture(autouse=True)
def no_mirror(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see a mirror only where they set one or ask for the real one."""
    if "real_mirror" not in request.fixturenames:
        monkeypatch.delenv("ORCHESTRATOR_DATA_MIRROR", raising=False)


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Dataset]:
    """Write a user's file and describe it: own("a.csv", "x,y\\n...", target="y")."""

    def make(name: str, content: str | bytes, **entry: object) -> Dataset:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return from_entry({"name": "mine", "file": name, "task": "classification", **entry}, tmp_path)

    return make
