"""From a specification to cells, checked against what there is, with a forecast."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from orchestrator import plan, spec
from orchestrator.data.prepare import prepare
from orchestrator.errors import UserError
from orchestrator.plan import Plan

PIPELINE = """\
name: small
data: digits
families: [perceptron, mlp]
sizes: [xs, s]
data_fractions: [0.25, 1.0]
trials: 4
finalists: 1
max_epochs: 9
early_stopping: {name: halving, min_epochs: 1, reduction_factor: 3}
"""
SPACE = """\
family: FAMILY
parameters:
  learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
  label_smoothing: {type: float, low: 0.0, high: 0.2, when: {task: [classification]}}
  loss_function: {type: choice, values: [mse, mae], when: {task: [regression]}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "search_spaces").mkdir()
    for family in ("perceptron", "mlp"):
        (tmp_path / "search_spaces" / f"{family}.yaml").write_text(SPACE.replace("FAMILY", family))
    (tmp_path / "pipelines" / "small.yaml").write_text(PIPELINE)
    return tmp_path


def made(project: Path, data_root: Path, *overrides: str) -> Plan:
    ((sweep, document),) = spec.load(project / "pipelines" / "small.yaml", overrides)
    return plan.make(sweep, document, prepare(plan.dataset(sweep, document), data_root))


def generators(project: Path, data_root: Path, *overrides: str) -> Plan:
    spaces = Path(__file__).parents[1] / "search_spaces"
    names = ("data=digits_images", "families=[vae, gan, diffusion]", f"search_spaces={spaces}")
    return made(project, data_root, *names, *overrides)


def test_families_that_learn_the_same_data_in_their_own_ways_share_a_sweep(project: Path, data_root: Path) -> None:
    planned = generators(project, data_root, "metric=validation_frechet", "sizes=[xs]", "data_fractions=[1.0]")
    assert [cell.family for cell in planned.cells] == ["vae", "gan", "diffusion"]
    assert planned.direction == "min"
    assert "adversarial_loss" in planned.spaces["gan"].parameters and "beta" in planned.spaces["vae"].parameters
    assert set(plan.probe(planned)) == {(family, "xs") for family in ("vae", "gan", "diffusion")}


def test_a_metric_that_one_of_the_families_does_not_report_is_refused(project: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match="reports no metric 'validation_loss'") as error:
        generators(project, data_root, "metric=validation_loss")
    assert "validation_frechet" in str(error.value)
    assert generators(project, data_root, "metric=validation_loss", "families=[vae, diffusion]").direction == "min"


def test_without_a_metric_that_all_report_one_is_asked_for(project: Path, data_root: Path) -> None:
    pipeline = project / "pipelines" / "small.yaml"
    pipeline.write_text("".join(line for line in pipeline.read_text().splitlines(True) if "metric:" not in line))
    with pytest.raises(
        UserError, match="these report no validation_loss; say by which metric they are judged: validation_frechet"
    ):
        generators(project, data_root)


def test_families_that_can_learn_the_data_are_told_by_its_shape_too(project: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match="these can: perceptron, mlp, lenet") as error:
        made(project, data_root, "families=[unet]", "data=digits")
    assert "rnn" not in str(error.value) and "bert" not in str(error.value)


def test_cells_are_every_family_size_and_fraction(project: Path, data_root: Path) -> None:
    planned = made(project, data_root)
    assert [cell.id for cell in planned.cells] == [
        *("perceptron-xs-0.25", "perceptron-xs-1", "perceptron-s-0.25", "perceptron-s-1"),
        *("mlp-xs-0.25", "mlp-xs-1", "mlp-s-0.25", "mlp-s-1"),
    ]
    assert planned.trials == 8 * 5


def test_a_cell_counts_the_rows_that_training_will_see(project: Path, data_root: Path) -> None:
    from orchestrator.data.load import load

    planned = made(project, data_root, "data_fractions=[0.1, 0.333, 1]")
    for cell in planned.cells:
        assert cell.train_samples == len(load(planned.data, cell.data_fraction).train)
        assert cell.params_without_embeddings == cell.params > 0 and cell.flops > cell.params


