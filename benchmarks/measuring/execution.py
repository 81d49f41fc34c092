"""One run of one way, in a process of its own that is watched from outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ways import this_project
from ways.setting import Measured, Setting

REPOSITORY = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.5
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Way:
    """`module` is run with -m; without one, the way is this project's command. `parallel`: it has the workers asked.
    `packages`: what its own virtual environment gets beside the project's packages."""

    title: str
    module: str | None
    parallel: bool = True
    tracking: bool = True
    packages: tuple[str, ...] = ()


WAYS: Mapping[str, Way] = {
    "ours": Way("this project", None),
    "ours-untracked": Way("this project, tracking off", None, tracking=False),
    "ray": Way("Ray Tune + Optuna + MLflow", "ways.ray_tune"),
    "syne": Way("Syne Tune, local backend", "ways.syne_local", packages=("syne-tune==0.16.0",)),
    "optuna-processes": Way("Optuna, n processes", "ways.optuna_processes"),
    "optuna": Way("Optuna, one process", "ways.optuna_alone", parallel=False),
    "bare": Way("bare loop", "ways.bare_loop", parallel=False),
    "bare-processes": Way("bare loops, n processes", "ways.bare_processes"),
}


@dataclass
class Watched:
    """What was seen from outside: the largest memory of the way's own process (bytes), and the CPU seconds of the
    mirror, where it has one."""

    memory: int = 0
    mirror_cpu: float = 0.0


def execute(way: str, setting: Setting, folder: Path, environments: Path) -> dict[str, Any]:
    """Run one way in the empty `folder`; returns its line of the results, without what names it.

    Raises:
        SystemExit: it failed; its last lines are printed.
    """
    chosen = WAYS[way]
    python = _environment_of(chosen, environments)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given, account = folder / "setting.json", folder / "measured.json"
    given.write_text(json.dumps(asdict(setting)), encoding="utf-8")
    if chosen.module is None:
        # In the repository, as a user would: what it looks up there (git, DVC) takes its time too.
        command, place = this_project.command(setting), REPOSITORY
    else:
        command, place = [python, "-m", chosen.module, str(given), str(account)], folder
    with (folder / "output.log").open("wb") as log:
        load, began = os.getloadavg()[0], time.time()
        process = subprocess.Popen(command, cwd=place, env=_variables(), stdout=log, stderr=log)
        watched = _watch(process)
        exited = time.time()
    if process.returncode:
        lines = (folder / "output.log").read_text(encoding="utf-8", errors="replace").splitlines()
        raise SystemExit(f"{chosen.title} failed with exit code {process.returncode}:\n" + "\n".join(lines[-30:]))
    if chosen.module is None:
        measured = this_project.measure(setting)
    else:
        measured = Measured(**json.loads(account.read_text(encoding="utf-8")))
    runs, points = _mlflow_counts(folder / "mlflow.db")
    return {
        "workers": setting.workers if chosen.parallel else 1,
        "began": began,
        "exited": exited,
        "load": load,
        "mlflow_runs": runs,
        "mlflow_points": points,
        **asdict(watched),
        **measured.account(),
        "version": _version(chosen, python),
    }


def _watch(process: subprocess.Popen[bytes]) -> Watched:
    """Until it ends."""
    watched = Watched()
    while True:
        # A process that is ending has no files to look into any more.
        with contextlib.suppress(OSError, ValueError, StopIteration):
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            watched.memory = max(watched.memory, int(peak.split()[1]) * 1024)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                if b"orchestrator.tracking.mirror" in Path(f"/proc/{child}/cmdline").read_bytes():
                    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                    watched.mirror_cpu = (int(fields[11]) + int(fields[12])) / TICKS
        try:
            process.wait(LOOK_SECONDS)
            return watched
        except subprocess.TimeoutExpired:
            continue


def _environment_of(way: Way, environments: Path) -> str:
    """The interpreter: this one, or that of a virtual environment with the way's packages, made once.

    It sees this interpreter's packages too, after its own: the training is the same.
    """
    if not way.packages:
        return sys.executable
    folder = environments / way.packages[0].partition("=")[0]
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"making a virtual environment with {', '.join(way.packages)} (once, some minutes) …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pinned = ["--constraint", str(REPOSITORY / "constraints.txt")]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *pinned, *way.packages], check=True)
        where = next((folder / "lib").glob("python*/site-packages"))
        mine = [path for path in sys.path if path.endswith("site-packages")]
        (where / "project.pth").write_text("\n".join(mine) + "\n", encoding="utf-8")
        ready.touch()
    return str(python)


def _version(way: Way, python: str) -> str:
    """Of what the way stands on, as its interpreter has it."""
    names = {"ways.ray_tune": ("ray", "optuna", "mlflow"), "ways.syne_local": ("syne-tune",)}
    names |= {"ways.optuna_processes": ("optuna",), "ways.optuna_alone": ("optuna",), None: ("ray", "mlflow")}
    code = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    command: Sequence[str] = [python, "-c", code, *names.get(way.module, ("torch",))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _variables() -> dict[str, str]:
    """This checkout's code, and MLflow nowhere but in the way's own folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_", "TUNE_"))}
    kept.pop("OMP_NUM_THREADS", None)
    paths = [str(REPOSITORY), str(REPOSITORY / "benchmarks"), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _mlflow_counts(database: Path) -> tuple[int, int]:
    """Runs and metric points that are in MLflow's store in the end."""
    if not database.exists():
        return 0, 0
    connection = sqlite3.connect(database)
    try:
        counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("runs", "metrics")]
    finally:
        connection.close()
    return counts[0], counts[1]
