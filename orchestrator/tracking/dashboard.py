"""MLflow's own pages over the sweeps in a folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.tracking import store

LOG = "dashboard.log"


def serve(runs: Path, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Run MLflow's server on the store of `runs` until Ctrl-C or SIGTERM; what it says goes to `runs/dashboard.log`.

    Raises:
        UserError: no sweep was tracked there, the tracker is a server already, the port is taken, or the server
            ends by itself.
    """
    uri = store.address(runs)
    if not uri.startswith(store.SQLITE):
        raise UserError(f"MLFLOW_TRACKING_URI is {uri}: a server that runs already; open it in a browser")
    if not Path(uri.removeprefix(store.SQLITE)).is_file():
        raise UserError(
            f"{runs}: no MLflow store here ({store.DATABASE}); run a sweep first, or give its folder by --runs"
        )
    _check_port(host, port)
    store.quiet()
    with (runs / LOG).open("wb") as log:
        server = subprocess.Popen(
            command(uri, runs, host, port),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            # Ctrl-C reaches us alone, and we end the server and its workers without their tracebacks.
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"},
        )
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
        _end(server)
    raise UserError(f"MLflow's server ended by itself (exit code {code}); see {runs / LOG}")


def command(uri: str, runs: Path, host: str, port: int) -> list[str]:
    """MLflow's server as one process of this interpreter."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri),
        *("--artifacts-destination", (runs.resolve() / store.ARTIFACTS).as_uri(), "--host", host, "--port", str(port)),
        *("--workers", "1", "--uvicorn-opts", "--log-level warning"),
    ]


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a port whose last connections are still dying is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise UserError(f"can't listen on {host}:{port} ({why}); give another with --host or --port") from None


def _end(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
