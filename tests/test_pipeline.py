"""`dvc repro` on a clone: what runs, what does not, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator import history

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the last commit, with this tree's tracked files laid over it and committed."""
    folder = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
    changed = run(ROOT, "git", "diff", "--name-only", "--diff-filter=d", "HEAD").split()
    for name in changed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    if changed:
        run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--all", "-m", "as it is")
    return folder


def run(folder: Path, *command: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(folder)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def repro(folder: Path) -> list[str]:
    """Run the pipeline; the stages that ran."""
    printed = run(folder, sys.executable, "-m", "dvc", "repro", "report@demo")
    return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]


def test_the_committed_lock_is_that_of_the_committed_tree() -> None:
    """Else the first `make demo` of whoever clones this would change a tracked file. Mend with `make lock`."""
    printed = run(ROOT, sys.executable, "-m", "dvc", "status")
    stale = [line.strip() for line in printed.splitlines() if "modified:" in line or "new:" in line]
    assert not stale, f"dvc.lock is behind: {stale}; run `make lock` and commit dvc.lock"
    locked = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    assert {"prepare@digits", "sweep@demo", "report@demo"} <= set(locked)


@pytest.mark.slow
def test_the_pipeline_runs_once_leaves_nothing_behind_and_follows_an_edited_space(clone: Path) -> None:
    assert repro(clone) == ["prepare@digits", "sweep@demo", "report@demo"]
    assert run(clone, "git", "status", "--porcelain") == ""
    assert (clone / "reports" / "demo" / "index.html").exists()
    told = history.of(clone / "runs" / "demo")
    assert len(told.trials) >= 60
    assert len(told.cells) == 18

    assert repro(clone) == []

    space = clone / "search_spaces" / "lenet.yaml"
    space.write_text(space.read_text().replace("1.0e-4", "2.0e-4", 1))
    assert repro(clone) == ["sweep@demo", "report@demo"]
    shown = json.loads(run(clone, sys.executable, "-m", "dvc", "metrics", "show", "--json"))[""]["data"]
    made = json.loads((clone / "reports" / "demo" / "metrics.json").read_text())
    assert shown["reports/demo/metrics.json"]["data"] == made and "lenet.test_loss" in made
