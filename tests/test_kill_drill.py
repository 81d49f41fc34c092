"""A short drill of benchmarks/kill_drill.py: real processes killed at random moments, with a real MLflow server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRILL = Path(__file__).parents[1] / "benchmarks" / "kill_drill.py"


@pytest.mark.drill
@pytest.mark.timeout(1200)
def test_nothing_is_lost_or_doubled_when_processes_are_killed(tmp_path: Path) -> None:
    out = tmp_path / "drill.json"
    done = subprocess.run(
        [sys.executable, str(DRILL), "--kills", "8", "--seed", "1", "--out", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(DRILL.parents[1])},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(out.read_text())
    assert (result["kills"], result["lost"], result["doubled"], result["problems"]) == (8, 0, 0, [])
    assert result["sweeps"][0]["identical"]
