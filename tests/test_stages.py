"""Two stages: what a sweep has learnt from texts alone is where another one starts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import opened
from projects import finish, launch

from orchestrator import history, journal, records, spec, stages
from orchestrator import sweep as sweeps
from orchestrator.data.load import Data, Split, load
from orchestrator.errors import UserError
from orchestrator.forecast import forecast, probe
from orchestrator.journal import Event
from orchestrator.models import FAMILIES, bert
from orchestrator.plan import Plan
from orchestrator.ray import places, trainable
from orchestrator.records import Start, Trial
from orchestrator.report import wording
from orchestrator.tracking.reading import Reading
from orchestrator.tracking.verify import verify
from orchestrator.training import checkpoint
from orchestrator.training.fit import EpochRow, Job, Outcome, fit, network

SAID = {
    "hello": ("Hello there, {}!", "hello {} you", "Well {} hello"),
    "bye": ("Bye {} now!", "bye bye {}", "{} good bye"),
}
NAMES = ("Ann", "Bob", "Cem", "Dan", "Eve")
SPACE = """
family: bert
parameters:
  learning_rate: {type: float, low: 1.0e-3, high: 1.0e-2, log: true}
  batch_size: {type: choice, values: [8, 16]}
  dropout: {type: float, low: 0.0, high: 0.2}
"""
DATA = "{name: said, file: ../said.csv, task: classification, format: texts, inputs: text, target: kind, length: 6}"
OTHER = DATA.replace("said", "others")
FIRST = f"""
name: first
data: {DATA}
task: masked_language_modelling
families: [bert]
sizes: [xs]
trials: 1
finalists: 2
max_epochs: 2
"""
SECOND = f"""
name: second
data: {DATA}
families: [bert]
sizes: [xs]
metric: validation_accuracy
trials: 2
finalists: 1
max_epochs: 6
start_from: {{bert: first}}
"""
# Both in one file.
BOTH = f"""
data: {DATA}
families: [bert]
sizes: [xs]
finalists: 1
sweeps:
  first: {{task: masked_language_modelling, trials: 1, max_epochs: 2}}
  second: {{metric: validation_accuracy, trials: 2, max_epochs: 30, start_from: {{bert: first}}}}
"""
BEST = Path("runs/first/models/bert-xs-1-f001.pt")  # of the losses in `finished`


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with texts, spaces and pipelines, and the working one."""
    rows = [f'"{text.format(name)}",{label}\n' for label, texts in SAID.items() for text in texts for name in NAMES]
    (tmp_path / "said.csv").write_text("text,kind\n" + "".join(rows))
    for folder, files in (
        ("search_spaces", {"bert": SPACE, "mlp": SPACE.replace("bert", "mlp")}),
        ("pipelines", {"first": FIRST, "second": SECOND, "both": BOTH}),
    ):
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(name: str, *overrides: str) -> Plan:
    (one,) = sweeps.prepare(Path("pipelines") / f"{name}.yaml", sweeps.Options(overrides=overrides))
    return one


