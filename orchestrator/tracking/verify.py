"""Does MLflow hold exactly what the journal holds? Both are counted; MLflow through its own client."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator import journal, records
from orchestrator.tracking import store
from orchestrator.tracking.reading import STATUS, TRIAL_TAG, Reading
from orchestrator.tracking.runs import find


def verify(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Counts of a sweep that nobody drives now: {"journal": counts, "mlflow": counts}; they should be equal.

    Counted: "runs" (parent and children), "children", "points" (metric values, of all epochs), "statuses" (MLflow's
    words) and "models". Asking MLflow takes about 20 ms a run.

    Raises:
        UserError: no journal in `run_dir`.
        mlflow.exceptions.MlflowException and others: the tracker can't be reached.
    """
    reading = Reading.of(journal.events(run_dir))
    return {"journal": _told(reading, run_dir), "mlflow": _held(reading, run_dir)}


def _told(reading: Reading, run_dir: Path) -> dict[str, Any]:
    history = reading.history
    trials = list(history.trials.values())
    points = len(reading.summaries)
    statuses: Counter[str] = Counter()
    models = 0
    for told in trials:
        points += sum(len(epoch) for epoch in reading.epoch_points(told)) + len(reading.final_points(told))
        statuses[STATUS[records.ASKED if told.status == records.RUNNING else told.status]] += 1
        if told.trial.kind == records.FINAL and told.status == records.COMPLETE:
            models += records.model_file(run_dir, told.trial.id).is_file()
    return {
        "runs": 1 + len(trials),
        "children": len(trials),
        "points": points,
        "statuses": dict(sorted(statuses.items())),
        "models": models,
    }


def _held(reading: Reading, run_dir: Path) -> dict[str, Any]:
    client = store.connect(run_dir.parent)
    experiment = client.get_experiment_by_name(reading.experiment)
    runs = find(client, [experiment.experiment_id], reading.run) if experiment else []
    children = [run for run in runs if TRIAL_TAG in run.data.tags]
    parents = {run.info.run_id for run in runs} - {run.info.run_id for run in children}
    points = sum(len(client.get_metric_history(run.info.run_id, key)) for run in runs for key in run.data.metrics)
    models = [
        model.model_id
        for run in children
        for output in run.outputs.model_outputs
        if (model := client.get_logged_model(output.model_id)).status == "READY"
    ]
    return {
        "runs": len(runs),
        "children": sum(run.data.tags.get("mlflow.parentRunId") in parents for run in children),
        "points": points,
        "statuses": dict(sorted(Counter(run.info.status for run in children).items())),
        "models": len(models),
    }
