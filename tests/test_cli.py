"""The command: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import finished_run

from orchestrator import __version__, cli
from orchestrator.sweep import Options

PIPELINE = """\
name: small
data: digits
families: [mlp]
sizes: [xs]
trials: 3
finalists: 1
max_epochs: 2
"""
SPACE = "family: mlp\nparameters:\n  learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_root: Path) -> Path:
    """A user's folder, and the working one."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mlp.yaml").write_text(SPACE)
    (tmp_path / "pipelines" / "small.yaml").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_DATA", str(data_root))
    return tmp_path


def test_help_and_version(orchestrate) -> None:
    assert orchestrate("--version").out == f"orchestrate, version {__version__}\n"
    for arguments in (["--help"], ["-h"], ["sweep", "--help"]):
        said = orchestrate(*arguments)
        assert said.code == 0 and said.out.startswith("Usage: orchestrate") and not said.err


def test_without_a_command_it_shows_its_help_and_fails(orchestrate) -> None:
    said = orchestrate()
    assert said.code == 2 and "Commands:" in said.err and not said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["swep"], "error: No such command 'swep'"),
        (["sweep"], "error: Missing argument 'PIPELINE'"),
        (["sweep", "x.yaml", "--wokers", "2"], "error: No such option"),
        (["sweep", "x.yaml", "--workers", "0"], "error: Invalid value for '--workers': 0 is not in the range x>=1"),
        (["dashboard", "--port", "none"], "error: Invalid value for '--port': 'none' is not a valid integer"),
    ],
)
def test_a_wrong_call_is_one_line_and_code_2(orchestrate, arguments: list[str], message: str) -> None:
    said = orchestrate(*arguments)
    assert said.code == 2 and said.err.startswith(message) and said.err.count("\n") == 1 and not said.out


def test_data_is_listed_with_what_is_prepared(orchestrate, tmp_path: Path) -> None:
    said = orchestrate("data", "list", "--data-root", tmp_path)
    names = [line.split()[0] for line in said.out.splitlines()]
    assert said.code == 0 and names[0] == "name"
    assert {"digits", "breast_cancer", "diabetes", "wine", "fashion_mnist", "magic_gamma", "etth1"} <= set(names[1:])
    assert " yes " not in said.out
    assert orchestrate("data", "prepare", "wine", "--data-root", tmp_path).code == 0
    (wine,) = [line for line in orchestrate("data", "list", "--data-root", tmp_path).out.splitlines() if "wine" in line]
    assert " yes " in wine and " 13 " in wine and " 178 " in wine


def test_prepared_data_is_described(orchestrate, data_root: Path) -> None:
    said = orchestrate("data", "prepare", "digits", "--data-root", data_root)
    assert said.code == 0
    assert said.out.startswith(f"{data_root}/prepared/digits: classification, 1×8×8, 1079 train, 359 validation")


def test_an_own_file_is_prepared_from_the_pipelines_yaml(orchestrate, project: Path) -> None:
    rows = "".join(f"{n},{n % 7},{'yes' if n % 2 else 'no'}\n" for n in range(60))
    (project / "pipelines" / "own.csv").write_text("a,b,label\n" + rows)
    entry = "data: {name: own_rows, file: own.csv, task: classification, target: label}"
    (project / "pipelines" / "own.yaml").write_text(PIPELINE.replace("data: digits", entry))
    said = orchestrate("data", "prepare", "pipelines/own.yaml")
    assert said.code == 0 and "own_rows: classification, 2, " in said.out


def test_a_dry_run_prints_the_plan_and_makes_nothing(orchestrate, project: Path) -> None:
    before = sorted(path.name for path in project.iterdir())
    said = orchestrate("sweep", "pipelines/small.yaml", "--dry-run", "--workers", "2")
    assert said.code == 0 and not said.err
    assert "1 cell × (3 trials + 1 finalist) = 4 trials on 2 workers" in said.out
    assert "of training" in said.out and "FLOPs" in said.out
    assert sorted(path.name for path in project.iterdir()) == before


def test_several_sweeps_of_one_file_are_all_checked_before_the_first_runs(orchestrate, project: Path) -> None:
    shared = "data: digits\nfamilies: [mlp]\nsizes: [xs]\ntrials: 3\nsweeps:\n  first: {}\n  second: {max_epochs: 2}\n"
    (project / "pipelines" / "two.yaml").write_text(shared)
    both = orchestrate("sweep", "pipelines/two.yaml", "--dry-run", "--workers", "1")
    said = [line for line in both.out.splitlines() if line.startswith("Sweep ")]
    assert both.code == 0 and said == ["Sweep 1 of 2: first", "Sweep 2 of 2: second"]
    one = orchestrate("sweep", "pipelines/two.yaml", "--dry-run", "--workers", "1", "--only", "second")
    assert one.code == 0 and "Sweep " not in one.out and "at most 12)" in one.out
    (project / "pipelines" / "two.yaml").write_text(shared.replace("max_epochs: 2", "metric: validation_r2"))
    wrong = orchestrate("sweep", "pipelines/two.yaml")
    assert wrong.code == 2 and "two.yaml:7: metric: classification reports no metric 'validation_r2'" in wrong.err
    assert not wrong.out and not (project / "runs").exists()


def test_status_for_people_and_for_programs(orchestrate, tmp_path: Path) -> None:
    run_dir = finished_run(tmp_path)
    said = orchestrate("status", run_dir)
    assert said.code == 0 and said.out.startswith("made-up: finished; of 14 trials 14 asked, ")
    assert "mlp-s-0.25" in said.out and "best validation_loss" in said.out and " (2)" in said.out
    told = json.loads(orchestrate("status", run_dir, "--json").out)
    assert told["state"] == "finished" and told["trials"]["asked"] == 14


def test_export_names_what_it_wrote(orchestrate, tmp_path: Path) -> None:
    said = orchestrate("export", finished_run(tmp_path / "run"), "--out", tmp_path / "out")
    written = [Path(line) for line in said.out.splitlines()]
    assert said.code == 0 and len(written) == 6 and all(file.is_file() for file in written)


def test_ctrl_c_is_one_word_and_code_130(orchestrate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(run_dir: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.status.status", interrupted)
    said = orchestrate("status", tmp_path)
    assert (said.code, said.err.strip()) == (130, "interrupted")


def test_an_error_of_ours_is_not_hidden(orchestrate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only a user's mistake is one line; a defect shows its traceback."""

    def broken(run_dir: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("orchestrator.status.status", broken)
    with pytest.raises(ZeroDivisionError):
        orchestrate("status", tmp_path)


def test_the_module_is_the_command_too(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "status", "nowhere"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == "error: nowhere: no sweep here (no journal.db); give the folder of a run, such as runs/demo\n"


def test_the_command_that_goes_on_has_what_the_sweep_was_given() -> None:
    said = cli._resuming(Path("runs/a b"), Options(workers=3, data_root=Path("/d"), address="auto"))
    assert said == "orchestrate resume 'runs/a b' --address auto --workers 3 --data-root /d"
    assert cli._resuming(Path("runs/a"), Options()) == "orchestrate resume runs/a"
