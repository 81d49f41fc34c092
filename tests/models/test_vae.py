from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from orchestrator import records
from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import vae
from orchestrator.training.fit import Job, fit
from orchestrator.training.parameters import describe

LAYERS = ("dense", "convolutional")
layers = pytest.mark.parametrize("layers", LAYERS)


def build(layers: Any = "dense", shape: tuple[int, ...] = (1, 8, 8)) -> vae.VAE:
    torch.manual_seed(0)
    model = vae.build(vae.Config(width=20, maps=3, latents=4, layers=layers), shape, 0)
    assert isinstance(model, vae.VAE)
    return model.eval()


def test_the_papers_network_has_the_papers_layers() -> None:
    # 784 → 500 → 2 × 20, and 20 → 500 → 784.
    model = vae.build(vae.Config(width=500, maps=1, latents=20, activation="tanh"), (1, 28, 28), 784)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 785 * 500 + 501 * 40 + 21 * 500 + 501 * 784


@layers
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 11, 12), (3, 28, 28), (1, 32, 20), (1, 63, 65), (3, 64, 64)], ids=str)
def test_takes_images_of_8_to_64_pixels(layers: str, shape: tuple[int, ...]) -> None:
    model = build(layers, shape)
    mean, log_variance = model.encode(torch.rand(2, *shape))
    assert mean.shape == log_variance.shape == (2, 4)
    assert model(torch.rand(2, *shape)).shape == (2, torch.Size(shape).numel())
    assert model.generate(5).shape == (5, *shape)


@pytest.mark.parametrize("shape", [(24, 7), (1, 4, 4)], ids=str)
def test_refuses_what_is_no_image_and_no_row_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="vae takes images") as error:
        build(shape=shape)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


def test_rows_have_no_convolutions() -> None:
    with pytest.raises(UserError, match="convolutional layers need images, found rows of 12 numbers"):
        build("convolutional", (12,))


def rows_of(variance: Any) -> vae.VAE:
    torch.manual_seed(0)
    model = vae.build(vae.Config(width=20, maps=3, latents=4, variance=variance), (12,), 12)
    assert isinstance(model, vae.VAE)
    return model.eval()


@pytest.mark.parametrize("variance", ["row", "shared"])
def test_of_rows_the_decoder_tells_a_mean_and_a_variance_that_has_a_least_value(variance: str) -> None:
    model, latents = rows_of(variance), 1e4 * torch.randn(50, 4)
    told = model.decode(latents)
    assert told.shape == (50, 2, 12) and told.isfinite().all()
    # The density of a Gaussian is at most 1 there, so the loss at least 0.
    assert told[:, 1].min() >= vae.LEAST_VARIANCE == pytest.approx(0.159, abs=1e-3)
    assert (told[:, 1].std(0).max() > 0) == (variance == "row")
    inputs = torch.randn(3, 12)
    assert torch.equal(model(inputs), model.decode(model.encode(inputs)[0])[:, 0])


@pytest.mark.parametrize("variance", ["row", "shared"])
def test_what_does_not_go_with_the_others_is_found_without_a_label(variance: str) -> None:
    """Normal rows lie on a curve in four dimensions; an anomaly's numbers are each as usual as theirs, but not
    together, which no number alone tells."""
    chance = torch.Generator().manual_seed(0)

    def split(rows: int, odd: int) -> Split:
        along = torch.randn(rows, 1, generator=chance)
        made = torch.cat([along, -along, along.square() - 1, along.sin() * 1.5], 1)
        for column in range(1, 4):
            made[:odd, column] = made[torch.randperm(rows, generator=chance)[:odd], column]
        return Split(made + 0.05 * torch.randn(rows, 4, generator=chance), (torch.arange(rows) < odd).long())

    card = SimpleNamespace(task="anomaly_detection", input_shape=(4,), outputs=4)
    data: Any = SimpleNamespace(card=card, train=split(1000, 0), validation=split(300, 100), test=split(300, 100))
    config = {"variance": variance, "learning_rate": 3e-3, "batch_size": 32, "optimizer": "adam"}
    rows = list(fit(Job("vae", "s", config, 0, 15), data))
    assert rows[-1]["validation_roc_auc"] > 0.85 and rows[0]["validation_roc_auc"] < rows[-1]["validation_roc_auc"]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28)], ids=str)
