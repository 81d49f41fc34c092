from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.load import Data
from orchestrator.errors import UserError
from orchestrator.models import diffusion
from orchestrator.models.diffusion import STEPS, remaining
from orchestrator.training.fit import Job, fit
from orchestrator.training.parameters import describe

SCHEDULES, SAMPLERS = ("linear", "cosine"), ("ddpm", "ddim")


def build(shape: tuple[int, ...] = (1, 8, 8), **others: Any) -> diffusion.Diffusion:
    torch.manual_seed(0)
    model = diffusion.build(diffusion.Config(maps=8, **others), shape, 0)
    assert isinstance(model, diffusion.Diffusion)
    return model.eval()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 11, 12), (3, 28, 28), (1, 32, 20), (1, 63, 65), (3, 64, 64)], ids=str)
def test_takes_and_makes_images_of_8_to_64_pixels(shape: tuple[int, ...]) -> None:
    model = build(shape, sampling_steps=2)
    with torch.inference_mode():
        assert model(torch.rand(2, *shape)).shape == (2, math.prod(shape))
        assert model.generate(3).shape == (3, *shape)


@pytest.mark.parametrize("shape", [(64,), (24, 7), (1, 4, 4)], ids=str)
def test_refuses_what_is_no_image_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="diffusion takes images") as error:
        build(shape)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


@pytest.mark.parametrize(("wrong", "levels"), [(0, STEPS), (STEPS + 1, STEPS), (101, 100)])
def test_a_number_of_sampling_steps_outside_its_range_is_refused(wrong: int, levels: int) -> None:
    with pytest.raises(UserError, match=rf"sampling_steps must be from 1 to {levels} \(noise_levels\), found {wrong}"):
        build(sampling_steps=wrong, noise_levels=levels)


def test_too_few_noise_levels_are_refused() -> None:
    build(noise_levels=25, sampling_steps=25)
    with pytest.raises(UserError, match="noise_levels must be at least 25, found 24"):
        build(noise_levels=24, sampling_steps=5)


def test_operations_equal_a_count_by_hand() -> None:
    """Multiplications of an image of 8×8 forwards, C = 8: patches of 4×4 places, then 2×2, then one."""

    def block(before: int, after: int, places: int) -> int:
        beside = before * after * places if before != after else 0
        return 9 * (before + after) * after * places + 32 * after + beside

    embedding, stem = 32 * 32, 16 * 9 * 4 * 8
    attention = 16 * 48 + 2 * 16 + 16 * 16
    counted = [
        *(2 * embedding, stem, 16 * 9 * 8 * 4),
        *(block(8, 8, 16), block(16, 16, 4), block(16, 16, 1), 4 * 9 * 8 * 16, 9 * 16 * 16),
        *(2 * block(16, 16, 1), attention),
        *(block(32, 16, 1), block(32, 16, 4), block(16, 8, 16), 4 * 9 * 16 * 16, 16 * 9 * 16 * 8),
    ]
    # Neither the step nor the image needs a gradient.
    by_hand = 3 * sum(counted) - embedding - stem
    assert describe("diffusion", "xs", (1, 8, 8), 64).flops_per_sample == 2 * by_hand


# ---- schedules -------------------------------------------------------------------------------------------------


def test_the_linear_schedule_is_the_papers() -> None:
    left = remaining("linear")
    rates = 1 - left / torch.cat([torch.ones(1, dtype=torch.float64), left[:-1]])
    assert rates[0].item() == pytest.approx(1e-4) and rates[-1].item() == pytest.approx(0.02)
    assert torch.allclose(rates.diff(), torch.full((STEPS - 1,), 0.0199 / 999, dtype=torch.float64), rtol=1e-4)
    assert left[-1].item() == pytest.approx(4.04e-5, rel=0.01)


def test_the_cosine_schedule_is_the_papers_but_for_the_clipped_last_step() -> None:
    def height(step: float) -> float:
        return math.cos((step / STEPS + 0.008) / 1.008 * math.pi / 2) ** 2

    left = remaining("cosine")
    for step in (0, 1, 249, 499, 998):
        assert left[step].item() == pytest.approx(height(step + 1) / height(0), rel=1e-9)
    assert left[999].item() == pytest.approx(left[998].item() * 0.001)


