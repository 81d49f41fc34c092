"""Through this project: `orchestrate sweep` on a YAML of its own, MLflow mirror on, as a user starts it.

There is nothing to run here but the command itself; afterwards the journal tells what was done.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import yaml

from ways.setting import FAMILY, METRIC, Measured, Setting

NAME = "overhead"


def command(setting: Setting) -> list[str]:
    """The command line, after writing the pipeline that it names."""
    pipeline = Path(setting.folder) / "overhead.yaml"
    content = {
        "name": NAME,
        "data": setting.data_set,
        "families": [FAMILY],
        "sizes": [setting.size],
        "data_fractions": [setting.data_fraction],
        "metric": METRIC,
        "trials": setting.trials,
        "finalists": 0,
        "max_epochs": setting.max_epochs,
        "early_stopping": {
            "name": "halving" if setting.halving else "none",
            "min_epochs": setting.min_epochs,
            "reduction_factor": float(setting.reduction_factor),
        },
        "tracking": setting.tracking,
        "seed": setting.seed,
        "workers": setting.workers,
        "search_spaces": setting.spaces,
    }
    pipeline.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    places = ["--runs", setting.folder, "--data-root", setting.data_root]
    return [sys.executable, "-m", "orchestrator.cli", "sweep", str(pipeline), *places]


def measure(setting: Setting) -> Measured:
    from orchestrator import history, journal

    run_dir = Path(setting.folder) / NAME
    events = journal.events(run_dir)
    told = history.fold(events)
    reports = [event for event in events if event.kind == "reported"]
    first = min(event.time for event in reports)
    return Measured(
        epochs=len(reports),
        training=sum(event.content["seconds"] for event in reports),
        training_before=sum(event.content["seconds"] for event in reports if event.time <= first),
        first_report=first,
        ends=[event.time for event in events if event.kind == "ended"],
        journal_bytes=sum(file.stat().st_size for file in run_dir.glob(f"{journal.FILE}*")),
        processes=len({event.content["worker"] for event in events if event.kind == "started"}),
        statuses=dict(Counter(trial.status for trial in told.trials.values())),
    )