def test_parameters_at_least_double_with_convolutions_too(shape: tuple[int, ...]) -> None:
    config = {"layers": "convolutional"}
    counts = [describe("vae", size, shape, 64, config=config).params for size in records.SIZES]
    assert all(after >= 2 * before for before, after in pairwise(counts)), counts


def test_operations_equal_a_count_by_hand() -> None:
    # The images need no gradient, so their first layer has two products where the others have three.
    dense = [64 * 32, 32 * 8, 4 * 32, 32 * 64]
    assert describe("vae", "xs", (1, 8, 8), 64).flops_per_sample == 2 * (3 * sum(dense) - dense[0])
    maps = [16 * 4 * 9, 4 * 8 * 4 * 9, 32 * 8, 4 * 32, 16 * 4 * 8 * 9, 64 * 4 * 9]
    described = describe("vae", "xs", (1, 8, 8), 64, config={"layers": "convolutional"})
    assert described.flops_per_sample == 2 * (3 * sum(maps) - maps[0])


@layers
def test_each_row_has_its_own_latents_and_each_latent_is_used(layers: str) -> None:
    model, images = build(layers), torch.rand(6, 1, 8, 8)
    together = model.encode(images)
    alone = model.encode(images[2:3])
    assert all(torch.allclose(a[2:3], b, atol=1e-6) for a, b in zip(together, alone, strict=True))
    base = model.decode(torch.zeros(1, 4))
    assert all((model.decode(one[None]) - base).abs().max() > 1e-4 for one in torch.eye(4))


def test_images_are_probabilities_and_follow_the_seed() -> None:
    model, made = build(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(model.generate(3).detach())
    first, again, other = made
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


@layers
def test_the_bound_gets_better_than_independent_pixels(layers: str, digits_images: Data) -> None:
    data = digits_images
    share = data.train.inputs.flatten(1).mean(0).clamp(1e-4, 1 - 1e-4).expand(len(data.validation), -1)
    pixels = data.validation.inputs.flatten(1)
    baseline = functional.binary_cross_entropy(share, pixels, reduction="sum").item() / len(pixels)
    config = {"layers": layers, "learning_rate": 3e-3, "batch_size": 32, "optimizer": "adam"}
    rows = list(fit(Job("vae", "m", config, 0, 20), data))
    assert rows[-1]["validation_loss"] < baseline - 1, (baseline, rows[-1])
    assert rows[-1]["validation_active_units"] >= 0.25
    assert rows[-1]["validation_kl"] > 1


def test_a_heavy_divergence_empties_the_latents(digits_images: Data) -> None:
    def used(beta: float) -> dict[str, Any]:
        config = {"learning_rate": 3e-3, "batch_size": 32, "optimizer": "adam", "beta": beta}
        return list(fit(Job("vae", "s", config, 0, 8), digits_images))[-1]

    free, heavy = used(0.1), used(50.0)
    assert heavy["validation_active_units"] < free["validation_active_units"]
    assert heavy["validation_kl"] < 0.1 * free["validation_kl"]


def test_an_interrupted_training_goes_on_as_it_was(digits_images: Data, tmp_path: Path) -> None:
    job = Job("vae", "xs", {"batch_size": 64, "dropout": 0.1}, 0, 3)
    whole = [row["validation_loss"] for row in fit(job, digits_images)]
    path = tmp_path / "a.pt"
    epochs = fit(job, digits_images, "cpu", path, checkpoint_epochs={1})
    next(epochs)
    epochs.close()
    assert [row["validation_loss"] for row in fit(job, digits_images, "cpu", path)] == whole
