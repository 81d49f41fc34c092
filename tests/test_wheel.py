"""What people install is the wheel, not this checkout: built, installed elsewhere, and used."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from projects import write_project

from orchestrator import history

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`orchestrate` in an environment that has the wheel, and this environment's libraries but not its checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    # A .pth line adds the libraries, and not their .pth files: the editable install of this checkout stays unseen.
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return folder / "venv" / "bin" / "orchestrate"


def run(command: Path, folder: Path, *arguments: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(
        [str(command), *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_helps_lists_data_and_runs_a_small_sweep(command: Path, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    where = [str(command.with_name("python")), "-c", "import orchestrator; print(orchestrator.__file__)"]
    imported = subprocess.run(where, cwd=project, check=True, capture_output=True, text=True).stdout
    assert imported.startswith(str(command.parents[1]))
    assert "sweep" in run(command, project, "--help")
    assert "digits" in run(command, project, "data", "list")
    run(command, project, "sweep", "pipelines/small.yaml", "--set", "trials=2", "--set", "finalists=1")
    told = history.of(project / "runs" / "small")
    assert told.closed == "finished"
    assert len(told.trials) == 6
