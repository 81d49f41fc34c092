"""One sweep's runs in MLflow: a parent for the sweep, a child for each trial. Written twice, they are the same.

A run is found by its tags `orchestrator.run` and `orchestrator.trial`, which it has from its creation. Its status is
written last, so a child that has ended in MLflow has everything; any other is written again from its first epoch,
which changes nothing that is there (a point's time is its event's).

Trials go into a SQLite store many at once (`tables`); finalists' models, the sweep's own run, and everything where
MLflow is a server, through MLflow's client.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import records
from orchestrator.history import TrialHistory, cell_rows
from orchestrator.tracking import models, store, tables
from orchestrator.tracking.reading import EPOCHS_TAG, RUN_TAG, STATUS, STATUS_TAG, TRIAL_TAG, Point, Reading
from orchestrator.tracking.tables import Entry
from orchestrator.training.network import Network

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

# MLflow's own limits on one `log_batch`.
METRICS_A_BATCH, PARAMS_A_BATCH = 1000, 100
PARENT_TAG = "mlflow.parentRunId"
TERMINAL = ("FINISHED", "FAILED", "KILLED")
# What takes the place of a report's numbers once they are in MLflow: a mirror of 10,000 trials stays small.
_WRITTEN: dict[str, Any] = {}


@dataclass
class _Child:
    """What MLflow is known to hold of a trial: its epochs, points of its ends, and the time of its end."""

    run_id: str
    status: str = ""
    epochs: int = 0
    finals: int = 0
    ended: int | None = None


class Runs:
    """Writes what `reading` says into MLflow; after an error make another: it looks up what is there."""

    def __init__(self, client: MlflowClient, reading: Reading, run_dir: Path) -> None:
        self._client, self._reading, self._run_dir = client, reading, run_dir
        experiment = _experiment(client, reading.experiment, store.artifact_location(run_dir.parent))
        self._experiment = str(experiment.experiment_id)
        self._tables = tables.at(store.address(run_dir.parent), self._experiment, experiment.artifact_location)
        self._children: dict[str, _Child] = {}
        self._summaries = 0
        self.parent = self._look_up()
        self._describe()

    def close(self) -> None:
        if self._tables:
            self._tables.close()

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

    # ---- trials ----------------------------------------------------------------------------------------------

    def is_behind(self, told: TrialHistory, status: str) -> bool:
        child = self._children.get(told.trial.id)
        if child is None or child.status != status or child.epochs < self._reading.epochs(told):
            return True
        return status in records.ENDED and child.ended != _end(told)

    def write(self, trials: Sequence[tuple[TrialHistory, str]]) -> None:
        """Bring the trials' runs up to what the journal says; each comes with one of `records.STATUSES`.

        Raises:
            Exception: of MLflow or its database; some of the trials may have been written.
        """
        plain = [(told, status) for told, status in trials if self._tables and not self._has_model(told, status)]
        if self._tables and plain:
            self._tables.write([self._entry(told, status) for told, status in plain])
            for told, status in plain:
                self._note(told, status)
        for told, status in trials:
            if not self._tables or self._has_model(told, status):
                self._write_by_client(told, status)
                self._note(told, status)

    def _write_by_client(self, told: TrialHistory, status: str) -> None:
        entry = self._entry(told, status)
        model = None
        if self._has_model(told, status):
            if self._tables:  # the run must be there before its model
                self._tables.write([replace(entry, status="RUNNING", end=None, points=())])
            model = self._model(told, entry.run_id)
        self._log(entry.run_id, entry.points, entry.params, entry.tags, model)
        # The status last: a run that has ended has everything.
        if entry.end is None:
            self._client.update_run(entry.run_id, entry.status)
        else:
            self._client.set_terminated(entry.run_id, entry.status, entry.end)

    def _entry(self, told: TrialHistory, status: str) -> Entry:
        """What MLflow does not hold of a trial yet."""
        begin = int(told.asked * 1000)
        tags = {**self._reading.tags(told), PARENT_TAG: self.parent}
        child = self._children.get(told.trial.id)
        if child is None:
            if self._tables:
                run_id = uuid.uuid4().hex
            else:
                run_id = self._client.create_run(self._experiment, begin, tags, told.trial.id).info.run_id
            child = self._children[told.trial.id] = _Child(run_id)
        fresh, ended = child.status == "", status in records.ENDED
        points = [point for epoch in self._reading.epoch_points(told, child.epochs) for point in epoch]
        return Entry(
            child.run_id,
            told.trial.id,
            STATUS[status],
            begin,
            _end(told) if ended else None,
            {
                **(tags if fresh and self._tables else {}),
                **(self._reading.end_tags(told) if ended else {STATUS_TAG: status}),
            },
            self._reading.params(told) if fresh else {},
            points + self._reading.final_points(told)[child.finals :],
        )

    def _note(self, told: TrialHistory, status: str) -> None:
        """MLflow holds it now."""
        child = self._children[told.trial.id]
        # The last report stays: the next one is told as a difference to it.
        for epoch in range(max(0, child.epochs - 1), len(told.reports) - 1):
            told.reports[epoch] = _WRITTEN
        child.status, child.epochs = status, self._reading.epochs(told)
        child.finals, child.ended = len(self._reading.final_points(told)), _end(told)

    def _has_model(self, told: TrialHistory, status: str) -> bool:
        return told.trial.kind == records.FINAL and status == records.COMPLETE and self._weights(told).is_file()

    def _weights(self, told: TrialHistory) -> Path:
        return records.model_file(self._run_dir, told.trial.id)

    def _model(self, told: TrialHistory, run_id: str) -> str:
        cell = self._reading.history.cells[told.trial.cell]
        network = Network(cell.family, cell.size, told.trial.config, self._reading.card)
        tags = {**self._reading.tags(told), "orchestrator.epoch": str(told.best_epoch)}
        destination = models.Destination(self._client, self._experiment, run_id)
        return models.log(destination, told.trial.id, network, self._weights(told), tags)

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
        return _Child(run.info.run_id, status, int(tags[EPOCHS_TAG]), ended=run.info.end_time)
    return _Child(run.info.run_id)


def _end(told: TrialHistory) -> int | None:
    return None if told.ended is None else int(told.ended * 1000)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.get_experiment(client.create_experiment(name, artifacts))
        except MlflowException:
            # Another sweep on the same data was a moment faster.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found
