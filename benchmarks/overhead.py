"""What a sweep costs beside its training: the same small sweeps run in several ways.

    python benchmarks/overhead.py --list                              cases, ways, what has been measured
    python benchmarks/overhead.py --cases 40x2 400x2 --repeats 3      measure what is missing of these
    python benchmarks/overhead.py --table                             print the tables of all that was measured

Each measurement is one line of the results, written when it is done: stopped and started again, what is there is not
measured anew. Every way trains digits with this project's MLP and `fit`, on the same prepared data, from the same
search space, one thread a trial; what a way leaves at its default is at its default: its sampler too, so the
configurations are not the same (the bare loops' are those of this project's run). Each run is a process of its own,
timed from its start to its exit, imports, MLflow and all. The ways take turns, so that what else the machine does falls
on all alike; repeat r has seed r.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import results
from measuring.cases import CASES, write_space
from measuring.execution import REPOSITORY, WAYS, execute
from ways import this_project
from ways.setting import FAMILY, Setting

DATA = "digits"


def wanted(chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What names each measurement that is asked for, in the order in which they are made."""
    for repeat in range(chosen.repeats):
        for name in chosen.cases:
            for way in CASES[name].ways:
                if not chosen.ways or way in chosen.ways:
                    trials = CASES[name].trials_of(way)
                    yield {"case": name, "way": way, "repeat": repeat, "trials": min(trials, chosen.trials or trials)}


def measure(named: dict[str, Any], chosen: argparse.Namespace) -> dict[str, Any]:
    """Run it; returns its line.

    Raises:
        SystemExit: it failed, or it repeats a run of this project that is not there.
    """
    case, way = CASES[named["case"]], named["way"]
    place = chosen.folder / named["case"] / str(named["repeat"])
    spaces, replay = place / "search_spaces", place / "ours" / this_project.NAME
    if way.startswith("bare") and not replay.is_dir():
        raise SystemExit(f"{way} repeats this project's trials, and {replay} is not there; measure `ours` first")
    write_space(case, FAMILY, spaces, REPOSITORY / "search_spaces")
    setting = Setting(
        folder=str(place / way),
        data_root=str(chosen.folder / "data"),
        data_set=DATA,
        data_fraction=case.data_fraction,
        spaces=str(spaces),
        trials=named["trials"],
        max_epochs=case.epochs,
        workers=chosen.workers,
        seed=named["repeat"],
        size=case.size,
        halving=case.halving,
        tracking=WAYS[way].tracking,
        replay=str(replay),
    )
    found = execute(way, setting, place / way, chosen.folder / "environments")
    if found["trials"] != named["trials"]:
        print(f"  asked for {named['trials']} trials, {found['trials']} ended", flush=True)
    about = {"cores": os.cpu_count(), "commit": _commit(), "when": time.strftime("%Y-%m-%d %H:%M")}
    return {**found, **about, **named, "trials": found["trials"], "asked": named["trials"]}


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def prepare(folder: Path) -> None:
    """The data, once, for all ways."""
    from orchestrator.data import CATALOG
    from orchestrator.data.prepare import prepare as prepare_data

    folder.mkdir(parents=True, exist_ok=True)
    prepare_data(CATALOG[DATA], folder / "data")


def show(lines: list[dict[str, Any]]) -> None:
    """What there is to measure, and how often it was."""
    for name, case in CASES.items():
        print(f"{name:12} {case.title}")
        for way in case.ways:
            done = [line for line in lines if (line["case"], line["way"]) == (name, way)]
            walls = ", ".join(f"{results.wall(line):.0f} s" for line in done)
            print(f"    {way:17} {case.trials_of(way):6} trials   {walls or '—'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["search"], choices=list(CASES), metavar="CASE")
    parser.add_argument("--ways", nargs="+", default=[], choices=list(WAYS), metavar="WAY", help="only these")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="of the ways that have workers")
    parser.add_argument("--trials", type=int, help="fewer, to try it out; give --out too")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "overhead", help="for what the ways write")
    parser.add_argument("--out", type=Path, help="the results  [default: results.jsonl in the folder]")
    parser.add_argument("--list", action="store_true", help="cases and ways, and measure nothing")
    parser.add_argument("--table", action="store_true", help="print the tables, and measure nothing")
    chosen = parser.parse_args()
    chosen.folder = chosen.folder.absolute()
    chosen.out = chosen.out or chosen.folder / "results.jsonl"
    return chosen


def main() -> None:
    chosen = arguments()
    sys.path.insert(0, str(REPOSITORY))
    if chosen.list:
        return show(results.read(chosen.out))
    if not chosen.table:
        prepare(chosen.folder)
        for named in wanted(chosen):
            asked = {**{key: named[key] for key in ("case", "way", "repeat")}, "asked": named["trials"]}
            if results.find(results.read(chosen.out), **asked):
                continue
            line = measure(named, chosen)
            results.add(chosen.out, line)
            told = f"{line['trials']} trials, {line['epochs']} epochs, {line['training']:.1f} s of training"
            print(f"repeat {line['repeat']}  {line['case']:11} {line['way']:17} {results.wall(line):7.1f} s  {told}")
    print(results.tables(results.read(chosen.out)))


if __name__ == "__main__":
    main()
