"""The lines of the results, and the tables that are made of them.

A line is one run of one way: {"case", "way", "repeat", "trials", …what was measured}. Times in seconds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring.cases import CASES
from measuring.execution import WAYS

Line = Mapping[str, Any]

DEFINITIONS = """\
* wall: from the start of the way's process to its exit, MLflow written where there is one.
* start-up: from the same start until an epoch's numbers first reach whoever decides (this project: they are in the
  journal; Ray Tune, Syne Tune: the event loop has them; Optuna: trial.report is called; a loop: it has them).
* wind-down: from the end of the last trial to the exit.
* training: sum over all epochs of the seconds of training and validation, as `fit` measures them in all ways.
* overhead a trial: ((wall − start-up) × workers − training reported after start-up) / trials; including start-up:
  (wall × workers − training) / trials.
* overhead a report: all of the overhead, without start-up, laid on the reports: an upper bound.
* wall ÷ bare loop: (wall − start-up) a trial, over the bare loop's seconds a trial ÷ workers, its start-up excluded
  too. A bare loop is one process on an idle machine; "side by side" are as many as there are workers.
* first, last tenth: seconds a trial between the ends of the first, and of the last, tenth of the trials.
* driver's memory: the peak of the way's own process (workers and mirror are processes of their own)."""


def read(path: Path) -> list[dict[str, Any]]:
    """All lines so far; none where there is no file. A line that a kill cut short is as if it were not there."""
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def add(path: Path, line: Line) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if whole else "") + json.dumps(line) + "\n")


def find(lines: Iterable[Line], **named: object) -> Line | None:
    return next((line for line in lines if all(line[key] == value for key, value in named.items())), None)


# ---- what is made of one line --------------------------------------------------------------------------------------


def wall(line: Line) -> float:
    return float(line["exited"] - line["began"])


def once_up(line: Line) -> float:
    """Wall without start-up."""
    return float(line["exited"] - line["first_report"])


def spent_once_up(line: Line) -> float:
    """Seconds of workers beyond training, without start-up."""
    return once_up(line) * line["workers"] - (line["training"] - line["training_before"])


def tenth(line: Line, number: int) -> float | None:
    """Seconds a trial; None of so few trials that workers which take turns would make it up."""
    return float(line["pace"][number]) if line["trials"] >= 100 else None


def growth(line: Line) -> float | None:
    first, last = tenth(line, 0), tenth(line, -1)
    return last / first if first and last else None


@dataclass(frozen=True)
class Row:
    """`value` of a line; None: the way has none."""

    title: str
    form: str
    value: Callable[[Line], float | None]


ROWS = (
    Row("trials", ".0f", lambda line: line["trials"]),
    Row("epochs", ".0f", lambda line: line["epochs"]),
    Row("worker processes", ".0f", lambda line: line["processes"]),
    Row("wall, s", ".1f", wall),
    Row("start-up, s", ".1f", lambda line: line["first_report"] - line["began"]),
    Row("wind-down, s", ".1f", lambda line: line["exited"] - line["last_end"]),
    Row("training, s a trial", ".3f", lambda line: line["training"] / line["trials"]),
    Row("**overhead, s a trial**", ".3f", lambda line: spent_once_up(line) / line["trials"]),
    Row("… including start-up", ".3f", lambda line: (wall(line) * line["workers"] - line["training"]) / line["trials"]),
    Row("overhead, ms a report", ".1f", lambda line: 1000 * spent_once_up(line) / line["epochs"]),
    Row("first tenth, s a trial", ".4f", lambda line: tenth(line, 0)),
    Row("last tenth, s a trial", ".4f", lambda line: tenth(line, -1)),
    Row("last ÷ first tenth", ".2f", growth),
    Row("driver's memory, MB", ".0f", lambda line: line["memory"] / 1e6),
    Row("mirror's CPU, s", ".1f", lambda line: line["mirror_cpu"] or None),
    Row(
        *("journal, bytes a report", ".0f"),
        lambda line: line["journal_bytes"] / line["epochs"] if line["journal_bytes"] else None,
    ),
    Row("MLflow runs", ".0f", lambda line: line["mlflow_runs"] or None),
    Row("MLflow points", ".0f", lambda line: line["mlflow_points"] or None),
)


# ---- of two ways, one value a repeat -------------------------------------------------------------------------------


def over_bare(line: Line, bare: Line) -> float:
    """Both without start-up, each trial; the bare loop's divided by the workers that it lacks."""
    alone = (bare["last_end"] - bare["first_report"]) / bare["trials"] * bare["workers"]
    return (once_up(line) / line["trials"]) / (alone / line["workers"])


