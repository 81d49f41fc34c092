"""From a specification to cells, checked against what there is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from plans import SPACE, generators, made, write

from orchestrator import plan, spec
from orchestrator.errors import UserError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_families_that_learn_the_same_data_in_their_own_ways_share_a_sweep(project: Path, data_root: Path) -> None:
    planned = generators(project, data_root, "metric=validation_frechet", "sizes=[xs]", "data_fractions=[1.0]")
    assert [cell.family for cell in planned.cells] == ["vae", "gan", "diffusion"]
    assert planned.direction == "min"
    assert "adversarial_loss" in planned.spaces["gan"].parameters and "beta" in planned.spaces["vae"].parameters


def test_a_metric_that_one_of_the_families_does_not_report_is_refused(project: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match="share no metric 'validation_loss'") as error:
        generators(project, data_root, "metric=validation_loss")
    assert "validation_frechet" in str(error.value)
    assert generators(project, data_root, "metric=validation_loss", "families=[vae]").direction == "min"


def test_losses_that_each_family_has_its_own_of_are_no_metric(project: Path, data_root: Path) -> None:
    """A bound in nats against a squared error of noise."""
    with pytest.raises(UserError, match="has a loss of its own, and they share no metric 'validation_loss'"):
        generators(project, data_root, "metric=validation_loss", "families=[vae, diffusion]")


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
