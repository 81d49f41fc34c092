"""Denoising diffusion: a U-Net that tells the noise in an image, and two ways to make images with it.

Ho, Jain, Abbeel, "Denoising diffusion probabilistic models" (DDPM), NeurIPS 2020; its loss is in `tasks/denoising.py`.
The cosine schedule is of Nichol, Dhariwal, "Improved denoising diffusion probabilistic models", ICML 2021, equation 17;
DDIM of Song, Meng, Ermon, "Denoising diffusion implicit models", ICLR 2021, equations 12 and 16. Letters: B batch,
C maps, T steps of noise (the paper's 1000), t a step from 0, ᾱ what is left of the image's variance at a step.

    patches  of 2×2 pixels
    down     C maps, halved to 2 C, and again to 2 C; a residual block at each
    middle   block, attention over all places, block
    up       as down, with what came by on the way down put beside

A block is twice group normalization, SiLU, 3×3 convolution, with the time's embedding added between (appendix B).

Departures: what the network gives is v = √ᾱ ε - √(1 - ᾱ) x (Salimans, Ho, "Progressive distillation", ICLR 2022,
appendix D), from which the noise ε of the loss follows: of few maps they leave more for the image. It sees patches of
2×2 pixels (Hoogeboom et al., "Simple diffusion", ICML 2023, section 3.3), which costs a quarter. Three resolutions with
one block each where the paper has four with two for 32×32; no layer starts at zero. The image is clipped to [-1, 1] at
each step of both ways, as the paper's code does.

The dial widens; FLOPs grow with the square of C as parameters do.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.models.checks import check_dropout, check_images

PAPER = "Ho, Jain, Abbeel: Denoising diffusion probabilistic models, NeurIPS 2020"

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"maps": 8},
    "s": {"maps": 16},
    "m": {"maps": 24},
    "l": {"maps": 40},
    "xl": {"maps": 64},
}

STEPS, GROUPS, FREQUENCIES = 1000, 4, 16
FEWEST_LEVELS = 25  # with fewer the linear schedule takes nearly all that is left in one step


@dataclass(frozen=True)
class Config:
    """maps: of the first resolution, a multiple of 4.

    noise_levels: T. The same way from the image to noise is gone in as many steps, those of the linear schedule being
        1000/T times as large, as in the code of Nichol and Dhariwal.
    sampler: ddpm draws noise at each step, ddim only at the start. sampling_steps: how many of the T it goes
        through; more make better images and dearer evaluations (after three epochs of Fashion-MNIST 20 had a Fréchet
        distance of 6.5, 50 of 5.0, 100 of 4.5). With all of them ddpm is the paper's algorithm 2.
    """

    maps: int
    noise_schedule: Literal["linear", "cosine"] = "cosine"
    sampler: Literal["ddpm", "ddim"] = "ddim"
    sampling_steps: int = 50
    noise_levels: int = STEPS
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.noise_levels < FEWEST_LEVELS:
            raise UserError(f"noise_levels must be at least {FEWEST_LEVELS}, found {self.noise_levels}")
        if not 1 <= self.sampling_steps <= self.noise_levels:
            raise UserError(
                f"sampling_steps must be from 1 to {self.noise_levels} (noise_levels), found {self.sampling_steps}"
            )


def remaining(schedule: str, levels: int = STEPS) -> Tensor:
    """ᾱ at each step, [levels] float64: from nearly 1 to nearly 0."""
    if schedule == "linear":  # DDPM, section 4
        scale = STEPS / levels
        return torch.cumprod(1 - torch.linspace(1e-4 * scale, 0.02 * scale, levels, dtype=torch.float64), 0)
    times = torch.arange(levels + 1, dtype=torch.float64) / levels
    cosines = torch.cos((times + 0.008) / 1.008 * math.pi / 2).square()
    return torch.cumprod(1 - (1 - cosines[1:] / cosines[:-1]).clamp(max=0.999), 0)


class Block(nn.Module):
    def __init__(self, before: int, after: int, time: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(GROUPS, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.time = nn.Linear(time, after)
        self.second = nn.Sequential(
            *(nn.GroupNorm(GROUPS, after), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(after, after, 3, padding=1)),
        )
        self.past = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        inner = self.first(maps) + self.time(time)[:, :, None, None]
        outputs: Tensor = self.past(maps) + self.second(inner)
        return outputs


class Attention(nn.Module):
    """One head over all places of the maps."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.normalization = nn.GroupNorm(GROUPS, maps)
        self.query_key_value, self.output = nn.Conv2d(maps, 3 * maps, 1), nn.Conv2d(maps, maps, 1)

    def forward(self, maps: Tensor) -> Tensor:
        whole = self.query_key_value(self.normalization(maps)).flatten(2).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(*whole.chunk(3, 2))
        outputs: Tensor = maps + self.output(attended.transpose(1, 2).reshape(maps.shape))
        return outputs