def finished(
    values: tuple[float, ...] = (2.0, 1.0, 1.5),
    state: str = "finished",
    *overrides: str,
    config: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The first sweep's folder as finalists with these validation losses leave it; their weights."""
    run_dir, made = Path("runs/first"), planned("first", *overrides)
    writer = opened(run_dir)
    writer.append(("planned", "planned", None, {"id": "r1", **made.as_dict()}))
    writer.append(("session/1", "session", None, {"workers": 1}))
    weights = []
    for number, value in enumerate(values):
        trial = Trial(f"bert-xs-1-f{number:03d}", "bert-xs-1", records.FINAL, number, number, dict(config or {}))
        row = {"epoch": 1, "train_loss": value, "validation_loss": value, "seconds": 0.1, "flops": 1, "samples": 1}
        writer.append((f"asked/{trial.id}", "asked", None, asdict(trial)))
        writer.append((f"started/{trial.id}/1", "started", trial.id, {"worker": "w"}))
        writer.append((f"reported/{trial.id}/1", "reported", trial.id, row))
        writer.append((f"ended/{trial.id}", "ended", trial.id, {"status": "complete", "test": {"test_loss": value}}))
        weights.append(network(Job("bert", "xs", trial.config, 100 + number, 1), made.card).state_dict())
        checkpoint.save(run_dir / "models" / f"{trial.id}.pt", weights[-1])
    if state:
        writer.append(("closed/1", "closed", None, {"state": state}))
    writer.close()
    return weights


def trained(epochs: Iterator[EpochRow]) -> tuple[list[EpochRow], Outcome]:
    """Rows without what a clock says, and the outcome."""
    rows = []
    while True:
        try:
            row = next(epochs)
        except StopIteration as end:
            return rows, end.value
        rows.append({key: value for key, value in row.items() if key not in ("seconds", "samples_per_second")})


@pytest.fixture
def data(project: Path) -> Data:
    return load(planned("second", "start_from=null").data)


def test_texts_are_learnt_from_without_their_targets(project: Path) -> None:
    first = planned("first")
    assert (first.card.task, first.card.outputs) == ("masked_language_modelling", len(first.card.vocabulary))
    assert first.direction == "min" and forecast(first, probe(first)).seconds
    # Found again by the journal alone.
    finished()
    assert sweeps.extension.restore(history.of(Path("runs/first")), Path("runs/first"), Path("data")).card == first.card


def test_the_plan_starts_from_the_finalist_that_was_best_on_validation(project: Path, orchestrate: Any) -> None:
    finished(values=(2.0, 1.0, 1.5))
    (start,) = planned("second").starts
    assert (start.name, start.sweep, start.run, start.trial) == ("bert-xs", "first", "r1", "bert-xs-1-f001")
    assert start.sha256 == checkpoint.digest(BEST)
    said = f"bert xs from bert-xs-1-f001 of first ({start.sha256[:12]})"
    assert f"Starts: {said}" in orchestrate("sweep", "pipelines/second.yaml", "--dry-run").out
    told = {"id": "r2", "time": 1.0, **planned("second").as_dict()}
    reading = Reading.of([Event(1, "planned", "planned", None, 1.0, told)])
    assert reading.common_tags()["orchestrator.starts"] == said
    shutil.rmtree("runs")
    finished((2.0, 1.0, 1.5), "finished", "metric=validation_accuracy")
    # Their accuracies are not told, so none of them is the best of anything.
    with pytest.raises(UserError, match="has no finalist of bert xs; it has: none"):
        planned("second")


def test_a_plan_is_another_with_other_weights_and_the_same_without_a_start(project: Path) -> None:
    finished()
    before, alone = planned("second"), planned("second", "start_from=null")
    assert before.fingerprint == planned("second").fingerprint != alone.fingerprint
    card = before.card.learnt_by("masked_language_modelling")
    checkpoint.save(BEST, network(Job("bert", "xs", {}, 7, 1), card).state_dict())
    assert planned("second").fingerprint != before.fingerprint
    # Sweeps that know nothing of stages are what they were before there were any.
    whole = alone.spec.model_dump()
    older = spec.Sweep.model_validate({key: whole[key] for key in whole if key not in spec.YOUNGER})
    assert older.fingerprint({}) == alone.spec.fingerprint({})
    assert "starts" not in alone.as_dict() and before.as_dict()["starts"] == [asdict(before.starts[0])]


def test_training_begins_with_the_weights_and_a_fresh_head(project: Path, data: Data) -> None:
    weights = finished()[1]
    chance, job = Job("bert", "xs", {}, 5, 1), Job("bert", "xs", {}, 5, 1, start=weights)
    begun, fresh = network(job, data.card).state_dict(), network(chance, data.card).state_dict()
    assert begun["output.weight"].shape == (2, 32) != weights["output.weight"].shape
    for name, weight in begun.items():
        assert torch.equal(weight, (fresh if name.split(".")[0] in ("dense", "output") else weights)[name]), name
    # With a learning rate of nearly nothing it stays there.
    _, outcome = trained(fit(replace(job, config={"learning_rate": 1e-30, "optimizer": "sgd"}), data))
    assert torch.equal(outcome.weights["embedding.weight"], weights["embedding.weight"])


def test_going_on_from_a_checkpoint_is_exact_and_of_the_same_start_only(data: Data, tmp_path: Path) -> None:
    first, other = (finished()[number] for number in (0, 1))
    job = Job("bert", "xs", {"learning_rate": 3e-3, "dropout": 0.1}, 5, 4, start=first)
    whole, outcome = trained(fit(job, data))
    epochs = fit(job, data, "cpu", tmp_path / "a.pt", checkpoint_epochs={2})
    for _ in range(3):
        next(epochs)
    epochs.close()
    again, resumed = trained(fit(job, data, "cpu", tmp_path / "a.pt"))
    assert again == whole and all(torch.equal(resumed.weights[name], outcome.weights[name]) for name in outcome.weights)
    for change in (other, None):
        with pytest.raises(UserError, match="the checkpoint is of another job"):
            next(fit(replace(job, start=change), data, "cpu", tmp_path / "a.pt"))
    assert trained(fit(replace(job, start=other), data))[0] != whole != trained(fit(replace(job, start=None), data))[0]


def test_a_worker_starts_from_the_copy_in_the_runs_own_folder(project: Path, data: Data, tmp_path: Path) -> None:
    weights, made = finished()[1], planned("second")
    storage, (start,) = str(tmp_path / "runs" / "second"), made.starts
    source = stages.weights_of(start, Path("runs"))
    places.bring_start(storage, start, source)
    shutil.rmtree("runs/first")
    places.bring_start(storage, start, source)  # it is there
    context = {**sweeps._context(made, Path("runs/second"), storage), "cpus": 1, "device": "cpu"}
    order = {"trial": "bert-xs-1-f000", "family": "bert", "size": "xs", "data_fraction": 1.0, "kind": records.FINAL}
    about = {"seed": 5, "hyperparameters": {}, "max_epochs": 2, "micro_batches": 1, "checkpoint_epochs": []}
    work = trainable._epochs({**context, **order, **about})
    rows, _ = trained(work)  # type: ignore[arg-type]
    expected, _ = trained(fit(Job("bert", "xs", {}, 5, 2, made.spec.metric, "max", test=True, start=weights), data))
    assert rows == expected
    # Lost, or of something else: it is said, and nothing is trained from chance.
    checkpoint.save(places.start_file(storage, "bert-xs"), {})
    trainable._start.cache_clear()
    with pytest.raises(UserError, match="not the weights to start from"):
        next(trainable._epochs({**context, **order, **about, "trial": "bert-xs-1-f001"}))
    with pytest.raises(UserError, match=r"first/models/bert-xs-1-f001.pt: not the weights of bert-xs-1-f001 .* lost"):
        places.bring_start(storage, start, source)


def test_a_second_stage_before_the_first_is_one_line(project: Path, orchestrate: Any) -> None:
    *head, first, second = BOTH.splitlines()
    path = project / "pipelines" / "both.yaml"
    path.write_text("\n".join([*head, second, first]))
    said = orchestrate("sweep", "pipelines/both.yaml", "--dry-run")
    assert said.code == 2 and "start_from.bert: first comes later in the file; put it before second" in said.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["start_from={bert: frist}"], "--set start_from: start_from.bert: runs/frist: no sweep here"),
        (["start_from={mlp: first}"], "start_from.mlp: 'mlp' is not among the families; valid: bert"),
        (
            ["families=[bert, gru]", "start_from={gru: first}"],
            "gru learns in one stage; these can start from another: ",
        ),
        (["start_from={bert: second}"], "second is this sweep itself"),
        (["sizes=[xs, s]"], "second.yaml:10: start_from.bert: runs/first has no finalist of bert s; it has: bert xs"),
        (["task=regression"], "--set task: said can't be learnt by 'regression'; valid: classification, masked_"),
        (["start_from=first"], "--set start_from: expected a mapping, found"),
    ],
)
def test_what_can_not_be_started_from_is_one_line(
    project: Path, orchestrate: Any, overrides: list[str], message: str
) -> None:
    (project / "search_spaces" / "gru.yaml").write_text(SPACE.replace("bert", "gru"))
    finished()
    options = [word for override in overrides for word in ("--set", override)]
    said = orchestrate("sweep", "pipelines/second.yaml", "--dry-run", *options)
    assert said.code == 2 and message in said.err and said.err.count("\n") == 1 and not said.out


