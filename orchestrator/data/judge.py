"""A small classifier of a data set's images, in whose features generated ones are held against real ones.

Distances of pixels say little: a Gaussian with the images' own mean and covariance, whose samples look like none of
them, is at no distance at all. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
equilibrium", NeurIPS 2017, take the features of a network that was trained to classify; theirs knows photographs, this
one the data set itself, by the labels that its generators never see.

    images → 16 maps → 32 maps, of 3×3 with stride 2 → 64 features → classes, ReLU between

It is trained once, when the data are prepared, on one thread and from one seed: on one machine it is always the same.
On another, sums round otherwise; compare distances that one judge gave (`card.judge_digest` tells two apart).
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.data.card import JUDGE_FILE
from orchestrator.errors import UserError

# What comes of these is named by JUDGE_VERSION in prepare.py.
SEED, STEPS, BATCH, RATE, MOMENTUM = 0, 1500, 64, 0.05, 0.9
MAPS, FEATURES = (16, 32), 64
ROWS = 1000  # computed at a time
LAST = ("classes", "classes_bias")


@dataclass(frozen=True)
class Judge:
    """Weights by name. Called with images [n, channels, height, width] in [0, 1], it gives features [n, 64]."""

    weights: Mapping[str, Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        # A judge is not to depend on the precision that whom it judges was trained in.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            weights = {name: weight.to(images.device) for name, weight in self.weights.items()}
            return torch.cat([_features(weights, part.float()) for part in torch.split(images, ROWS)])

    def classes(self, images: Tensor) -> Tensor:
        """What it takes each image for, [n] int64."""
        features = self(images)
        return functional.linear(features, *(self.weights[name].to(images.device) for name in LAST)).argmax(1)

    def write(self, folder: Path) -> None:
        """Write `folder/judge.npz`."""
        np.savez(folder / JUDGE_FILE, **{name: weight.numpy() for name, weight in self.weights.items()})  # type: ignore[arg-type]

    @classmethod
    def read(cls, folder: Path) -> Judge:
        """Raises UserError where there is none, or it is not whole."""
        try:
            # Opened here, since NumPy leaves open what turns out to be no archive.
            with (folder / JUDGE_FILE).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return cls({name: torch.from_numpy(file[name]) for name in file.files})
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{folder / JUDGE_FILE}: not the judge it should be ({error}); delete the folder and prepare it again"
            ) from None


def train(images: Tensor, labels: Tensor, classes: int) -> Judge:
    """Of images [n, channels, height, width] in [0, 1] and labels [n] int64 below `classes`; the same each time."""
    chance = torch.Generator().manual_seed(SEED)
    weights = _initial(tuple(images.shape[1:]), classes, chance)
    speeds = [torch.zeros_like(weight) for weight in weights.values()]
    with _one_thread(), torch.enable_grad():
        for step in range(STEPS):
            rows = torch.randint(len(images), (BATCH,), generator=chance)
            logits = functional.linear(_features(weights, images[rows]), *(weights[name] for name in LAST))
            gradients = torch.autograd.grad(functional.cross_entropy(logits, labels[rows]), list(weights.values()))
            with torch.no_grad():
                for weight, speed, gradient in zip(weights.values(), speeds, gradients, strict=True):
                    speed.mul_(MOMENTUM).add_(gradient)
                    weight.sub_(RATE * (1 - step / STEPS) * speed)
    return Judge({name: weight.detach() for name, weight in weights.items()})


def _features(weights: Mapping[str, Tensor], images: Tensor) -> Tensor:
    maps = images
    for layer in ("first", "second"):
        maps = functional.conv2d(maps, weights[layer], weights[f"{layer}_bias"], stride=2, padding=1).relu()
    return functional.linear(maps.flatten(1), weights["features"], weights["features_bias"]).relu()


def _initial(shape: tuple[int, ...], classes: int, chance: torch.Generator) -> dict[str, Tensor]:
    """Normal with a variance of 2 by the number of inputs: He et al., ICCV 2015, equation 10."""
    channels, *sides = shape
    quarter = math.prod(math.ceil(side / 4) for side in sides)
    shapes = {
        "first": (MAPS[0], channels, 3, 3),
        "second": (MAPS[1], MAPS[0], 3, 3),
        "features": (FEATURES, MAPS[1] * quarter),
        "classes": (classes, FEATURES),
    }
    weights = {}
    for name, size in shapes.items():
        weights[name] = torch.randn(size, generator=chance) * math.sqrt(2 / math.prod(size[1:]))
        weights[f"{name}_bias"] = torch.zeros(size[0])
    return {name: weight.requires_grad_() for name, weight in weights.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
