from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn

from orchestrator.data.load import Split
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.tasks import TASKS
from orchestrator.tasks.classification import Classification
from orchestrator.tasks.predict import predict
from orchestrator.tokens import END, Tokens
from orchestrator.training.batches import Rows


class Bell(nn.Module):
    """Every row is drawn around itself, with a variance of 1."""

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return inputs, torch.zeros_like(inputs)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.stack([latents, torch.ones_like(latents)], 1)


class Echo(nn.Module):
    """Its outputs are its inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def split(rows: int = 101, classes: int = 5) -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(torch.randn(rows, classes, generator=generator), torch.randint(classes, (rows,), generator=generator))


@pytest.mark.parametrize("batch_size", [1000, 7])
def test_metrics_agree_with_scikit_learn_whatever_the_batch_size(batch_size: int) -> None:
    data = split()
    measured = Classification().evaluate(Echo(), data, batch_size)
    assert measured["loss"] == pytest.approx(log_loss(data.targets, data.inputs.double().softmax(1)), rel=1e-5)
    assert measured["accuracy"] == pytest.approx(accuracy_score(data.targets, data.inputs.argmax(1)))


def test_smoothing_spreads_a_share_of_the_target_over_all_classes() -> None:
    data = split()
    [(player, loss)] = Classification(label_smoothing=0.2).step(Echo(), data.inputs, data.targets)
    targets = 0.8 * nn.functional.one_hot(data.targets, 5) + 0.2 / 5
    by_hand = -(targets * data.inputs.log_softmax(1)).sum(1).mean()
    assert player == ""
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_one_against_all_has_a_smoothed_target_for_each_class() -> None:
    data = split()
    task = Classification(classification_loss="binary_cross_entropy", label_smoothing=0.2)
    [(_, loss)] = task.step(Echo(), data.inputs, data.targets)
    targets = 0.8 * nn.functional.one_hot(data.targets, 5) + 0.2 / 5
    ones, zeros = data.inputs.sigmoid().log(), (-data.inputs).sigmoid().log()
    assert loss.item() == pytest.approx(-(targets * ones + (1 - targets) * zeros).sum(1).mean().item(), rel=1e-5)


def test_evaluation_is_without_smoothing_and_by_the_cross_entropy_always() -> None:
    data = split()
    other = Classification(label_smoothing=0.3, classification_loss="binary_cross_entropy")
    assert other.evaluate(Echo(), data, 64) == Classification().evaluate(Echo(), data, 64)


def test_logits_of_two_equal_classes_cost_a_bit_each() -> None:
    data = Split(torch.zeros(8, 2), torch.arange(8) % 2)
    assert Classification().evaluate(Echo(), data, 8)["loss"] == pytest.approx(math.log(2))


def test_evaluation_turns_dropout_off_and_restores_training_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5)).train()
    data = split()
    assert torch.equal(predict(model, data, 10), data.inputs)
    assert model.training
    model.eval()
    predict(model, data, 10)
    assert not model.training


class Speaker(nn.Module):
    """Of text: says nothing but <end>, each token as probable as any other."""

    vocabulary = 12

    def at_every_step(self, inputs: Tensor, before: Tensor | None = None) -> Tensor:
        return torch.zeros(*(inputs if before is None else before).shape, 12)

    def at_places(self, tokens: Tensor, places: Tensor) -> Tensor:
        return torch.zeros(*places.shape, 12)

    def greedy(self, inputs: Tensor, steps: int) -> Tensor:
        return torch.full((len(inputs), steps), END)


class Guesser(nn.Module):
    """Of images: all are alike to it, and any pixel as probably black as white. It sees no noise."""

    steps = 10

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(images), 2), torch.zeros(len(images), 2)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.zeros(len(latents), 3)

    def compared_at(self, rows: int) -> Tensor:
        return torch.randint(self.steps, (rows,))

    def noisy(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        return noise

    def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
        return torch.zeros_like(noisy)

    def generate(self, rows: int) -> Tensor:
        return torch.rand(rows, 3)


class Judge:
    def __call__(self, images: Tensor) -> Tensor:
        return images


class Reader(nn.Module):
    """Of graphs: each class is as probable to it as any other."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.zeros(len(inputs), 3, 4)


def test_every_task_returns_the_metrics_it_declares() -> None:
    text: tuple[nn.Module, tuple[int, ...], int] = (Speaker(), Tokens(4, 12), 12)
    others = {"language_modelling": text, "masked_language_modelling": text, "transduction": text}
    others |= dict.fromkeys(("generation", "adversarial_generation", "denoising"), (Guesser(), (3,), 3))
    others["segmentation"] = (Echo(), (3, 4, 4), 3)
    graphs = Graphs(4, 2, 2, 9, 4, 8, each_node=True)
    others["node_classification"] = (Reader(), graphs, 3)
    others["anomaly_detection"] = (Bell(), (3,), 3)
    for name, task in TASKS.items():
        model, shape, outputs = others.get(name, (Echo(), (3,), 3))
        inputs, targets = task().example(20, shape, outputs)
        measured = task().evaluate(model, Rows(inputs, targets, Judge()), 8)
        assert list(measured) == list(task.metrics), name
        assert set(task.metrics.values()) <= {"min", "max"}
        assert all(type(value) is float for value in measured.values())


@pytest.mark.parametrize("wrong", [-0.1, 1.0, math.nan])
def test_smoothing_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="label_smoothing"):
        Classification(label_smoothing=wrong)
