from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from orchestrator.data.load import Data
from orchestrator.errors import UserError
from orchestrator.models import gan
from orchestrator.space import load
from orchestrator.training.fit import Job, fit
from orchestrator.training.flops import flops_per_sample
from orchestrator.training.parameters import describe, split_config

LOSSES = ("non_saturating", "hinge", "wasserstein")


def build(shape: tuple[int, ...] = (1, 8, 8), **others: Any) -> gan.GAN:
    torch.manual_seed(0)
    model = gan.build(gan.Config(maps=4, latents=16, **others), shape, 0)
    assert isinstance(model, gan.GAN)
    return model.eval()


def few(data: Data, rows: int) -> Data:
    return replace(data, train=replace(data.train, inputs=data.train.inputs[:rows], targets=data.train.targets[:rows]))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 11, 12), (3, 28, 28), (1, 32, 20), (1, 63, 65), (3, 64, 64)], ids=str)
def test_makes_and_scores_images_of_8_to_64_pixels(shape: tuple[int, ...]) -> None:
    model = build(shape)
    images = model.generate(5)
    assert images.shape == (5, *shape)
    assert model(images).shape == (5, 1) and torch.equal(model.score(images), model(images)[:, 0])


@pytest.mark.parametrize("shape", [(64,), (24, 7), (1, 4, 4)], ids=str)
def test_refuses_what_is_no_image_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="gan takes images") as error:
        build(shape)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


def test_the_layers_are_the_papers() -> None:
    model = build((3, 28, 28))
    weights = {name: tuple(weight.shape) for name, weight in model.named_parameters() if weight.ndim > 1}
    assert list(weights.values()) == [(8 * 7 * 7, 16), (8, 4, 4, 4), (4, 3, 4, 4), (4, 3, 4, 4), (8, 4, 4, 4), (1, 392)]
    drawn = torch.cat([weight.flatten() for weight in model.parameters() if weight.ndim > 1])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.03) and abs(drawn.mean()) < 1e-3


def test_images_are_intensities_and_follow_the_seed() -> None:
    model, made = build(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(model.generate(3).detach())
    first, again, other = made
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def test_each_image_has_its_own_score_and_in_evaluation_its_own_latents() -> None:
    model, images = build().train(), torch.rand(6, 1, 8, 8)
    assert torch.allclose(model.score(images)[2:3], model.score(images[2:3]), atol=1e-6)
    latents = torch.randn(6, 16)
    model.eval()
    assert torch.allclose(model.generator(latents)[2:3], model.generator(latents[2:3]), atol=1e-6)


def test_the_discriminator_is_normalized_but_for_its_first_layer_where_asked() -> None:
    assert not any(isinstance(module, nn.BatchNorm2d) for module in build().discriminator)
    layers = list(build(batch_norm=True).discriminator)
    (place,) = (at for at, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d))
    assert layers[place - 1].out_channels == layers[place].num_features == 8
    assert isinstance(layers[place + 1], nn.LeakyReLU)


def test_the_space_normalizes_no_discriminator_that_has_a_gradient_penalty() -> None:
    space = load(Path(__file__).parents[2] / "search_spaces" / "gan.yaml")
    assert "wasserstein" not in dict(space.parameters["batch_norm"].when)["adversarial_loss"]
    assert not gan.Config(maps=4, latents=16).batch_norm


def test_operations_equal_a_count_by_hand() -> None:
    # Multiplications of an image, forwards: the linear layer, then kernels of fractional stride by their inputs.
    generator = [16 * 32, 4 * (8 * 4 * 16), 16 * (4 * 1 * 16)]
    discriminator = [16 * (1 * 4 * 16), 4 * (4 * 8 * 16), 32]
    # Real and generated images need no gradient for the discriminator's update, latents never.
    own = sum(generator) + 2 * (3 * sum(discriminator) - discriminator[0])
    other = 3 * sum(generator) - generator[0] + 3 * sum(discriminator)
    counted = [
        describe("gan", "xs", (1, 8, 8), 64, config={"discriminator_steps": steps}).flops_per_sample for steps in (1, 3)
    ]
    assert counted == [2 * (own + other), 2 * (3 * own + other)]


def test_a_penalty_costs_and_is_counted_alike_for_real_and_on_the_meta_device() -> None:
    counted = {}
    for name in ("hinge", "wasserstein"):
        settings = split_config("gan", "xs", "generation", {"adversarial_loss": name})
        for device in ("cpu", "meta"):
            with torch.device(device):
                model = gan.build(settings.model, (1, 28, 28), 784)
            counted[name, device] = flops_per_sample(model, settings.task, (1, 28, 28), 784)
        assert counted[name, "cpu"] == counted[name, "meta"]
    assert 1.3 * counted["hinge", "cpu"] < counted["wasserstein", "cpu"] < 3 * counted["hinge", "cpu"]


@pytest.mark.parametrize("adversarial_loss", LOSSES)
def test_every_game_is_played_whole_and_in_pieces(adversarial_loss: str, digits_images: Data) -> None:
    config = {"adversarial_loss": adversarial_loss, "batch_size": 50, "discriminator_steps": 2}
    for pieces in (1, 3):
        job = Job("gan", "xs", config, 0, 2, "validation_frechet", micro_batches=pieces)
        first, second = fit(job, few(digits_images, 201))
        assert first["validation_frechet"] > 0 and first["gradient_norm"] > 0
        assert second["validation_frechet"] != first["validation_frechet"]


def test_the_generator_comes_nearer_to_the_images(digits_images: Data) -> None:
    config = {"adversarial_loss": "wasserstein", "penalty": 1.0, "batch_size": 32, "learning_rate": 1e-3}
    config |= {"beta1": 0.0, "beta2": 0.9}
    rows = list(fit(Job("gan", "m", config, 0, 20, "validation_frechet"), digits_images))
    assert rows[-1]["validation_frechet"] < 0.5 * rows[0]["validation_frechet"]
    assert rows[-1]["validation_coverage"] > 0.2


def test_an_interrupted_training_goes_on_as_it_was(digits_images: Data, tmp_path: Path) -> None:
    config = {"batch_size": 64, "dropout": 0.1, "adversarial_loss": "wasserstein"}
    job, path, data = Job("gan", "xs", config, 0, 3, "validation_frechet"), tmp_path / "a.pt", few(digits_images, 300)
    measured = ("train_loss", "validation_frechet", "validation_coverage")
    whole = [[row[name] for name in measured] for row in fit(job, data)]
    epochs = fit(job, data, "cpu", path, checkpoint_epochs={1})
    next(epochs)
    epochs.close()
    assert [[row[name] for name in measured] for row in fit(job, data, "cpu", path)] == whole