def test_what_shapes_the_network_must_be_the_same_in_both_stages(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Config(bert.Config):
        more: int = 0

    def build(config: Config, shape: tuple[int, ...], outputs: int) -> Any:
        return bert.build(bert.Config(config.width, config.depth + config.more, config.heads), shape, outputs)

    monkeypatch.setitem(FAMILIES, "bert", replace(FAMILIES["bert"], config=Config, build=build))  # type: ignore[index]
    (weights, *_) = finished(values=(1.0,), config={"more": 1})
    assert "blocks.2.dense.0.weight" in weights
    space = project / "search_spaces" / "bert.yaml"
    for values, said in (
        ("[1]", ""),  # as in the first stage
        ("[1, 2]", "with more 2, which the search space allows: these weights are of another network"),
        ("[0, 2]", "with more 0, which the search space allows: these weights are of another network"),
        (None, "these weights are of another network: 'blocks.2"),
    ):
        space.write_text(SPACE + (f"  more: {{type: choice, values: {values}}}\n" if values else ""))
        if said:
            with pytest.raises(UserError, match=f"^pipelines/second.yaml:10: start_from.bert: {said}"):
                planned("second")
        else:
            assert len(planned("second").starts) == 1


def test_the_first_stage_sees_no_label_and_no_text_that_is_held_back(data: Data) -> None:
    first = data.learnt_by("masked_language_modelling")
    assert (first.train, first.validation, first.test) == (data.train, data.validation, data.test)
    job = Job("bert", "xs", {"dropout": 0.1}, 5, 2)
    rows, outcome = trained(fit(job, first))

    def without(split: Split, inputs: torch.Tensor) -> Split:
        return Split(inputs, torch.zeros_like(split.targets))

    words = first.train.inputs[:1]  # in place of all texts that are held back
    blind = replace(
        first,
        train=without(first.train, first.train.inputs),
        validation=without(first.validation, words.expand_as(first.validation.inputs)),
        test=without(first.test, words.expand_as(first.test.inputs)),
    )
    again, _ = trained(fit(job, blind))
    assert [row["train_loss"] for row in again] == [row["train_loss"] for row in rows]
    assert [row["validation_loss"] for row in again] != [row["validation_loss"] for row in rows]
    labelled, other = trained(fit(job, replace(blind, validation=without(first.validation, first.validation.inputs))))
    assert labelled == rows
    assert all(torch.equal(other.weights[name], outcome.weights[name]) for name in outcome.weights)


def test_a_sweep_that_goes_on_keeps_what_it_has_started_from(project: Path) -> None:
    finished()
    before = planned("second")
    more, changes = sweeps.extension.extended(before, ("trials=3",), None)
    larger, _ = sweeps.extension.extended(before, ("sizes=[xs, s]",), None)
    shutil.rmtree("runs")
    assert changes == ["trials: 2 → 3"] and stages.started(more, Path("runs")).starts == before.starts
    with pytest.raises(UserError, match=r"^start_from\.bert: runs/first: no sweep here"):
        stages.started(larger, Path("runs"))
    with pytest.raises(UserError, match="--set start_from: decides what the results so far are"):
        sweeps.extension.extended(before, ("start_from=null",), None)


def test_weights_that_are_not_there_or_not_whole_are_said(project: Path, orchestrate: Any) -> None:
    finished()
    content = BEST.read_bytes()
    for broken in (content[:-1], b"", None):
        BEST.unlink() if broken is None else BEST.write_bytes(broken)
        said = orchestrate("sweep", "pipelines/second.yaml", "--dry-run")
        assert said.code == 2 and f"{BEST}: the weights of bert-xs-1-f001 are missing, or not whole" in said.err


def test_an_unfinished_sweep_and_another_vocabulary_are_said(project: Path, orchestrate: Any) -> None:
    finished(state="")
    said = orchestrate("sweep", "pipelines/second.yaml", "--dry-run")
    assert said.code == 2 and "runs/first has not finished; to go on: orchestrate resume runs/first" in said.err
    shutil.rmtree("runs")
    finished()
    (project / "said.csv").write_text((project / "said.csv").read_text().replace("Well", "So"))
    said = orchestrate("sweep", "pipelines/second.yaml", "--dry-run")
    assert said.code == 2 and "runs/first: its data, said, have another vocabulary than said" in said.err


def test_numbers_can_not_be_learnt_from_without_targets(project: Path, orchestrate: Any, data_root: Path) -> None:
    options = ("--set", "data=wine", "--set", "families=[mlp]", "--data-root", data_root)
    said = orchestrate("sweep", "pipelines/first.yaml", "--dry-run", *options)
    assert said.code == 2
    assert said.err.endswith("task: wine: masked_language_modelling needs text; this is classification on numbers\n")


def test_of_two_stages_in_one_file_the_second_is_checked_before_the_first_runs(project: Path, orchestrate: Any) -> None:
    said = orchestrate("sweep", "pipelines/both.yaml", "--dry-run")
    assert said.code == 0 and "Starts: bert from what first will have learnt" in said.out
    both = project / "pipelines" / "both.yaml"
    (project / "others.csv").write_text((project / "said.csv").read_text().replace("Well", "So"))
    for old, new, message in (
        ("metric:", "sizes: [s], metric:", "first will have no finalist of bert s; it will have: bert xs"),
        ("first: {", "first: {finalists: 0, ", "first will have no finalist of bert xs; it will have: none"),
        ("bert: first", "bert: third", "runs/third: no sweep here"),
        ("first: {", f"first: {{data: {OTHER}, ", "first: its data, others, have another vocabulary than said"),
    ):
        both.write_text(BOTH.replace(old, new, 1))
        said = orchestrate("sweep", "pipelines/both.yaml")
        assert said.code == 2 and f"both.yaml:8: start_from.bert: {message}" in said.err and not said.out
    both.write_text(BOTH)
    alone = orchestrate("sweep", "pipelines/both.yaml", "--only", "second")
    assert alone.code == 2 and "both.yaml:8: start_from.bert: runs/first: no sweep here" in alone.err
    assert not (project / "runs").exists()


def test_both_stages_through_the_command_with_a_kill_between(project: Path, orchestrate: Any) -> None:
    run_dir = project / "runs" / "second"
    process = launch(project, "sweep", "pipelines/both.yaml", "--workers", "1")
    deadline = time.monotonic() + 240
    while not (run_dir / journal.FILE).exists() or sum(e.kind == "reported" for e in journal.events(run_dir)) < 3:
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            raise AssertionError(process.communicate()[0])
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert history.of(run_dir).closed is None
    (project / "runs" / "first").rename(project / "elsewhere")
    finish(launch(project, "resume", "runs/second", "--workers", "1"))

    told = history.of(run_dir)
    assert told.closed == records.FINISHED
    (start,) = told.plan["starts"]
    weights, _ = checkpoint.load(project / "elsewhere" / "models" / f"{start['trial']}.pt")
    torch.set_num_threads(1)
    data = load(project / "data" / "prepared" / "said")
    for trial in told.trials.values():
        about = trial.trial
        job = Job("bert", "xs", about.config, about.seed, 30, "validation_accuracy", "max", start=weights)
        expected, _ = trained(fit(job, data))
        reported = [row["train_loss"] for row in trial.reports]
        assert reported == [row["train_loss"] for row in expected][: len(reported)]
    assert sum(trial.status == records.COMPLETE for trial in told.trials.values()) >= 2

    (project / "elsewhere").rename(project / "runs" / "first")
    for folder in (run_dir, project / "runs" / "first"):
        assert (found := verify(folder))["mlflow"] == found["journal"] and found["mlflow"]["models"] == 1
    spent = history.of(project / "runs" / "first").spent
    assert start["flops"] == spent.flops and start["worker_hours"] == pytest.approx(spent.worker_seconds / 3600)
    (project / "reports").mkdir()
    (project / "reports" / "second.yaml").write_text("sweeps: [second]\nsections: [budget, provenance]\n")
    assert orchestrate("report", "reports/second.yaml").code == 0
    page = (project / "reports" / "second" / "index.html").read_text(encoding="utf-8")
    assert f"What the trainings of second start from: {Start(**start)}." in page
    took = f"with {wording.flop(spent.flops)} of training, for the weights that it starts from"
    assert "Before it, first took " in page and took in page
