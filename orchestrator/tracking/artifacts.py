"""Files that belong to a whole sweep, kept with its run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from orchestrator import journal
from orchestrator.errors import UserError
from orchestrator.tracking import store
from orchestrator.tracking.reading import RUN_TAG, TRIAL_TAG, Reading

REPORT = PurePosixPath("report")


def attach_report(run_dir: Path, folder: Path, files: Iterable[Path]) -> None:
    """Keep a generated report as the artifact `report/` of the sweep's parent run; an earlier one is replaced.

    files: those of the report, in `folder`, in which others may lie. Nothing where the sweep said `tracking: false`.

    Raises:
        UserError: no journal in `run_dir`, or MLflow does not hold this sweep yet.
        mlflow.exceptions.MlflowException and others: the tracker can't be reached.
    """
    reading = Reading.of(journal.events(run_dir))
    if not reading.history.plan["spec"].get("tracking", True):
        return
    client = store.connect(run_dir.parent)
    experiment = client.get_experiment_by_name(reading.experiment)
    query = f"tags.`{RUN_TAG}` = '{reading.run}' AND attributes.run_name = '{reading.name}'"
    found = client.search_runs([experiment.experiment_id], query) if experiment else []
    parents = [run.info.run_id for run in found if TRIAL_TAG not in run.data.tags]
    if not parents:
        raise UserError(f"{run_dir}: MLflow does not hold this sweep; python -m orchestrator.tracking.mirror {run_dir}")
    for file in files:
        client.log_artifact(parents[0], str(file), (REPORT / file.parent.relative_to(folder)).as_posix())
