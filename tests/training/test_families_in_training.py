"""What every family has to fulfil in training, and every loss and regularization that a search space can reach."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import example, families_and_tasks
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.models import FAMILIES
from orchestrator.space import Choice, Space, load
from orchestrator.tasks import TASKS, judged
from orchestrator.training.fit import Job, Outcome, fit
from orchestrator.training.parameters import parameters

ROOT = Path(__file__).parents[2]
MEASURED = ("seconds", "samples_per_second")  # the clock's, all else is the job's
pairs = pytest.mark.parametrize(("family", "task"), families_and_tasks())
ALL_AT_WORK = {
    "optimizer": "adamw", "learning_rate": 3e-3, "batch_size": 8, "weight_decay": 1e-2, "l1": 1e-6, "dropout": 0.2,
    "schedule": "cosine", "warmup_fraction": 0.2, "gradient_clip": 1.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many are generated as tell something here."""
    monkeypatch.setattr(judged, "GENERATED", 20)


def job(family: str, task: str, seed: int = 0) -> Job:
    by_loss = "loss" in TASKS[task].metrics
    return Job(family, "xs", ALL_AT_WORK, seed, 3, "validation_loss" if by_loss else "train_loss", test=True)


def run(job: Job, data: Any, path: Path | None = None) -> tuple[list[dict[str, Any]], Outcome]:
    epochs, rows = fit(job, data, "cpu", path), []
    while True:
        try:
            row = next(epochs)
        except StopIteration as end:
            return rows, end.value
        rows.append({name: value for name, value in row.items() if name not in MEASURED})


@pairs
def test_a_training_is_its_seeds_and_goes_on_from_a_checkpoint_to_the_last_bit(
    family: str, task: str, tmp_path: Path
) -> None:
    data, path, wanted = example(family, task), tmp_path / "a.pt", job(family, task)
    torch.manual_seed(1)
    whole, outcome = run(wanted, data)
    assert all(torch.tensor(row["train_loss"]).isfinite() for row in whole)
    interrupted = fit(wanted, data, "cpu", path, checkpoint_epochs={1})
    next(interrupted), next(interrupted)  # the second epoch is lost
    interrupted.close()
    torch.manual_seed(2)
    resumed, other = run(wanted, data, path)
    # As text, to the last digit: what no row of a split can tell is nan, which equals nothing.
    assert str(resumed) == str(whole) and str(other.test) == str(outcome.test)
    assert other.best_epoch == outcome.best_epoch
    assert list(other.weights) == list(outcome.weights)
    assert all(torch.equal(other.weights[name], weights) for name, weights in outcome.weights.items())
    reseeded, _ = run(job(family, task, seed=1), data)
    assert reseeded[0]["train_loss"] != whole[0]["train_loss"]


# ---- losses ----------------------------------------------------------------------------------------------------

LOGITS, CLASSES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0]]), torch.tensor([0, 2])
VALUES, TRUE = torch.tensor([[0.3], [2.5]]), torch.tensor([[0.0], [-1.0]])
YES_OR_NO = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
SCORES = torch.tensor([[0.4], [-2.0]])  # of a discriminator, of real and of generated images alike


class Said(nn.Module):
    """Gives what it was given: outputs of a network that is beside the point."""

    def forward(self, outputs: Tensor) -> Tensor:
        return outputs


