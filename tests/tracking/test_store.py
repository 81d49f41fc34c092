"""The SQLite store is there whole or not at all, whenever its maker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from orchestrator.tracking import store

MAKE = "import sys; from pathlib import Path; from orchestrator.tracking import store; store.connect(Path(sys.argv[1]))"


def test_a_store_whose_maker_is_killed_half_way_is_made_by_the_next(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    maker = subprocess.Popen([sys.executable, "-c", MAKE, tmp_path], env=environment)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 100_000 for path in tmp_path.rglob("mlflow.db")):
        assert time.monotonic() < deadline and maker.poll() is None, "it was made before it could be killed"
        time.sleep(0.005)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert not (tmp_path / store.DATABASE).exists(), "half a store stands where a whole one is looked for"
    assert store.connect(tmp_path).search_experiments()[0].name == "Default"