@dataclass(frozen=True)
class Ratio:
    title: str
    over: str
    under: str
    value: Callable[[Line, Line], float]
    goal: str = ""


def _per_trial(of: Callable[[Line], float]) -> Callable[[Line, Line], float]:
    return lambda over, under: (of(over) / over["trials"]) / (of(under) / under["trials"])


RATIOS = (
    Ratio("wall ÷ (bare loop ÷ workers)", "ours", "bare", over_bare, "1.15 for 10 s, 1.5 for 2 s"),
    Ratio("wall ÷ bare loops side by side", "ours", "bare-processes", over_bare),
    *(
        Ratio(f"overhead a trial, {title} ÷ this project", way, "ours", _per_trial(spent_once_up), goal)
        for way, title, goal in (
            ("ray", "documented Ray Tune", "≥ 20"),
            ("syne", "Syne Tune", ""),
            ("optuna-processes", "Optuna in n processes", ""),
        )
    ),
    Ratio("wall without start-up, tracking on ÷ off", "ours", "ours-untracked", _per_trial(once_up), "≤ 1.05"),
)


# ---- tables --------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float], form: str) -> str:
    """The median, and between which values; or the one value."""
    low, middle, high = (format(one, form) for one in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def table(name: str, lines: Sequence[Line]) -> str:
    """One case in Markdown: a column a way; then the ratios."""
    by_way = {way: [line for line in lines if line["way"] == way] for way in WAYS}
    by_way = {way: some for way, some in by_way.items() if some}
    repeats = max(len(some) for some in by_way.values())
    loads = [line["load"] for line in lines]
    workers = max(line["workers"] for line in lines)
    told = [
        f"### {CASES[name].title}",
        f"{workers} workers on {lines[0]['cores']} cores, {repeats} repeats: median (least–most); load average before "
        f"each run {min(loads):.1f} to {max(loads):.1f}.",
        "| | " + " | ".join(WAYS[way].title for way in by_way) + " |\n" + "|---" * (1 + len(by_way)) + "|",
    ]
    rows = []
    for row in ROWS:
        cells = []
        for some in by_way.values():
            values = [value for value in map(row.value, some) if value is not None]
            cells.append(spread(values, row.form) if values else "")
        if any(cells):
            rows.append(f"| {row.title} | " + " | ".join(cells) + " |")
    told[-1] += "\n" + "\n".join(rows)
    ratios = [_ratio(ratio, by_way) for ratio in RATIOS if ratio.over in by_way and ratio.under in by_way]
    same = [(line["same_epochs"], line["epochs"]) for line in by_way.get("bare", ())]
    if same:
        equal, done = (sum(numbers) for numbers in zip(*same, strict=True))
        ratios.append(f"* epochs of the bare loop whose losses are this project's to the last bit: {equal} of {done}")
    return "\n\n".join([*told, "\n".join(one for one in ratios if one)])


def _ratio(ratio: Ratio, by_way: Mapping[str, Sequence[Line]]) -> str:
    values = []
    for line in by_way[ratio.over]:
        other = find(by_way[ratio.under], repeat=line["repeat"])
        if other is not None:
            values.append(ratio.value(line, other))
    goal = f" (goal: {ratio.goal})" if ratio.goal else ""
    return f"* {ratio.title}: {spread(values, '.2f')}{goal}" if values else ""


def tables(lines: Sequence[Line]) -> str:
    """All cases that were measured."""
    parts = [DEFINITIONS]
    for name in CASES:
        if some := [line for line in lines if line["case"] == name]:
            parts.append(table(name, some))
    versions = sorted({f"{WAYS[line['way']].title}: {line['version']}" for line in lines})
    return "\n\n".join([*parts, "Versions: " + "; ".join(versions) + "."])