def test_a_space_is_cut_to_the_task(project: Path, data_root: Path) -> None:
    assert list(made(project, data_root).spaces["mlp"].parameters) == ["learning_rate", "label_smoothing"]
    assert list(made(project, data_root, "data=diabetes").spaces["mlp"].parameters) == [
        "learning_rate",
        "loss_function",
    ]


def test_the_direction_is_the_metrics(project: Path, data_root: Path) -> None:
    assert made(project, data_root).direction == "min"
    assert made(project, data_root, "metric=validation_accuracy").direction == "max"


def test_the_fingerprint_is_of_spec_spaces_and_data(project: Path, data_root: Path) -> None:
    before = made(project, data_root)
    assert made(project, data_root, "workers=2").fingerprint == before.fingerprint
    assert made(project, data_root, "data=wine").fingerprint != before.fingerprint
    other = dataclasses.replace(before, card=dataclasses.replace(before.card, fingerprint="another version"))
    assert other.fingerprint != before.fingerprint
    space = project / "search_spaces" / "mlp.yaml"
    space.write_text(space.read_text().replace("high: 0.2", "high: 0.3"))
    assert made(project, data_root).fingerprint != before.fingerprint


def test_the_forecast_follows_the_rule(project: Path, data_root: Path) -> None:
    """Rungs 1 and 3 of 9 epochs, a third passes each: 1 + 2/3 + 6/9 epochs a trial, and 9 for the finalist."""
    expected = plan.forecast(made(project, data_root))
    assert expected.epochs == pytest.approx(8 * (4 * (1 + 2 / 3 + 6 / 9) + 9))
    assert (expected.trials, expected.most_epochs, expected.seconds) == (40, 360, None)
    whole = plan.forecast(made(project, data_root, "early_stopping.name=none"))
    assert whole.epochs == whole.most_epochs == 360


def test_the_forecast_knows_the_cells_that_get_fewer_trials(project: Path, data_root: Path) -> None:
    changes = ("families=[mlp]", "sizes=[xs]", "data_fractions=[0.5, 1.0]", "early_stopping.name=none", "transfer=true")
    alike = made(project, data_root, *changes)
    fewer = made(project, data_root, *changes, "transfer_trials=1")
    less, before, after = alike.spec.trials - 1, plan.forecast(alike), plan.forecast(fewer)
    assert alike.trials - fewer.trials == less == before.trials - after.trials
    assert before.epochs - after.epochs == less * alike.spec.max_epochs
    large = alike.cells[1]
    saved = less * alike.spec.max_epochs * large.flops * large.train_samples
    assert before.flops - after.flops == pytest.approx(saved)


def test_the_forecast_knows_the_cells_without_finalists(project: Path, data_root: Path) -> None:
    changes = ("families=[mlp]", "sizes=[xs]", "data_fractions=[0.5, 1.0]")
    everywhere = made(project, data_root, *changes)
    on_all = made(project, data_root, *changes, "finalists_on=[1.0]")
    before, after = plan.forecast(everywhere), plan.forecast(on_all)
    count, epochs, small = on_all.spec.finalists, on_all.spec.max_epochs, on_all.cells[0]
    assert everywhere.trials - on_all.trials == before.trials - after.trials == count > 0
    assert before.epochs - after.epochs == count * epochs
    assert before.flops - after.flops == pytest.approx(count * epochs * small.flops * small.train_samples)


def test_the_forecast_of_time_comes_from_a_probe(project: Path, data_root: Path) -> None:
    planned = made(project, data_root)
    threads = torch.get_num_threads()
    timings = plan.probe(planned)
    assert set(timings) == {(family, size) for family in ("perceptron", "mlp") for size in ("xs", "s")}
    assert all(pace.train > 0 and pace.validation > 0 for pace in timings.values())
    assert torch.get_num_threads() == threads
    expected = plan.forecast(planned, timings)
    assert (expected.seconds or 0) > 0
    # However few rows are trained on, all of the validation rows are looked at after each epoch.
    validated = plan.forecast(planned, {key: plan.Pace(0.0, 1.0) for key in timings})
    assert validated.seconds == pytest.approx(expected.epochs)
    del timings["mlp", "xs"]
    assert plan.forecast(planned, timings).seconds is None, "a part that is unknown is not made up"


