"""What people install is the wheel, not this checkout: built, installed elsewhere, and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from projects import write_project

from orchestrator import history

ROOT = Path(__file__).parents[1]

# What the extra `graphs` brings.
GRAPHS = ("torch_geometric", "rdkit")
GRAPHS_PIPELINE = """
name: graphs
data: {name: alkyls, file: ../molecules.csv, format: molecules, task: regression, inputs: smiles, target: carbons,
       licence: none}
families: [gnn]
sizes: [xs]
metric: validation_loss
trials: 2
finalists: 1
max_epochs: 2
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`orchestrate` in an environment that has the wheel, and this environment's libraries but neither its checkout nor
    what the extra `graphs` brings."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    # A .pth line adds the libraries, and not their .pth files: the editable install of this checkout stays unseen.
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (folder / "libraries").mkdir()
    for library in Path(sysconfig.get_path("purelib")).iterdir():
        if not library.name.startswith(GRAPHS):
            (folder / "libraries" / library.name).symlink_to(library)
    (site / "libraries.pth").write_text(f"{folder / 'libraries'}\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return folder / "venv" / "bin" / "orchestrate"


def run(command: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(
        [str(command), *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


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


def test_without_the_extra_all_else_works_and_what_needs_it_says_what_to_install(command: Path, tmp_path: Path) -> None:
    """All else: the test above, in the same environment."""
    project = write_project(tmp_path / "project")
    shutil.copy(ROOT / "search_spaces" / "gnn.yaml", project / "search_spaces")
    molecules = [f"{'C' * carbons}{end},{carbons}" for carbons in range(1, 31) for end in ("O", "N", "Cl")]
    (project / "molecules.csv").write_text("\n".join(["smiles,carbons", *molecules]) + "\n")
    (project / "pipelines" / "graphs.yaml").write_text(GRAPHS_PIPELINE)
    wanted = "pip install -c constraints.txt -e '.[graphs]'"

    unread = run(command, project, "sweep", "pipelines/graphs.yaml", code=2)
    assert "SMILES are read by RDKit" in unread and wanted in unread and unread.count("\n") == 1
    # Read where RDKit is, the graphs are arrays like any others.
    here = [sys.executable, "-m", "orchestrator.cli", "data", "prepare", "pipelines/graphs.yaml"]
    subprocess.run(here, cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    unbuilt = run(command, project, "sweep", "pipelines/graphs.yaml", code=2)
    assert "gnn needs PyTorch Geometric" in unbuilt and wanted in unbuilt and unbuilt.count("\n") == 1
    assert not (project / "runs").exists()
