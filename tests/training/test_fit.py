from __future__ import annotations

import math
import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import example, if_installed

from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import FAMILIES
from orchestrator.tasks import TASKS
from orchestrator.training import checkpoint
from orchestrator.training.fit import Job, Outcome, fit, network
from orchestrator.training.parameters import describe

# Others have their own tests of this, with inputs that they can take.
OF_DIGITS = [name for name, family in FAMILIES.items() if family.tasks.get("classification") == (1, 8, 8)]
MEASURED = ("seconds", "samples_per_second")  # the clock's, all else is the job's
ALL_AT_WORK = {
    "dropout": 0.3, "weight_decay": 1e-3, "l1": 1e-5, "gradient_clip": 1.0, "schedule": "cosine",
    "warmup_fraction": 0.2, "learning_rate": 3e-3,
}  # fmt: skip


def run(epochs: Generator[dict[str, Any], None, Outcome]) -> tuple[list[dict[str, Any]], Outcome]:
    rows = []
    while True:
        try:
            rows.append(next(epochs))
        except StopIteration as end:
            return rows, end.value


def numbers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]


def job(family: str = "mlp", **changes: Any) -> Job:
    fields: dict[str, Any] = {"size": "s", "config": {"learning_rate": 3e-3}, "seed": 0, "max_epochs": 4}
    return Job(family, **(fields | changes))


def test_learns_digits(digits: Data) -> None:
    accuracy: dict[str, Any] = {"metric": "validation_accuracy", "direction": "max"}
    rows, outcome = run(fit(job(size="m", max_epochs=12, test=True, **accuracy), digits))
    assert outcome.best_value == max(row["validation_accuracy"] for row in rows) > 0.95
    assert outcome.test is not None and outcome.test["test_accuracy"] > 0.93


def test_learns_diabetes_better_than_the_mean(diabetes: Data) -> None:
    rows, outcome = run(fit(job(max_epochs=20, metric="validation_r2", direction="max"), diabetes))
    assert outcome.best_value > 0.3
    assert set(rows[0]) >= {"validation_loss", "validation_mae", "validation_rmse", "validation_r2"}


def test_a_row_an_epoch_with_what_was_spent(few_digits: Data) -> None:
    rows, _ = run(fit(job(), few_digits))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["samples"] for row in rows] == [200, 400, 600, 800]
    each = describe("mlp", "s", (1, 8, 8), 10)
    assert [row["flops"] for row in rows] == [each.flops_per_sample * row["samples"] for row in rows]
    assert {row["own_params"] for row in rows} == {each.params}
    for row in rows:
        assert list(row) == [
            "epoch", "train_loss", "validation_loss", "validation_accuracy", "learning_rate", "seconds",
            "samples_per_second", "flops", "samples", "own_params", "gradient_norm",
        ]  # fmt: skip
        assert row["seconds"] > 0 and row["samples_per_second"] >= 200 / row["seconds"]
        assert row["gradient_norm"] > 0


@pytest.mark.parametrize("family", OF_DIGITS)
def test_the_same_job_gives_the_same_losses_to_the_last_bit(family: str, few_digits: Data) -> None:
    torch.manual_seed(1)
    first, _ = run(fit(job(family, config=ALL_AT_WORK), few_digits))
    torch.manual_seed(2)
    again, _ = run(fit(job(family, config=ALL_AT_WORK), few_digits))
    other, _ = run(fit(job(family, config=ALL_AT_WORK, seed=1), few_digits))
    assert numbers(first) == numbers(again)
    assert first[0]["train_loss"] != other[0]["train_loss"]


@pytest.mark.parametrize("family", OF_DIGITS)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_going_on_from_a_checkpoint_gives_the_losses_of_an_uninterrupted_run(
    family: str, optimizer: str, few_digits: Data, tmp_path: Path
) -> None:
    config = ALL_AT_WORK | {"optimizer": optimizer, "momentum": 0.5 if optimizer in ("sgd", "rmsprop") else 0.0}
    path, wanted = tmp_path / "a.pt", job(family, config=config, max_epochs=5, test=True)
    whole, outcome = run(fit(wanted, few_digits))
    interrupted = fit(wanted, few_digits, "cpu", path, checkpoint_epochs={2})
    began = [next(interrupted) for _ in range(3)]  # the third epoch is lost
    interrupted.close()
    torch.randn(17)
    resumed, resumed_outcome = run(fit(wanted, few_digits, "cpu", path))
    assert numbers(began) == numbers(whole[:3])
    assert resumed[:2] == began[:2], "rows before the checkpoint come again as they were, clock and all"
    assert numbers(resumed) == numbers(whole)
    assert resumed_outcome.test == outcome.test and resumed_outcome.best_epoch == outcome.best_epoch
    for name, tensor in outcome.weights.items():
        assert torch.equal(resumed_outcome.weights[name], tensor)