def test_a_family_whose_defaults_diverge_does_not_stop_the_plan(
    project: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.training import fit
    from orchestrator.training.divergence import Diverged

    def diverging(job: fit.Job, data: object, device: str) -> object:
        raise Diverged("nan", 1, 1, None)
        yield

    monkeypatch.setattr(fit, "fit", diverging)
    planned = made(project, data_root)
    assert plan.probe(planned) == {}
    assert plan.forecast(planned, {}).seconds is None


def test_slots_fill_the_machine_unless_told(project: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(plan.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def slots(workers: int | None, *overrides: str) -> tuple[int, float, float]:
        made = plan.slots(spec.load(project / "pipelines" / "small.yaml", overrides)[0][0], workers)
        return made.count, made.cpus, made.gpus

    assert slots(None) == (8, 1, 0)
    assert slots(None, "resources.cpus=3") == (2, 3, 0)
    assert slots(None, "resources.cpus=16") == (1, 16, 0)
    assert slots(None, "workers=5") == (5, 1, 0)
    assert slots(3, "workers=5") == (3, 1, 0)
    with pytest.raises(UserError, match=r"resources.gpus: a trial asks for 1 GPUs; this machine has 0"):
        slots(None, "resources.gpus=1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert slots(None) == (2, 1, 1.0)
    assert slots(None, "resources.gpus=0.25") == (8, 1, 0.25)
    assert slots(None, "resources.gpus=0.4") == (4, 1, 0.4)
    assert slots(None, "resources.gpus=2") == (1, 1, 2)
    assert slots(None, "resources.gpus=0") == (8, 1, 0)
    with pytest.raises(UserError, match=r"workers: 3 trials of 1 GPUs each; 2 fit on the 2 here"):
        slots(3)
    with pytest.raises(UserError, match=r"resources.gpus: 1.5; valid: a fraction of one GPU, or a whole number"):
        slots(None, "resources.gpus=1.5")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FAMILY", "mpl", "search_spaces/mlp.yaml:1: this file is named for 'mlp', found 'mpl'"),
        (
            "learning_rate",
            "leraning_rate",
            "mlp.yaml:3: mlp has no hyperparameter 'leraning_rate'; did you mean 'learning_",
        ),
        ("low: 1.0e-3", "low: -1", "mlp.yaml:3: learning_rate: a logarithmic range must begin above 0"),
        ("low: 0.0, high: 0.2", "low: 0.0, high: 2", "mlp.yaml:4: label_smoothing"),
        (
            "type: float, low: 1.0e-3, high: 1.0e-1, log: true",
            "type: choice, values: [fast]",
            "mlp.yaml:3: learning_rate: ",
        ),
        (
            ", when: {task: [regression]}",
            "",
            "mlp.yaml:5: 'loss_function' has no meaning in classification; add `when: ",
        ),
        ("[regression]", "[regresion]", "mlp.yaml:5: loss_function: 'when' names no task: 'regresion'; did you mean"),
        (
            "learning_rate: {type: float",
            "batch_size: {type: float",
            "mlp.yaml:3: batch_size takes whole numbers; use type",
        ),
    ],
)
def test_a_space_that_does_not_fit_is_named_with_its_line(
    project: Path, data_root: Path, old: str, new: str, message: str
) -> None:
    assert old in SPACE
    text = SPACE.replace(old, new).replace("FAMILY", "mlp")
    (project / "search_spaces" / "mlp.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        made(project, data_root)
    assert message in str(caught.value) and ".." not in str(caught.value).split(": ")[0]


def test_paths_are_shown_as_seen_from_here(project: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "search_spaces" / "mlp.yaml").unlink()
    monkeypatch.chdir(project)
    with pytest.raises(UserError) as caught:
        made(Path(), data_root)
    assert str(caught.value) == (
        "pipelines/small.yaml:3: the search space of mlp is missing: no file search_spaces/mlp.yaml"
    )


def test_a_fraction_that_leaves_too_little_is_refused_before_anything_starts(project: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match=r"0.001 leaves 1 of the \d+ training rows of digits; at least 10 are needed"):
        made(project, data_root, "data_fractions=[1.0, 0.001]")
