from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.tracking import lineage


def git(folder: Path, *arguments: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *options, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / ".gitignore").write_text("environment/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    return tmp_path


def test_a_clean_checkout_tells_its_commit(checkout: Path) -> None:
    expected = {"commit": git(checkout, "rev-parse", "HEAD"), "branch": "main", "dirty": False}
    assert lineage.git(checkout) == expected


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("mine\n")
    assert lineage.git(checkout)["dirty"] is False  # type: ignore[index]
    (checkout / "code.py").write_text("a = 2\n")
    assert lineage.git(checkout)["dirty"] is True  # type: ignore[index]


def test_outside_a_checkout_or_installed_inside_one_there_is_no_commit(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert lineage.git(tmp_path_factory.mktemp("elsewhere")) is None
    installed = checkout / "environment" / "site-packages"
    installed.mkdir(parents=True)
    assert lineage.git(installed) is None


def test_without_git_on_the_machine_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert lineage.git(checkout) is None


def test_before_the_first_commit_there_is_a_branch_and_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    assert lineage.git(tmp_path) == {"commit": None, "branch": "main", "dirty": False}


def test_it_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; from orchestrator.tracking import lineage, mirror, store\n"
        "began = time.process_time(); facts = lineage.collect(); print(time.process_time() - began)\n"
        "assert facts['versions']['python'] and facts['versions']['torch'] and facts['host']['cores'] >= 1\n"
        "print(*({'torch', 'ray', 'mlflow', 'dvc', 'optuna', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, _, loaded = done.stdout.partition("\n")
    assert float(seconds) < 0.1
    assert loaded.strip() == ""


def test_dvc_tells_the_version_of_prepared_data_in_its_lock_file(tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n"
        "  prepare@digits:\n    cmd: orchestrate data prepare digits\n"
        "    outs:\n    - path: data/prepared/digits\n      hash: md5\n      md5: 0123abc.dir\n"
        "  sweep@demo:\n    deps:\n    - path: search_spaces\n      md5: 99.dir\n"
    )
    assert lineage.dvc_version(tmp_path / "data" / "prepared" / "digits") == "0123abc.dir"
    assert lineage.collect(tmp_path / "data" / "prepared" / "digits")["dvc"] == "0123abc.dir"
    assert lineage.dvc_version(tmp_path / "data" / "prepared" / "wine") is None


def test_a_lock_file_that_is_not_one_is_no_version(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert lineage.dvc_version(folder) is None
    for content in ("", "stages: [1, 2]", ": :", "stages: {a: {outs: [{md5: 1}]}}"):
        (tmp_path / "dvc.lock").write_text(content)
        assert lineage.dvc_version(folder) is None


def test_time_is_not_spent_on_a_git_that_hangs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()

    def hangs(*arguments: object, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired("git", timeout)

    monkeypatch.setattr(subprocess, "run", hangs)
    assert lineage.git(checkout) is None
    assert time.monotonic() - began < 1
