"""A small project on disk, and the command run on it in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SPACE = """
family: mlp
parameters:
  learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
  batch_size: {type: choice, values: [32, 64]}
  optimizer: {type: choice, values: [sgd, adam]}
  momentum: {type: float, low: 0.5, high: 0.95, when: {optimizer: [sgd]}}
"""

PIPELINE = """
name: small
data: digits
families: [mlp]
sizes: [xs, s]
data_fractions: [0.5]
metric: validation_accuracy
trials: 5
finalists: 2
max_epochs: 6
"""


def write_project(folder: Path, pipeline: str = PIPELINE, space: str = SPACE) -> Path:
    (folder / "search_spaces").mkdir(parents=True)
    (folder / "pipelines").mkdir()
    (folder / "search_spaces" / "mlp.yaml").write_text(space)
    (folder / "pipelines" / "small.yaml").write_text(pipeline)
    return folder


def start(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """`orchestrate sweep` on the small pipeline."""
    return launch(folder, "sweep", "pipelines/small.yaml", *options, environment=environment)


def launch(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    inherited = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(Path(__file__).parents[1]), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0, seconds: float = 240) -> str:
    try:
        printed, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()  # without effect on one that has ended
    assert process.returncode == code, printed
    return printed