def test_the_best_epoch_before_an_interruption_is_remembered(few_digits: Data, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    # Trained ever further from the truth: the first epoch stays the best.
    wrong = Split(few_digits.validation.inputs, (few_digits.validation.targets + 1) % 10)
    data = Data(few_digits.card, few_digits.train, wrong, few_digits.test)
    wanted = job(max_epochs=5)
    epochs = fit(wanted, data, "cpu", path, checkpoint_epochs={3})
    for _ in range(3):
        next(epochs)
    rows, outcome = run(fit(wanted, data, "cpu", path))
    assert outcome.best_epoch == 1 and outcome.best_value == rows[0]["validation_loss"]
    _, whole = run(fit(wanted, data))
    assert all(torch.equal(tensor, outcome.weights[name]) for name, tensor in whole.weights.items())


def test_how_often_a_checkpoint_is_written_changes_no_number(few_digits: Data, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    never, _ = run(fit(job(config=ALL_AT_WORK), few_digits))
    always, _ = run(fit(job(config=ALL_AT_WORK), few_digits, "cpu", path, checkpoint_seconds=0))
    assert numbers(never) == numbers(always)


def test_checkpoints_are_written_when_time_has_passed_and_at_the_epochs_asked_for(
    few_digits: Data, tmp_path: Path
) -> None:
    path = tmp_path / "a.pt"
    for seconds, at, expected in [(1e9, set(), []), (1e9, {1, 3}, [1, 3]), (0.0, set(), [1, 2, 3, 4])]:
        found = []
        for row in fit(job(), few_digits, "cpu", path, seconds, at):
            if path.exists():
                state, _ = checkpoint.load(path)
                assert state is not None and len(state["rows"]) == row["epoch"], "before the row is handed out"
                found.append(row["epoch"])
                path.unlink()
        assert found == expected


def test_a_torn_checkpoint_starts_over_and_says_so(few_digits: Data, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    epochs = fit(job(), few_digits, "cpu", path, checkpoint_epochs={2})
    next(epochs), next(epochs)
    path.write_bytes(path.read_bytes()[:1000])
    rows, outcome = run(fit(job(), few_digits, "cpu", path))
    whole, _ = run(fit(job(), few_digits))
    assert numbers(rows) == numbers(whole)
    assert outcome.checkpoint_problem is not None and "incomplete" in outcome.checkpoint_problem


def test_the_checkpoint_of_another_job_is_refused(few_digits: Data, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    next(fit(job(), few_digits, "cpu", path, checkpoint_epochs={1}))
    with pytest.raises(UserError, match="another job"):
        next(fit(job(seed=1), few_digits, "cpu", path))
    assert path.exists()


def test_weights_are_those_of_the_best_epoch(few_digits: Data) -> None:
    wanted = job(config={"learning_rate": 0.05, "optimizer": "rmsprop"}, max_epochs=8, test=True)
    rows, outcome = run(fit(wanted, few_digits))
    values = [row["validation_loss"] for row in rows]
    assert outcome.best_epoch == values.index(min(values)) + 1 < 8, (
        "the last must not be the best, or this tests nothing"
    )
    model = network(wanted, few_digits.card)
    model.load_state_dict(outcome.weights)
    again = TASKS["classification"]().evaluate(model, few_digits.validation, 64)
    assert again["loss"] == pytest.approx(outcome.best_value, rel=1e-5)
    tested = TASKS["classification"]().evaluate(model, few_digits.test, 64)
    assert outcome.test is not None and outcome.test["test_loss"] == pytest.approx(tested["loss"], rel=1e-5)


def test_training_ends_when_patience_does(few_digits: Data) -> None:
    wrong = Split(few_digits.validation.inputs, (few_digits.validation.targets + 1) % 10)
    data = Data(few_digits.card, few_digits.train, wrong, few_digits.test)
    rows, outcome = run(fit(job(max_epochs=20, patience=3), data))
    assert len(rows) == outcome.best_epoch + 3 < 20 and outcome.stopped_early
    rows, outcome = run(fit(job(max_epochs=6, patience=None), data))
    assert len(rows) == 6 and not outcome.stopped_early


def test_a_better_metric_is_larger_or_smaller_as_the_job_says(few_digits: Data) -> None:
    for direction, best in (("max", max), ("min", min)):
        rows, outcome = run(fit(job(metric="validation_accuracy", direction=direction), few_digits))
        assert outcome.best_value == best(row["validation_accuracy"] for row in rows)


def test_the_test_split_is_touched_on_request_only(few_digits: Data) -> None:
    class Forbidden:
        def __len__(self) -> int:
            return 100

        def to(self, device: Any) -> Any:
            raise AssertionError("the test split was touched")

    guarded = replace(few_digits, test=Split(Forbidden(), Forbidden()))  # type: ignore[arg-type]
    _, outcome = run(fit(job(), guarded))
    assert outcome.test is None
    with pytest.raises(AssertionError, match="touched"):
        run(fit(job(test=True), guarded))


def test_random_numbers_of_the_caller_are_left_alone(few_digits: Data) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    run(fit(job(config=ALL_AT_WORK), few_digits))
    assert torch.equal(torch.rand(3), expected)


def test_clipping_bounds_a_step_and_reports_the_norm_before_it(few_digits: Data) -> None:
    def moved(clip: float) -> tuple[float, float]:
        config = {"optimizer": "sgd", "learning_rate": 1.0, "batch_size": 200, "gradient_clip": clip}
        wanted = job(config=config, max_epochs=1)
        before = network(wanted, few_digits.card).state_dict()
        rows, outcome = run(fit(wanted, few_digits))
        change = sum(float((outcome.weights[name] - before[name]).square().sum()) for name in before)
        return math.sqrt(change), rows[0]["gradient_norm"]

    free, norm = moved(0.0)
    assert free == pytest.approx(norm, rel=1e-4), "one step of SGD at rate 1 moves by the gradient"
    clipped, norm_before = moved(0.01)
    assert clipped == pytest.approx(0.01, rel=1e-3) and norm_before == pytest.approx(norm)


def test_l1_pulls_weights_but_not_biases_to_zero_and_is_not_in_the_loss(few_digits: Data) -> None:
    def one_step(l1: float) -> tuple[dict[str, torch.Tensor], float]:
        config = {"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 200, "l1": l1}
        rows, outcome = run(fit(job(config=config, max_epochs=1), few_digits))
        return outcome.weights, rows[0]["train_loss"]

    (plain, loss), (pulled, same_loss) = one_step(0.0), one_step(0.01)
    before = network(job(), few_digits.card).state_dict()
    assert same_loss == loss
    for name, start in before.items():
        expected = -0.1 * 0.01 * start.sign() if start.ndim > 1 else torch.zeros_like(start)
        torch.testing.assert_close(pulled[name] - plain[name], expected, atol=1e-6, rtol=0)


def test_the_rate_of_a_row_is_that_of_its_last_step(few_digits: Data) -> None:
    config = {"learning_rate": 0.01, "schedule": "step", "step_fraction": 0.5, "step_gamma": 0.1, "batch_size": 50}
    rows, _ = run(fit(job(config=config), few_digits))
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_a_single_row_more_than_the_batches_hold_does_not_break_normalization(few_digits: Data) -> None:
    odd = Split(few_digits.train.inputs[:65], few_digits.train.targets[:65])
    rows, _ = run(fit(job(config={"batch_norm": True, "batch_size": 64}), replace(few_digits, train=odd)))
    assert rows[-1]["samples"] == 4 * 65


ONE_ROW = "batch normalization needs two rows or more a step, found batch_size {} and {} training rows"


@pytest.mark.parametrize(("batch_size", "rows"), [(1, 200), (64, 1)])
def test_one_row_a_step_is_refused_where_it_would_be_normalized(batch_size: int, rows: int, few_digits: Data) -> None:
    few = replace(few_digits, train=Split(few_digits.train.inputs[:rows], few_digits.train.targets[:rows]))
    config = {"batch_size": batch_size}
    with pytest.raises(UserError, match=f"mlp: {ONE_ROW.format(batch_size, rows)}") as error:
        next(fit(job(config=config | {"batch_norm": True}), few))
    assert "\n" not in str(error.value)
    assert next(fit(job(config=config), few))["samples"] == rows
    assert next(fit(job("resnet", size="xs", config=config), few))["samples"] == rows, "of a map there are many values"


def test_one_image_a_step_is_refused_only_where_its_maps_become_one_pixel() -> None:
    config = {"batch_norm": True, "batch_size": 1}
    data, task = example("unet", "segmentation", rows=3), TASKS["segmentation"]()
    assert next(fit(job("unet", size="xs", config=config), data))["samples"] == 3
    small = Split(*task.example(3, (1, 8, 8), data.card.outputs))
    with pytest.raises(UserError, match=f"unet: {ONE_ROW.format(1, 3)}"):
        next(fit(job("unet", size="xs", config=config), Data(replace(data.card, input_shape=(1, 8, 8)), *[small] * 3)))


def test_stopping_to_ask_ends_it_without_a_trace(few_digits: Data, tmp_path: Path) -> None:
    epochs = fit(job(), few_digits, "cpu", tmp_path / "a.pt")
    next(epochs)
    epochs.close()
    assert list(tmp_path.iterdir()) == []


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"metric": "validation_acuracy"}, "did you mean 'validation_accuracy'"),
    ({"direction": "up"}, "min or max"),
    ({"max_epochs": 0}, "max_epochs"),
    ({"patience": 0}, "patience"),
    ({"config": {"dropuot": 0.1}}, "did you mean 'dropout'"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_in_a_job_is_named_before_the_first_epoch(
    changes: dict[str, Any], message: str, few_digits: Data
) -> None:
    with pytest.raises(UserError, match=message):
        next(fit(job(**changes), few_digits))


def test_an_empty_split_is_named(few_digits: Data) -> None:
    empty = Split(few_digits.train.inputs[:0], few_digits.train.targets[:0])
    for name in ("train", "validation", "test"):
        with pytest.raises(UserError, match=f"the {name} split is empty"):
            next(fit(job(), replace(few_digits, **{name: empty})))  # type: ignore[arg-type]


UNMEASURED = [
    ("mlp", "regression", 1.5, ["r2"], "no target varies"),
    ("vae", "anomaly_detection", 0, ["roc_auc", "average_precision"], "no row is an anomaly"),
    ("vae", "anomaly_detection", 1, ["loss", "roc_auc"], "no row is normal"),
    ("unet", "segmentation", 0, ["iou", "dice"], "no pixel is of any class but the background"),
    ("gnn", "multilabel", 1.0, ["roc_auc"], "no property has both labels"),
    ("gnn", "multilabel", math.nan, ["loss", "roc_auc"], "no label is known"),
]


@pytest.mark.parametrize(
    ("family", "task", "everywhere", "metrics", "why"), [if_installed(*case) for case in UNMEASURED]
)
def test_a_metric_that_the_validation_split_cannot_tell_is_no_divergence(
    family: str, task: str, everywhere: float, metrics: list[str], why: str
) -> None:
    data = example(family, task)
    if task == "anomaly_detection":  # as prepared: those of validation and test are of both kinds
        data.validation.targets[::4] = 1
    for metric in metrics:
        judged = job(family, config={}, metric=f"validation_{metric}", direction=TASKS[task].metrics[metric])
        assert math.isfinite(next(fit(judged, data))[f"validation_{metric}"]), "the split as it was can tell"
    data.validation.targets.fill_(everywhere)
    for metric in metrics:
        judged = job(family, config={}, metric=f"validation_{metric}", direction=TASKS[task].metrics[metric])
        message = (
            f"validation_{metric} can't be measured: {why} in the validation split (24 rows); choose another metric"
        )
        with pytest.raises(UserError, match=re.escape(message)) as error:
            next(fit(judged, data))
        assert "\n" not in str(error.value)


def test_without_a_variance_the_error_itself_is_still_judged_by(diabetes: Data) -> None:
    one = replace(diabetes, validation=Split(diabetes.validation.inputs[:1], diabetes.validation.targets[:1]))
    rows, outcome = run(fit(job(max_epochs=2), one))
    assert math.isfinite(outcome.best_value) and math.isnan(rows[-1]["validation_r2"])
    with pytest.raises(UserError, match=r"no target varies in the validation split \(1 rows\)"):
        next(fit(job(metric="validation_r2", direction="max"), one))
