"""Kills the processes of real sweeps at random moments, and checks that nothing is lost, doubled or changed.

    python benchmarks/kill_drill.py --kills 100 --seed 0 --out drill.json

A real MLflow server (on SQLite) tracks. Half of the kills meet a sweep of one worker, whose tables must be in the
end, to the last bit, those of the same sweep never killed; the others one of two workers. Victims: the driver, a
worker, the mirror, the MLflow server, Ray's raylet and its GCS (which are what a node is made of), or all at once.
After a driver's end the sweep is taken up by the same command or by `orchestrate resume`, whichever chance says. The
exit code is 1 if any check failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import history, journal

SPACE = """
family: mlp
parameters:
  learning_rate: {type: float, low: 1.0e-3, high: 1.0e+2, log: true}
  batch_size: {type: choice, values: [8, 16]}
  optimizer: {type: choice, values: [sgd, adam]}
  momentum: {type: float, low: 0.5, high: 0.95, when: {optimizer: [sgd]}}
"""
PIPELINE = """
name: drill
data: digits
families: [mlp]
sizes: [xs, s]
data_fractions: [1.0]
metric: validation_accuracy
trials: 9
finalists: 2
max_epochs: 150
"""
# A part of a process's command line → the victim that it is.
VICTIMS = {
    "driver": "orchestrator.cli",
    "worker": "ray::",  # or an agent of Ray's, which bears such a name too
    "mirror": "orchestrator.tracking.mirror",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
}
CLOCKS = {"seconds", "samples_per_second", "started", "ended", "worker", "worker_seconds"}
# A driver whose Ray is dead must notice; a sweep must go on.
PATIENCE = 180.0
KILLS_A_SWEEP = 20
EVENTS_BETWEEN_KILLS = 150


@dataclass
class Drill:
    folder: Path
    chance: random.Random
    kills: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    server: subprocess.Popen[bytes] | None = None
    port: int = 0

    # ---- processes ------------------------------------------------------------------------------------------

    def start_server(self) -> None:
        self.port = self.port or _free_port()
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"),
            *("--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1"),
        ]
        log = (self.folder / "server.log").open("ab")
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)

    def wait_for_server(self) -> None:
        """Only before the first kill: MLflow can't go on with a schema that a kill left half made, and says so."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health"):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def kill_server(self) -> None:
        if self.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, signal.SIGKILL)
            self.server.wait()

    def start_driver(self, project: Path, workers: int, resume: bool) -> subprocess.Popen[bytes]:
        what = ["resume", "runs/drill"] if resume else ["sweep", "pipelines/drill.yaml"]
        log = (project / "driver.log").open("ab")
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", *what, "--workers", str(workers)],
            cwd=project,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def kill(self, driver: subprocess.Popen[bytes], run_dir: Path) -> None:
        """Kill a random victim among what is alive now, and note what was."""
        family = descendants(driver.pid)
        alive = {name: [pid for pid, said in family.items() if part in said] for name, part in VICTIMS.items()}
        possible = [name for name, pids in alive.items() if pids]
        # A driver's death is what costs most; it comes as often as the rest together.
        victim = self.chance.choice([*possible, *["driver"] * 3, "server", "everything"])
        if victim == "server":
            self.kill_server()
            pids: list[int] = []
        elif victim == "everything":
            pids = [*family, driver.pid]
            self.kill_server()
        else:
            pids = [self.chance.choice(alive.get(victim) or [driver.pid])]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        events = _events(run_dir)
        self.kills.append({"victim": victim, "events": events, "run": run_dir.parents[1].name})
        print(f"{len(self.kills):4d}  {victim:10s} after {events} events of {run_dir.parents[1].name}", flush=True)

    # ---- one sweep ------------------------------------------------------------------------------------------

    def sweep(self, name: str, workers: int, kills: int, seed: int) -> Path:
        """Run a sweep to its end through `kills` kills; fewer if it ends before."""
        project = write_project(self.folder / name, seed)
        run_dir = project / "runs" / "drill"
        driver = self.start_driver(project, workers, resume=False)
        until = len(self.kills) + kills
        try:
            while len(self.kills) < until:
                self.wait_for_a_moment(driver, run_dir)
                if driver.poll() is None:
                    self.kill(driver, run_dir)
                    self.go_on_after(driver)
                if driver.poll() == 0:
                    break
                if driver.poll() is not None:  # killed, or gone by itself: a worker's death may take Ray with it
                    driver = self.start_driver(project, workers, resume=self._can_resume(run_dir))
            while self.wait(driver, run_dir) != 0:  # what was killed last may still be on its way out
                driver = self.start_driver(project, workers, resume=self._can_resume(run_dir))
        except subprocess.TimeoutExpired:
            self.problems.append(f"{name}: the driver hangs")
            for pid in [*descendants(driver.pid), driver.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return run_dir

    def wait_for_a_moment(self, driver: subprocess.Popen[bytes], run_dir: Path) -> None:
        """One in three falls into the start-up, before the journal exists included; the others among the epochs."""
        if self.chance.random() < 1 / 3:
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(self.chance.uniform(0.5, 10.0))
            return
        self.wait(driver, run_dir, _events(run_dir) + self.chance.randint(1, EVENTS_BETWEEN_KILLS))
        time.sleep(self.chance.uniform(0.0, 0.1))

    def wait(self, driver: subprocess.Popen[bytes], run_dir: Path, until: float = math.inf) -> int | None:
        """Until the driver has ended, or the journal has so many events; what the driver returned.

        Raises:
            TimeoutExpired: neither, and nothing new in the journal for a long time: a busy machine is only slow.
        """
        seen, since = -1, time.monotonic()
        while driver.poll() is None and (count := _events(run_dir)) < until:
            if count > seen:
                seen, since = count, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise subprocess.TimeoutExpired("the sweep", PATIENCE)
            time.sleep(0.02)
        return driver.poll()

    def go_on_after(self, driver: subprocess.Popen[bytes]) -> None:
        """Give what was killed the time to be noticed; a server comes back after a while."""
        victim = self.kills[-1]["victim"]
        if victim in ("driver", "everything"):
            driver.wait()
        elif victim in ("raylet", "gcs"):
            began = time.monotonic()
            driver.wait(PATIENCE)
            self.kills[-1]["noticed_after"] = round(time.monotonic() - began, 1)
        if victim in ("server", "everything"):
            time.sleep(self.chance.uniform(0.0, 3.0))
            self.start_server()

    def _can_resume(self, run_dir: Path) -> bool:
        planned = (run_dir / journal.FILE).exists() and bool(history.of(run_dir).plan)
        return planned and self.chance.random() < 0.5

    # ---- what must hold -------------------------------------------------------------------------------------

    def check(self, run_dir: Path, trials: int) -> dict[str, int]:
        """Every trial once and ended, every epoch and decision once, MLflow equal to the journal."""
        name = run_dir.parents[1].name
        events = journal.events(run_dir)
        told = history.fold(events)
        # By what they say, not by their keys, which the journal itself keeps apart.
        said = Counter((e.kind, e.trial, e.content["epoch"]) for e in events if e.kind in ("reported", "decided"))
        doubled = sum(count - 1 for count in said.values())
        ends: Counter[str] = Counter()
        for event in events:
            if event.kind == "retried":
                ends[str(event.trial)] = 0
            elif event.kind == "ended":
                ends[str(event.trial)] += 1
        doubled += sum(count - 1 for count in ends.values())
        lost = trials - len(told.trials)
        for trial, one in told.trials.items():
            epochs = [row["epoch"] for row in one.reports]
            if epochs != list(range(1, len(epochs) + 1)):
                self.problems.append(f"{name}: {trial} has the epochs {epochs}")
            if one.status not in ("complete", "pruned", "diverged"):
                self.problems.append(f"{name}: {trial} is {one.status}: {one.reason}")
        if lost or doubled or told.closed != "finished":
            self.problems.append(f"{name}: {lost} trials lost, {doubled} events doubled, {told.closed}")
        os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{self.port}"
        differs = self._mlflow_differs(run_dir)
        if differs:
            self.problems.append(f"{name}: MLflow differs from the journal: {differs}")
        return {"trials": len(told.trials), "epochs": told.reports, "lost": lost, "doubled": doubled}

    def _mlflow_differs(self, run_dir: Path) -> str:
        from orchestrator.tracking.mirror import sync
        from orchestrator.tracking.verify import verify

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                sync(run_dir)
                counted = verify(run_dir)
                return "" if counted["mlflow"] == counted["journal"] else str(counted)
            except Exception as error:  # a server that is only just coming up
                if time.monotonic() > deadline:
                    return f"{type(error).__name__}: {error}"
                time.sleep(1)


def _events(run_dir: Path) -> int:
    """How many events the journal holds."""
    path = run_dir / journal.FILE
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
        except sqlite3.OperationalError:  # its first step
            return 0


def tables(run_dir: Path) -> str:
    """All results of a sweep, without what a clock or a process number decides."""
    found = history.tables(history.of(run_dir))
    return repr({
        name: [{key: value for key, value in row.items() if key not in CLOCKS} for row in rows]
        for name, rows in found.items()
    })  # fmt: skip


def descendants(root: int) -> dict[int, str]:
    """Command lines of the processes below `root`, and of Ray's that began there and were left to init."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    sessions: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)], sessions[int(entry.name)] = int(fields[1]), int(fields[3])
                commands[int(entry.name)] = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
    below = {root}
    while grown := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= grown
    return {pid: commands[pid] for pid in below - {root} if pid in commands} | {root: commands.get(root, "")}


def write_project(folder: Path, seed: int) -> Path:
    for name, text in (("search_spaces/mlp.yaml", SPACE), ("pipelines/drill.yaml", f"{PIPELINE}seed: {seed}\n")):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def drill(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run it, in sweeps of at most `KILLS_A_SWEEP`, with one worker and with two in turn."""
    began = time.monotonic()
    one = Drill(folder, random.Random(seed))
    trials = 2 * (9 + 2)
    checked: list[dict[str, Any]] = []
    one.start_server()
    try:
        one.wait_for_server()
        number = 0
        while len(one.kills) < kills:
            workers = 1 + number % 2
            run_dir = one.sweep(f"killed-{number}", workers, min(KILLS_A_SWEEP, kills - len(one.kills)), seed=number)
            result: dict[str, Any] = {"sweep": number, "workers": workers, **one.check(run_dir, trials)}
            if workers == 1:
                whole = one.sweep(f"whole-{number}", 1, 0, seed=number)
                result["identical"] = tables(run_dir) == tables(whole)
                if not result["identical"]:
                    one.problems.append(f"killed-{number}: its tables are not those of the sweep never killed")
            checked.append(result)
            print(result, flush=True)
            number += 1
    finally:
        one.kill_server()
    victims = dict(Counter(kill["victim"] for kill in one.kills).most_common())
    noticed = [kill["noticed_after"] for kill in one.kills if "noticed_after" in kill]
    return {
        "kills": len(one.kills),
        "victims": victims,
        "longest_to_notice_a_dead_ray": max(noticed, default=None),
        "sweeps": checked,
        "lost": sum(result["lost"] for result in checked),
        "doubled": sum(result["doubled"] for result in checked),
        "problems": one.problems,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrate-drill-") as folder:
        result = drill(options.kills, options.seed, Path(folder))
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