class UNet(nn.Module):
    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        maps, time, dropout = config.maps, 4 * config.maps, config.dropout
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU())
        self.stem = nn.Conv2d(4 * channels, maps, 3, padding=1)
        widths = (maps, 2 * maps, 2 * maps)
        self.down = nn.ModuleList(Block(width, width, time, dropout) for width in widths)
        self.halve = nn.ModuleList(nn.Conv2d(*pair, 3, stride=2, padding=1) for pair in pairwise(widths))
        self.middle = nn.ModuleList(Block(widths[-1], widths[-1], time, dropout) for _ in range(2))
        self.attention = Attention(widths[-1])
        self.up = nn.ModuleList(Block(2 * width, width, time, dropout) for width in reversed(widths))
        self.widen = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in pairwise(reversed(widths)))
        self.head = nn.Sequential(nn.GroupNorm(GROUPS, maps), nn.SiLU(), nn.Conv2d(maps, 4 * channels, 3, padding=1))

    def forward(self, images: Tensor, steps: Tensor) -> Tensor:
        """[B, channels, height, width] and steps [B] → v, of the images' shape; `Diffusion.noise` makes noise of it."""
        height, width = images.shape[2:]
        patches = functional.pixel_unshuffle(functional.pad(images, (0, width % 2, 0, height % 2)), 2)
        time, maps, passed = self.time(sinusoids(steps)), self.stem(patches), []
        for level, block in enumerate(self.down):
            maps = block(self.halve[level - 1](maps) if level else maps, time)
            passed.append(maps)
        maps = self.middle[1](self.attention(self.middle[0](maps, time)), time)
        for level, block in enumerate(self.up):
            beside = passed.pop()
            if level:
                maps = self.widen[level - 1](functional.interpolate(maps, beside.shape[2:]))
            maps = block(torch.cat([maps, beside], 1), time)
        return functional.pixel_shuffle(self.head(maps), 2)[:, :, :height, :width]


def sinusoids(steps: Tensor) -> Tensor:
    """[B] → [B, 32]: sines and cosines of the step, from one radian a step to one in 10,000, as in transformers."""
    rates = 10_000.0 ** (-torch.arange(FREQUENCIES, device=steps.device) / (FREQUENCIES - 1))
    angles = steps[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class Diffusion(nn.Module):
    remaining: Tensor
    followed: Tensor

    def __init__(self, config: Config, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.steps, self.config, self.input_shape = config.noise_levels, config, input_shape
        self.network = UNet(config, input_shape[0])
        self.average = as_buffers(self.network)
        self.register_buffer("remaining", remaining(config.noise_schedule, self.steps).float(), persistent=False)
        self.register_buffer("followed", torch.zeros((), dtype=torch.int64))

    def noisy(self, images: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        """Images [B, ...] in [0, 1], scaled to [-1, 1], with noise [B, ...] as at steps [B]: the paper's equation 4."""
        left = self.remaining[steps][:, None, None, None]
        return left.sqrt() * (2 * images - 1) + (1 - left).sqrt() * noise

    def noise(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """The noise that the network, or in evaluation mode the average, sees in `noisy` [B, ...] at steps [B]."""
        left = self.remaining[steps][:, None, None, None]
        # The network is told the share of the way, as a step of 1000.
        told: Tensor = (self.network if self.training else self.average)(noisy, steps * (STEPS / self.steps))
        return left.sqrt() * told + (1 - left).sqrt() * noisy

    def compared_at(self, rows: int) -> Tensor:
        """Random steps [rows] at which networks are compared: those with the noise of the paper's, which are uniform,
        or nearest to it: a network of 100 levels has none as quiet as the paper's first."""
        device = self.remaining.device
        levels = remaining("linear").float().to(device)[torch.randint(STEPS, (rows,), device=device)]
        return (self.remaining - levels[:, None]).abs().argmin(1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, height, width] in [0, 1] → [B, pixels]: the noise seen in images as they are, at the first
        step. Not what the model is for: see `generate`."""
        steps = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return self.noise(2 * images - 1, steps).flatten(1)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average after the weights, at first faster than `decay` says: see `tasks/denoising.py`."""
        rate = 1 - torch.clamp((1 + self.followed) / (10 + self.followed), max=decay)
        self.followed += 1
        for slow, fast in zip(self.average.buffers(), self.network.parameters(), strict=True):
            slow.lerp_(fast, rate)

    def generate(self, rows: int) -> Tensor:
        """New images [rows, channels, height, width] in [0, 1], of noise from torch's global generator."""
        images = torch.randn(rows, *self.input_shape, device=self.remaining.device)
        gone = torch.linspace(self.steps - 1, 0, self.config.sampling_steps).round().int().tolist()
        for step, following in zip(gone, [*gone[1:], None], strict=True):
            images = self.denoise(images, step, following)
        return (images + 1) / 2

    def denoise(self, noisy: Tensor, step: int, following: int | None) -> Tensor:
        """From a step to a following, less noisy one; None: to the image. DDIM, equation 12, with σ of equation 16."""
        now = self.remaining[step]
        after = torch.ones_like(now) if following is None else self.remaining[following]
        noise = self.noise(noisy, torch.full((len(noisy),), step, device=noisy.device)).float()
        image = ((noisy - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-1, 1)
        noise = (noisy - now.sqrt() * image) / (1 - now).sqrt()
        if self.config.sampler == "ddim":
            return after.sqrt() * image + (1 - after).sqrt() * noise
        variance = (1 - after) / (1 - now) * (1 - now / after)
        mean = after.sqrt() * image + (1 - after - variance).clamp(min=0).sqrt() * noise
        return mean + variance.sqrt() * torch.randn_like(noisy)


def as_buffers(network: nn.Module) -> nn.Module:
    """A copy whose weights are state, not parameters: no optimizer moves them."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, weight.detach())
    return copied


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """`outputs` is not used: they are the pixels of the input."""
    check_images("diffusion", input_shape)
    return Diffusion(config, input_shape)
