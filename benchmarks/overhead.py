"""What a sweep costs beside its training: the same small sweep run several ways.

    python benchmarks/overhead.py --repeats 3

    a  this project        `orchestrate sweep`, its MLflow mirror on
    b  Ray Tune + MLflow   OptunaSearch, ASHAScheduler, MLflowLoggerCallback, as Ray's documentation wires them
    c  Optuna alone        study.optimize with its successive-halving pruner, in memory, one process
    d  bare loop           the trials and epochs that (a) ran, one after another, one process, one thread

All train digits with this project's MLP and `fit`, on the same prepared data, from the same search space, one thread a
trial. (a), (b) and (c) stop trials by successive halving with the same min_epochs and reduction factor; (b) and (c)
keep Optuna's default sampler. So they don't train the same configurations, nor equally many epochs: overhead is
what is beyond training. Each way is a process of its own, timed from its start to its exit, imports, MLflow and all.
The ways take turns, so that what else the machine does falls on all alike; repeat r has seed r.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ways import this_project
from ways.setting import FAMILY, Measured, Setting

REPOSITORY = Path(__file__).resolve().parent.parent

DEFINITIONS = """\
wall        from the start of the way's process to its exit, MLflow written where there is one
start-up    from the same start until an epoch's numbers first reach whoever decides: (a) they are in the journal,
            (b) Tune's event loop has them, (c) trial.report is called, (d) the loop has them
wind-down   from the end of the last trial to the exit
training    sum over all epochs of the seconds of training and validation, as `fit` measures them in all ways
overhead    including start-up: (wall × workers − training) / trials
            excluding: ((wall − start-up) × workers − training reported after start-up) / trials
processes   distinct worker processes that trained (in (c) and (d) the process itself)
workers     (a) and (b) as asked, (c) and (d) one"""


@dataclass(frozen=True)
class Way:
    """`module` is run with -m; without one, the way is this project's command. `parallel`: it has the workers asked."""

    title: str
    module: str | None
    parallel: bool


WAYS = {
    "a": Way("this project", None, True),
    "b": Way("Ray Tune + MLflow", "ways.ray_tune", True),
    "c": Way("Optuna alone", "ways.optuna_alone", False),
    "d": Way("bare loop", "ways.bare_loop", False),
}


@dataclass(frozen=True)
class Run:
    """One run of one way: its own account, and the clock outside of it."""

    way: str
    workers: int
    began: float
    exited: float
    measured: Measured
    mlflow_runs: int
    mlflow_points: int

    @property
    def wall(self) -> float:
        return self.exited - self.began

    @property
    def startup(self) -> float:
        return self.measured.first_report - self.began

    @property
    def once_up(self) -> float:
        return self.exited - self.measured.first_report

    @property
    def once_up_trials(self) -> float:
        """As `once_up`, without the wind-down."""
        return self.measured.last_end - self.measured.first_report

    @property
    def overhead(self) -> float:
        return (self.wall * self.workers - self.measured.training) / self.measured.trials

    @property
    def overhead_once_up(self) -> float:
        after = self.measured.training - self.measured.training_before
        return (self.once_up * self.workers - after) / self.measured.trials


COLUMNS: dict[str, tuple[str, Callable[[Run], float]]] = {
    "wall s": (".1f", lambda run: run.wall),
    "start-up s": (".1f", lambda run: run.startup),
    "wind-down s": (".1f", lambda run: run.exited - run.measured.last_end),
    "training s": (".1f", lambda run: run.measured.training),
    "overhead s/trial excl. start-up": (".3f", lambda run: run.overhead_once_up),
    "overhead s/trial incl. start-up": (".3f", lambda run: run.overhead),
    "worker processes": (".0f", lambda run: run.measured.processes),
    "trials": (".0f", lambda run: run.measured.trials),
    "epochs": (".0f", lambda run: run.measured.epochs),
    "MLflow runs": (".0f", lambda run: run.mlflow_runs),
    "MLflow points": (".0f", lambda run: run.mlflow_points),
}


@dataclass(frozen=True)
class Ratio:
    """Of two ways, one value a repeat."""

    title: str
    over: str
    under: str
    value: Callable[[Run, Run], float]
    goal: str


RATIOS = (
    Ratio(
        "overhead per trial, (b) ÷ (a), excluding start-up",
        *("b", "a", lambda b, a: b.overhead_once_up / a.overhead_once_up, "≥ 10"),
    ),
    Ratio(
        "overhead per trial, (b) ÷ (a), including start-up",
        *("b", "a", lambda b, a: b.overhead / a.overhead, "≥ 10"),
    ),
    Ratio(
        "once workers are up: wall of (a) to its exit ÷ (wall of (d) ÷ workers)",
        *("a", "d", lambda a, d: a.once_up / (d.once_up_trials / a.workers), "≤ 2"),
    ),
    Ratio(
        "the same, (a) only to the end of its last trial",
        *("a", "d", lambda a, d: a.once_up_trials / (d.once_up_trials / a.workers), ""),
    ),
)


