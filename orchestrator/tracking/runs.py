"""One sweep's runs in MLflow: a parent for the sweep, a child for each trial. Written twice, they are the same.

A run is found by its tags `orchestrator.run` and `orchestrator.trial`, which it has from its creation. Its status is
written last, so a child that has ended in MLflow has everything; any other is written again from its first epoch,
which changes nothing that is there (a point's time is its event's).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import records
from orchestrator.history import TrialHistory, cell_rows
from orchestrator.tracking import models
from orchestrator.tracking.reading import EPOCHS_TAG, RUN_TAG, STATUS, STATUS_TAG, TRIAL_TAG, Point, Reading

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's own limits on one `log_batch`.
METRICS_A_BATCH, PARAMS_A_BATCH = 1000, 100
TERMINAL = ("FINISHED", "FAILED", "KILLED")
# What takes the place of a report's numbers once they are in MLflow: a mirror of 10,000 trials stays small.
_WRITTEN: dict[str, Any] = {}


@dataclass
class _Child:
    """What MLflow is known to hold of a trial."""

    run_id: str
    status: str = ""
    epochs: int = 0


class Runs:
    """Writes what `reading` says into MLflow. After an error throw it away and make another: it looks up what is there.

    `artifacts` is where a new experiment's artifacts go; None leaves it to the server.
    """

    def __init__(self, client: MlflowClient, reading: Reading, artifacts: str | None, run_dir: Path) -> None:
        self._client, self._reading, self._run_dir = client, reading, run_dir
        self._experiment = _experiment(client, reading.experiment, artifacts)
        self._children: dict[str, _Child] = {}
        self._summaries = 0
        self.parent = self._look_up()
        self._describe()

    # ---- the sweep -------------------------------------------------------------------------------------------

    def _look_up(self) -> str:
        """Find the sweep's run and its trials' runs; of doubles keep one. Returns the parent, new if need be."""
        found: dict[str | None, list[Run]] = {}
        for run in find(self._client, [self._experiment], self._reading.run):
            found.setdefault(run.data.tags.get(TRIAL_TAG), []).append(run)
        kept = {trial: self._keep_one(runs) for trial, runs in found.items()}
        for trial, run in kept.items():
            if trial is not None:
                self._children[trial] = _child(run)
        if None in kept:
            return str(kept[None].info.run_id)
        began = int(self._reading.history.plan["time"] * 1000)
        tags = {**self._reading.common_tags(), STATUS_TAG: records.RUNNING}
        made = self._client.create_run(self._experiment, began, tags, self._reading.name)
        return str(made.info.run_id)

    def _keep_one(self, runs: list[Run]) -> Run:
        """A server that answers too late can create a run twice; nothing but our own doubles is deleted."""
        runs.sort(key=lambda run: (run.info.status not in TERMINAL, run.info.run_id))
        for double in runs[1:]:
            self._client.delete_run(double.info.run_id)
        return runs[0]

    def _describe(self) -> None:
        """What was planned: the specification as parameters and files, the data as a dataset input."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        # MLflow refuses to change a parameter: the files tell how it is now.
        there = self._client.get_run(self.parent).data.params
        params = {key: text for key, text in self._reading.parent_params().items() if key not in there}
        self._log(self.parent, [], params, {})
        plan, card = self._reading.history.plan, self._reading.card
        documents = {"spec": plan["spec"], "spaces": plan.get("spaces"), "card": card, "lineage": plan.get("lineage")}
        self._log_documents(documents)
        if card:
            source = json.dumps(card.get("source", {}))[:60_000]
            profile = json.dumps(card.get("sizes", {}))
            data = Dataset(card["name"], card["fingerprint"][:32], "local", source, profile=profile)
            self._client.log_inputs(self.parent, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def write_parent(self, state: str | None) -> None:
        """The summary at each close, and the sweep's state: None while a driver is there, else what it left."""
        history = self._reading.history
        if state is None:
            if self._client.get_run(self.parent).info.status != "RUNNING":
                self._client.update_run(self.parent, "RUNNING")
                self._client.set_tag(self.parent, STATUS_TAG, records.RUNNING)
            return
        self._log_documents({"cells": cell_rows(history)})
        self._log(self.parent, self._reading.summaries[self._summaries :], {}, {STATUS_TAG: state})
        self._summaries = len(self._reading.summaries)
        status = "FINISHED" if state == "finished" else "KILLED"
        self._client.set_terminated(self.parent, status, int(history.last_event * 1000))

    def _log_documents(self, documents: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="orchestrate-") as folder:
            for name, content in documents.items():
                if content:
                    Path(folder, f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            self._client.log_artifacts(self.parent, folder)

    # ---- a trial ---------------------------------------------------------------------------------------------

    def is_behind(self, told: TrialHistory, status: str) -> bool:
        child = self._children.get(told.trial.id)
        return child is None or child.status != status or child.epochs < self._reading.epochs(told)

    def write_trial(self, told: TrialHistory, status: str) -> None:
        """Bring a trial's run up to what the journal says; `status` is one of `records.STATUSES`."""
        child = self._children.get(told.trial.id) or self._create(told)
        fresh = child.status == ""
        points = [point for epoch in self._reading.epoch_points(told, child.epochs) for point in epoch]
        ended = status in records.ENDED
        model = self._model(told, child) if ended else None
        if ended:
            points += self._reading.final_points(told)
        tags = self._reading.end_tags(told) if ended else {} if child.status == status else {STATUS_TAG: status}
        self._log(child.run_id, points, self._reading.params(told) if fresh else {}, tags, model)
        if ended:
            end = int((told.ended or self._reading.history.last_event) * 1000)
            self._client.set_terminated(child.run_id, STATUS[status], end)
        elif child.status != status:
            self._client.update_run(child.run_id, STATUS[status])
        for epoch in range(child.epochs, len(told.reports)):
            told.reports[epoch] = _WRITTEN
        child.status, child.epochs = status, self._reading.epochs(told)

    def _create(self, told: TrialHistory) -> _Child:
        tags = {**self._reading.tags(told), "mlflow.parentRunId": self.parent}
        made = self._client.create_run(self._experiment, int(told.asked * 1000), tags, told.trial.id)
        self._children[told.trial.id] = _Child(made.info.run_id)
        return self._children[told.trial.id]

    def _model(self, told: TrialHistory, child: _Child) -> str | None:
        weights = self._run_dir / "models" / f"{told.trial.id}.pt"
        if told.trial.kind != records.FINAL or told.status != records.COMPLETE or not weights.is_file():
            return None
        cell = self._reading.history.cells[told.trial.cell]
        network = models.Network(cell.family, cell.size, told.trial.config, self._reading.card)
        tags = {**self._reading.tags(told), "orchestrator.epoch": str(told.best_epoch)}
        destination = models.Destination(self._client, self._experiment, child.run_id)
        return models.log(destination, told.trial.id, network, weights, tags)

    def _log(
        self,
        run_id: str,
        points: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
        model: str | None = None,
    ) -> None:
        """As few batches as MLflow allows; the tags go with the last one."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(*point, model_id=model if point.key.startswith("test_") else None) for point in points]
        named = [Param(key, value) for key, value in params.items()]
        rounds = max(-(-len(metrics) // METRICS_A_BATCH), -(-len(named) // PARAMS_A_BATCH), 1 if tags else 0)
        for number in range(rounds):
            some = metrics[number * METRICS_A_BATCH : (number + 1) * METRICS_A_BATCH]
            few = named[number * PARAMS_A_BATCH : (number + 1) * PARAMS_A_BATCH]
            last = [RunTag(key, text) for key, text in tags.items()] if number == rounds - 1 else []
            self._client.log_batch(run_id, some, few, last)


def find(client: MlflowClient, experiments: list[str], run: str) -> list[Run]:
    """Every run of a sweep, parent and children."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, f"tags.`{RUN_TAG}` = '{run}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _child(run: Run) -> _Child:
    tags = run.data.tags
    status = tags.get(STATUS_TAG, "")
    if run.info.status in TERMINAL and status in records.ENDED:
        return _Child(run.info.run_id, status, int(tags[EPOCHS_TAG]))
    return _Child(run.info.run_id)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifacts))
        except MlflowException:
            # Another sweep on the same data was a moment faster.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
