"""Where a sweep came from: the code's commit, the versions of what it stands on, the machine. Imports none of it."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

PACKAGES = ("torch", "ray", "optuna", "mlflow", "dvc", "numpy", "pandas", "scikit-learn")


def collect(data: Path | None = None) -> dict[str, Any]:
    """Facts for the journal, in a few hundredths of a second; what can't be known is None.

    {"git": {"commit", "dirty", "branch"} or None, "versions": {"python", "torch", …}, "host": {"name", "platform",
    "cores", "gpus"}, "dvc": the prepared folder `data` as DVC knows it, "command": the command line}. The commit is
    that of the checkout the code runs from; a package that was installed from a wheel has none.
    """
    return {
        "git": git(Path(__file__).parent),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "host": {
            "name": platform.node(),
            "platform": platform.platform(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "gpus": gpus(),
        },
        "dvc": dvc_version(data) if data else None,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def git(folder: Path) -> dict[str, Any] | None:
    """Commit, branch, and whether tracked files differ from the commit; None where `folder` is not under git.

    A folder that git ignores (an environment inside somebody's repository) is not under git. No remote is asked.
    """
    told = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--no-renames")
    if told is None or _git(folder, "check-ignore", "--quiet", ".") is not None:
        return None
    lines = told.splitlines()
    facts = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines if line.startswith("# branch.")}
    commit = facts.get("branch.oid")
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": facts.get("branch.head"),
        "dirty": any(not line.startswith("#") for line in lines),
    }


def gpus() -> list[str]:
    """Names of NVIDIA GPUs, from the driver's own files: no library is loaded for it."""
    names = []
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        names += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
    return names


def dvc_version(folder: Path) -> str | None:
    """The hash by which DVC knows a folder or file (`md5` in the nearest dvc.lock above that names it), or None."""
    folder = folder.absolute()
    for above in folder.parents:
        lock = above / "dvc.lock"
        if lock.is_file():
            return _locked(lock, folder)
    return None


def _locked(lock: Path, folder: Path) -> str | None:
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"].values()
        entries = [entry for stage in stages for key in ("outs", "deps") for entry in stage.get(key, ())]
        paths = {os.path.normpath(lock.parent / entry["path"]): entry.get("md5") for entry in reversed(entries)}
    except (OSError, ValueError, yaml.YAMLError, KeyError, AttributeError, TypeError):
        return None
    found = paths.get(os.path.normpath(folder))
    return str(found) if found else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    # Without optional locks: asking must not disturb a git command that somebody runs at the same moment.
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