@pytest.mark.parametrize("noise_schedule", SCHEDULES)
@pytest.mark.parametrize("levels", [100, 300, 4000])
def test_with_any_number_of_levels_the_way_is_the_same(noise_schedule: str, levels: int) -> None:
    """As far along, as much is left of the image; and what the network is told of the place is the same."""
    few, many = remaining(noise_schedule, levels), remaining(noise_schedule)
    assert len(few) == levels
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert few[round(share * levels) - 1].item() == pytest.approx(many[round(share * STEPS) - 1].item(), abs=0.01)
    assert few[-1] < 1e-4 and few[0] > 0.99
    told: list[Tensor] = []
    model = build(noise_schedule=noise_schedule, noise_levels=levels)
    model.average.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))
    model.noise(torch.rand(2, 1, 8, 8), torch.tensor([0, levels // 2]))
    assert told[0].tolist() == pytest.approx([0, 500])


@pytest.mark.parametrize("noise_schedule", SCHEDULES)
def test_noise_takes_the_place_of_the_image_with_the_same_variance(noise_schedule: Any) -> None:
    model = build(noise_schedule=noise_schedule)
    images, noise = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    steps = torch.tensor([0, 300, 700, 999])
    noisy = model.noisy(images, steps, noise)
    for row, step in enumerate(steps):
        left = remaining(noise_schedule)[step].item()
        expected = math.sqrt(left) * (2 * images[row] - 1) + math.sqrt(1 - left) * noise[row]
        assert torch.allclose(noisy[row], expected, atol=1e-5)


# ---- samplers --------------------------------------------------------------------------------------------------


class Perfect(diffusion.Diffusion):
    """Knows that the pixels, from -1 to 1, are normal with the mean 0.2 and the deviation 0.25."""

    mean, deviation = 0.2, 0.25

    def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
        left = self.remaining.double()[steps][:, None, None, None]
        centred = noisy - left.sqrt() * self.mean
        return ((1 - left).sqrt() * centred / (left * self.deviation**2 + 1 - left)).float()


@pytest.mark.parametrize("noise_schedule", SCHEDULES)
@pytest.mark.parametrize(("sampler", "sampling_steps"), [("ddpm", 1000), ("ddim", 1000), ("ddim", 50)])
def test_who_knows_the_noise_makes_the_distribution(noise_schedule: Any, sampler: Any, sampling_steps: int) -> None:
    config = diffusion.Config(8, noise_schedule, sampler, sampling_steps)
    torch.manual_seed(0)
    with torch.inference_mode():
        pixels = 2 * Perfect(config, (1, 8, 8)).generate(100) - 1
    assert pixels.mean().item() == pytest.approx(0.2, abs=0.02)
    # Fewer steps lose variance, a ninth of the deviation in fifty.
    assert pixels.std().item() == pytest.approx(0.25, rel=0.06 if sampling_steps == STEPS else 0.15)


@pytest.mark.parametrize("noise_schedule", SCHEDULES)
@pytest.mark.parametrize("levels", [1000, 200])
def test_with_all_steps_ddpm_is_the_papers_posterior(noise_schedule: Any, levels: int) -> None:
    # Equations 6 and 7, of the image that the noise tells.
    model = build(noise_schedule=noise_schedule, sampler="ddpm", sampling_steps=levels, noise_levels=levels)
    noisy, left = 0.1 * torch.randn(5, 1, 8, 8), remaining(noise_schedule, levels)
    for step in (1, levels // 10, 6 * levels // 10):
        now, after = left[step].item(), left[step - 1].item()
        rate = 1 - now / after
        with torch.inference_mode():
            told = model.noise(noisy, torch.full((5,), step))
            image = ((noisy - math.sqrt(1 - now) * told) / math.sqrt(now)).clamp(-1, 1)
            mean = math.sqrt(after) * rate * image + math.sqrt(now / after) * (1 - after) * noisy
            torch.manual_seed(step)
            found = model.denoise(noisy, step, step - 1)
            torch.manual_seed(step)
            expected = mean / (1 - now) + math.sqrt((1 - after) / (1 - now) * rate) * torch.randn(5, 1, 8, 8)
        assert torch.allclose(found, expected, atol=1e-4), step


@pytest.mark.parametrize("noise_schedule", SCHEDULES)
@pytest.mark.parametrize(("step", "following"), [(900, 850), (500, 100), (40, 39), (0, None)])
def test_a_ddim_step_is_the_papers_with_zero_noise(noise_schedule: Any, step: int, following: int | None) -> None:
    # Equation 12 with σ = 0: the image that the noise tells, with the same noise of the following step. A noisy image
    # made of both comes out as the image with less of the very same noise, whatever random numbers are next.
    class Knows(diffusion.Diffusion):
        def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
            return true

    torch.manual_seed(0)
    image, true = 2 * torch.rand(5, 1, 8, 8) - 1, torch.randn(5, 1, 8, 8)
    left = remaining(noise_schedule)
    now, after = left[step].item(), 1.0 if following is None else left[following].item()
    model = Knows(diffusion.Config(8, noise_schedule, "ddim"), (1, 8, 8))
    noisy = math.sqrt(now) * image + math.sqrt(1 - now) * true
    found, again = model.denoise(noisy, step, following), model.denoise(noisy, step, following)
    assert torch.equal(found, again)
    assert torch.allclose(found, math.sqrt(after) * image + math.sqrt(1 - after) * true, atol=5e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_only_ddpm_draws_noise_on_the_way_and_both_follow_the_seed(sampler: Any) -> None:
    model = build(sampler=sampler, sampling_steps=5)
    noisy = torch.randn(3, 1, 8, 8)
    with torch.inference_mode():
        once, twice = model.denoise(noisy, 500, 400), model.denoise(noisy, 500, 400)
        assert torch.equal(once, twice) == (sampler == "ddim")
        made = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            made.append(model.generate(3))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert made[0].min() >= 0 and made[0].max() <= 1


@pytest.mark.parametrize(
    ("sampling_steps", "levels"), [(1, 1000), (2, 100), (7, 1000), (999, 1000), (1000, 1000), (50, 50)]
)
def test_sampling_goes_from_the_last_step_to_the_first_over_as_many_as_told(
    sampling_steps: int, levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[tuple[int, int | None]] = []

    def denoise(self: Any, noisy: Tensor, step: int, following: int | None) -> Tensor:
        gone.append((step, following))
        return noisy

    monkeypatch.setattr(diffusion.Diffusion, "denoise", denoise)
    build(sampling_steps=sampling_steps, noise_levels=levels).generate(1)
    assert len(gone) == sampling_steps and gone[0][0] == levels - 1 and gone[-1][1] is None
    assert sampling_steps == 1 or gone[-1][0] == 0
    assert all(here[1] == there[0] < here[0] for here, there in pairwise(gone))


# ---- the average -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_schedule", SCHEDULES)
@pytest.mark.parametrize("levels", [1000, 300, 100])
def test_networks_are_compared_at_the_same_noise_whatever_their_schedule(noise_schedule: Any, levels: int) -> None:
    """A loss at steps of its own would be the lower the more noise a schedule has."""
    model = build(noise_schedule=noise_schedule, noise_levels=levels)
    torch.manual_seed(0)
    noise = remaining("linear").float()[torch.randint(STEPS, (500,))]
    torch.manual_seed(0)
    assert (model.remaining[model.compared_at(500)] - noise).abs().max() < 2 / levels


def test_the_average_is_state_and_no_parameter() -> None:
    model = build()
    assert not [name for name, _ in model.named_parameters() if "average" in name]
    kept = {name.removeprefix("average.") for name in model.state_dict() if name.startswith("average.")}
    assert kept == {name for name, _ in model.network.named_parameters()}


def test_the_average_follows_by_hand_and_faster_at_the_start() -> None:
    model = build()
    slow, fast = model.average.stem.bias, model.network.stem.bias
    assert torch.equal(slow, fast) and slow is not fast
    expected = slow.clone()
    for updates, decay in enumerate((0.1, 2 / 11, 0.2)):
        with torch.no_grad():
            fast += 1
        model.follow(0.2)
        expected += (1 - decay) * (fast.detach() - expected)
        assert torch.allclose(slow, expected, atol=1e-6), updates
    model.follow(0.0)
    assert torch.allclose(slow, fast)


def test_training_sees_the_weights_and_evaluation_the_average() -> None:
    model, noisy, steps = build(), torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    with torch.no_grad():
        before = model.noise(noisy, steps)
        assert torch.equal(model.train().noise(noisy, steps), before)
        model.network.head[-1].bias.add_(1)
        assert not torch.allclose(model.noise(noisy, steps), before)
        assert torch.equal(model.eval().noise(noisy, steps), before)


# ---- training --------------------------------------------------------------------------------------------------


def few(data: Data, rows: int) -> Data:
    cut = {name: getattr(data, name) for name in ("train", "validation")}
    return replace(data, **{k: replace(s, inputs=s.inputs[:rows], targets=s.targets[:rows]) for k, s in cut.items()})


def test_each_image_has_its_own_step(digits_images: Data) -> None:
    model, noisy = build(), torch.randn(6, 1, 8, 8)
    steps = torch.tensor([0, 10, 200, 500, 900, 999])
    together = model.noise(noisy, steps)
    assert torch.allclose(together[2:3], model.noise(noisy[2:3], steps[2:3]), atol=1e-5)
    assert not torch.allclose(together[2:3], model.noise(noisy[2:3], steps[3:4]), atol=1e-3)


def test_training_tells_the_noise_and_comes_nearer_to_the_images(digits_images: Data) -> None:
    config = {"learning_rate": 3e-3, "batch_size": 32, "ema_decay": 0.99}
    rows = list(fit(Job("diffusion", "xs", config, 0, 10), digits_images))
    assert rows[-1]["validation_loss"] < 0.35
    assert rows[-1]["validation_frechet"] < 0.85 * rows[0]["validation_frechet"]
    assert rows[-1]["validation_coverage"] > rows[0]["validation_coverage"] + 0.1


def test_the_average_follows_once_a_step_in_pieces_too(digits_images: Data) -> None:
    config = {"batch_size": 50}
    for pieces in (1, 3):
        epochs = fit(Job("diffusion", "xs", config, 0, 1, micro_batches=pieces), few(digits_images, 201))
        next(epochs)
        with pytest.raises(StopIteration) as end:
            next(epochs)
        assert end.value.value.weights["followed"] == 4


def test_an_interrupted_training_goes_on_as_it_was(digits_images: Data, tmp_path: Path) -> None:
    config = {"batch_size": 64, "dropout": 0.1, "sampler": "ddpm"}
    job, path, data = Job("diffusion", "xs", config, 0, 3), tmp_path / "a.pt", few(digits_images, 200)
    measured = ("train_loss", "validation_loss", "validation_frechet", "validation_coverage")
    whole = [[row[name] for name in measured] for row in fit(job, data)]
    epochs = fit(job, data, "cpu", path, checkpoint_epochs={1})
    next(epochs)
    epochs.close()
    assert [[row[name] for name in measured] for row in fit(job, data, "cpu", path)] == whole


def test_attention_is_torchs_over_the_places_of_the_maps() -> None:
    torch.manual_seed(0)
    ours, torchs = diffusion.Attention(16), nn.MultiheadAttention(16, 1, batch_first=True)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(ours.query_key_value.weight[..., 0, 0])
        torchs.in_proj_bias.copy_(ours.query_key_value.bias)
        torchs.out_proj.weight.copy_(ours.output.weight[..., 0, 0])
        torchs.out_proj.bias.copy_(ours.output.bias)
    maps = torch.randn(2, 16, 3, 5)
    places = ours.normalization(maps).flatten(2).mT
    added = torchs(places, places, places)[0].mT.reshape(maps.shape)
    torch.testing.assert_close(ours(maps), maps + added)