class Coder(nn.Module):
    """A VAE of one latent without variance."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(len(images), 1), torch.full((len(images), 1), -60.0)

    def decode(self, latents: Tensor) -> Tensor:
        return torch.zeros(len(latents), 3)


class Game(nn.Module):
    def generate(self, rows: int) -> Tensor:
        return SCORES[:rows]

    def score(self, images: Tensor) -> Tensor:
        return images[:, 0]


# Loss of the document → task, its configuration, network, inputs, targets, and torch's own (or the formula's) value,
# which of an adversarial loss is the discriminator's.
LOSSES: Mapping[str, tuple[str, Mapping[str, Any], nn.Module, Tensor, Tensor, Tensor]] = {
    "cross-entropy": ("classification", {}, Said(), LOGITS, CLASSES, functional.cross_entropy(LOGITS, CLASSES)),
    "label smoothing": (
        *("classification", {"label_smoothing": 0.2}, Said(), LOGITS, CLASSES),
        0.8 * functional.cross_entropy(LOGITS, CLASSES) - 0.2 * LOGITS.log_softmax(1).mean(),
    ),
    "one against all": (
        *("classification", {"classification_loss": "binary_cross_entropy"}, Said(), LOGITS, CLASSES),
        functional.multilabel_soft_margin_loss(LOGITS, functional.one_hot(CLASSES, 3)) * 3,
    ),
    "MSE": ("regression", {"loss_function": "mse"}, Said(), VALUES, TRUE, torch.tensor((0.09 + 12.25) / 2)),
    "MAE": ("regression", {"loss_function": "mae"}, Said(), VALUES, TRUE, torch.tensor((0.3 + 3.5) / 2)),
    "Huber": (
        *("regression", {"loss_function": "huber", "huber_delta": 0.5}, Said(), VALUES, TRUE),
        torch.tensor((0.09 / 2 + 0.5 * (3.5 - 0.25)) / 2),
    ),
    "BCE": (
        *("multilabel", {}, Said(), LOGITS, YES_OR_NO),
        functional.binary_cross_entropy(LOGITS.sigmoid(), YES_OR_NO),
    ),
    "ELBO": (
        # Of each of three pixels ln 2, and the divergence of a mean of 1 and a variance of e⁻⁶⁰, with its weight β.
        *("generation", {"beta": 2.0}, Coder(), torch.zeros(2, 3), torch.zeros(2, 0)),
        3 * torch.tensor(2.0).log() + 2 * 0.5 * (1 - 1 + 60),
    ),
    "adversarial, non-saturating": (
        *("adversarial_generation", {"adversarial_loss": "non_saturating"}, Game(), SCORES, SCORES),
        -SCORES.sigmoid().log().mean() - (1 - SCORES.sigmoid()).log().mean(),
    ),
    "adversarial, hinge": (
        *("adversarial_generation", {"adversarial_loss": "hinge"}, Game(), SCORES, SCORES),
        torch.tensor((0.6 + 3.0) / 2 + (1.4 + 0.0) / 2),
    ),
    "adversarial, Wasserstein": (
        *("adversarial_generation", {"adversarial_loss": "wasserstein", "penalty": 0.0}, Game(), SCORES, SCORES),
        torch.tensor(0.0),
    ),
    "Dice": (
        # One pixel whose class 1 has a probability of 3/4, truly of that class: 1 - (2 · 3/4 + 1) / (3/4 + 1 + 1).
        *("segmentation", {"dice_weight": 1.0}, Said(), torch.tensor([1.0, 3.0]).log().view(1, 2, 1, 1)),
        *(torch.ones(1, 1, 1, dtype=torch.uint8), torch.tensor(1 - 2.5 / 2.75)),
    ),
}  # fmt: skip

# Losses that only some families' recipes have; the spaces of others may name them.
OF_SOME = {"one against all": ["resnet", "vit"]}


@cache
def spaces() -> dict[tuple[str, str], Space]:
    """The search space of each family for each of its tasks."""
    return {
        (family, task): load(ROOT / "search_spaces" / f"{family}.yaml").given(task=task)
        for family in FAMILIES
        for task in FAMILIES[family].tasks
    }


def allows(space: Space, name: str, value: Any) -> bool:
    """Whether the space can draw that value."""
    if name not in space.parameters:
        return False
    parameter = space.parameters[name]
    return value in parameter.values if isinstance(parameter, Choice) else parameter.low <= value <= parameter.high


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_its_formula_and_can_be_chosen_in_the_spaces_of_its_task(loss: str) -> None:
    task, config, model, inputs, targets, expected = LOSSES[loss]
    _, found = next(TASKS[task](**config).step(model, inputs, targets))
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    families = OF_SOME.get(loss) or [family for family in FAMILIES if task in FAMILIES[family].tasks]
    assert families
    chosen = {name: value for name, value in config.items() if name.endswith(("loss", "loss_function"))}
    for family in families:
        space = spaces()[family, task]
        assert all(allows(space, name, value) for name, value in chosen.items()), family
        # What is a number has a range of its own.
        assert set(config) <= set(space.parameters), family


# ---- regularization --------------------------------------------------------------------------------------------

# What the document lists → a configuration that turns it on. The tests of what each does: test_fit.py (L1),
# test_optimizers.py (L2, weight decay), and those of the models and tasks.
REGULARIZATIONS: Mapping[str, Mapping[str, Any]] = {
    "L1": {"l1": 1e-6},
    "L2": {"optimizer": "adam", "weight_decay": 1e-4},
    "weight decay": {"optimizer": "adamw", "weight_decay": 1e-4},
    "dropout": {"dropout": 0.1},
    "batch norm": {"batch_norm": True},
    "label smoothing": {"label_smoothing": 0.1},
}
IN_EVERY_SPACE = ("L2", "weight decay", "dropout")


@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_every_regularization_can_be_reached_from_the_space_of_each_family_that_has_it(name: str) -> None:
    config = REGULARIZATIONS[name]
    reached = {pair for pair, space in spaces().items() if all(allows(space, *item) for item in config.items())}
    having = {pair for pair in spaces() if set(config) <= set(parameters(*pair))}
    if name == "L1":
        # The games and the graphs leave it out, as their papers do; every other space has it.
        having -= {pair for pair in having if pair[0] in ("gan", "vae", "diffusion", "gnn")}
    assert reached >= having and (name not in IN_EVERY_SPACE or having == set(spaces()))
    assert len(reached) >= 4


@pytest.mark.parametrize("name", REGULARIZATIONS)
def test_a_regularization_changes_what_is_learnt(name: str) -> None:
    on = REGULARIZATIONS[name]
    off = {"optimizer": on.get("optimizer", "adam")}
    data = example("mlp", "classification")
    plain, regularized = (run(Job("mlp", "xs", {**off, **more}, 0, 2), data)[1].weights for more in ({}, on))
    assert any(not torch.equal(weights, regularized[name]) for name, weights in plain.items())