def execute(way: str, setting: Setting) -> Run:
    """Run one way in a process of its own.

    Raises:
        SystemExit: it failed; its last lines are printed.
    """
    folder, chosen = Path(setting.folder), WAYS[way]
    folder.mkdir()
    given, account = folder / "setting.json", folder / "measured.json"
    given.write_text(json.dumps(asdict(setting)), encoding="utf-8")
    if chosen.module is None:
        # In the repository, as a user would: what it looks up there (git, DVC) takes its time too.
        command, place = this_project.command(setting), REPOSITORY
    else:
        command, place = [sys.executable, "-m", chosen.module, str(given), str(account)], folder
    with (folder / "output.log").open("wb") as log:
        began = time.time()
        code = subprocess.run(command, cwd=place, env=_environment(), stdout=log, stderr=log, check=False).returncode
        exited = time.time()
    if code:
        lines = (folder / "output.log").read_text(encoding="utf-8", errors="replace").splitlines()
        raise SystemExit(f"({way}) {chosen.title} failed with exit code {code}:\n" + "\n".join(lines[-30:]))
    if chosen.module is None:
        measured = this_project.measure(setting)
    else:
        measured = Measured(**json.loads(account.read_text(encoding="utf-8")))
    workers = setting.workers if chosen.parallel else 1
    return Run(way, workers, began, exited, measured, *_mlflow_counts(folder / "mlflow.db"))


def _environment() -> dict[str, str]:
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


def spread(values: Sequence[float], form: str) -> str:
    """`min / median / max`, or the one value."""
    if len(set(values)) == 1:
        return format(values[0], form)
    return " / ".join(format(value, form) for value in (min(values), statistics.median(values), max(values)))


def report(repeats: Sequence[dict[str, Run]]) -> str:
    """The table and the ratios."""
    ways = list(repeats[0])
    cells = [["", *(f"({way}) {WAYS[way].title}" for way in ways)]]
    for title, (form, value) in COLUMNS.items():
        cells.append([title, *(spread([value(one[way]) for one in repeats], form) for way in ways)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    lines.append("")
    for ratio in RATIOS:
        if ratio.over in ways and ratio.under in ways:
            values = [ratio.value(one[ratio.over], one[ratio.under]) for one in repeats]
            lines.append(f"{ratio.title}: {spread(values, '.2f')}" + (f"  (goal {ratio.goal})" if ratio.goal else ""))
    if "d" in ways:
        done = sum(one["d"].measured.epochs for one in repeats)
        same = sum(one["d"].measured.same_epochs or 0 for one in repeats)
        lines.append(f"epochs of (d) whose losses are those of (a) to the last bit: {same} of {done}")
    return "\n".join(lines)


def prepare(arguments: argparse.Namespace, folder: Path) -> Setting:
    """The data, once, and a copy of the search space, for all ways."""
    from orchestrator.data import CATALOG
    from orchestrator.data.prepare import prepare as prepare_data

    prepare_data(CATALOG["digits"], folder / "data")
    (folder / "search_spaces").mkdir()
    shutil.copy(REPOSITORY / "search_spaces" / f"{FAMILY}.yaml", folder / "search_spaces")
    return Setting(
        folder="",
        data_root=str(folder / "data"),
        data_set="digits",
        spaces=str(folder / "search_spaces"),
        trials=arguments.trials,
        max_epochs=arguments.epochs,
        workers=arguments.workers,
        seed=0,
        size="m",
        min_epochs=2,
        reduction_factor=3,
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=20, help="at most, of a trial")
    parser.add_argument("--workers", type=int, default=2, help="of the ways that have workers")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", default="".join(WAYS), help="ways to run, such as ab; d needs a")
    parser.add_argument("--json", type=Path, help="write every run's numbers there")
    chosen = parser.parse_args()
    if not chosen.only or set(chosen.only) - set(WAYS) or ("d" in chosen.only and "a" not in chosen.only):
        parser.error(f"--only takes letters of {''.join(WAYS)}, and d with a alone: its trials are those of a")
    return chosen


def main() -> None:
    chosen = arguments()
    sys.path.insert(0, str(REPOSITORY))
    repeats: list[dict[str, Run]] = []
    loads: list[float] = []
    with tempfile.TemporaryDirectory(prefix="overhead-") as temporary:
        folder = Path(temporary)
        base = prepare(chosen, folder)
        for repeat in range(chosen.repeats):
            done: dict[str, Run] = {}
            for way in (one for one in WAYS if one in chosen.only):
                replay = str(folder / f"{repeat}a" / this_project.NAME) if way == "d" else ""
                setting = replace(base, folder=str(folder / f"{repeat}{way}"), seed=repeat, replay=replay)
                loads.append(os.getloadavg()[0])
                run = done[way] = execute(way, setting)
                ends = ", ".join(f"{count} {status}" for status, count in sorted(run.measured.statuses.items()))
                title = f"({way}) {WAYS[way].title}"
                told = f"{run.measured.epochs} epochs, {ends}"
                print(f"repeat {repeat}  {title:22} {run.wall:7.1f} s  {told}", flush=True)
            repeats.append(done)
    workers = f"{chosen.workers} workers on {os.cpu_count()} cores"
    print(f"\n{chosen.trials} trials of at most {chosen.epochs} epochs, {workers}, {chosen.repeats} repeats", end="")
    print(f" (min / median / max); load average {min(loads):.1f} to {max(loads):.1f}\n\n{DEFINITIONS}\n")
    print(report(repeats))
    if chosen.json:
        numbers: list[dict[str, Any]] = [{way: asdict(run) for way, run in one.items()} for one in repeats]
        chosen.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
