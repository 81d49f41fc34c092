"""What generated images are worth: how far they are from real ones in the features of the data's judge.

One measure for whatever generates, of the same number of images always, since fewer seem farther. Heusel et al., "GANs
trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017. Their distances are of
another network's features: never compare them to these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from orchestrator.errors import UserError
from orchestrator.tasks.predict import evaluating, rows_at_a_time
from orchestrator.tasks.task import Direction, Split

METRICS: Mapping[str, Direction] = {"frechet": "min", "coverage": "max"}
GENERATED, NEIGHBOURS = 1000, 5


def measure(model: Any, split: Split, batch_size: int) -> dict[str, float]:
    """`METRICS` of 1,000 images of `model.generate(rows)`, in evaluation mode; NaN where one of them is not finite.

    UserError where the split has no judge.
    """
    judge = getattr(split, "judge", None)
    if judge is None:
        raise UserError(
            "generated images can't be measured: the data has no judge; take it from orchestrator.data.load"
        )
    with evaluating(model):
        most = rows_at_a_time(split.inputs, batch_size)
        sizes = [min(most, GENERATED - first) for first in range(0, GENERATED, most)]
        images = torch.cat([model.generate(rows).float() for rows in sizes])
        if not images.isfinite().all():
            return dict.fromkeys(METRICS, math.nan)
        real, generated = judge(split.inputs), judge(images)
    return {"frechet": frechet(real, generated), "coverage": coverage(real[:GENERATED], generated)}


def frechet(real: Tensor, generated: Tensor) -> float:
    """Fréchet distance of the Gaussians with the moments of [n, features] and [m, features]; 0 where these are equal.

    |m - m'|² + tr(C + C' - 2 (C^½ C' C^½)^½), Dowson and Landau, "The Fréchet distance between multivariate normal
    distributions", 1982.
    """
    real, generated = real.double(), generated.double()
    one, other = torch.cov(real.T), torch.cov(generated.T)
    variances, directions = torch.linalg.eigh(one)
    root = directions * variances.clamp(min=0).sqrt() @ directions.T
    between = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    distance = (real.mean(0) - generated.mean(0)).square().sum() + one.trace() + other.trace() - 2 * between
    return float(distance.clamp(min=0).item())


def coverage(real: Tensor, generated: Tensor) -> float:
    """Share of the real points with a generated one no further than their fifth real neighbour.

    About 0.97 for as many points of the same distribution; far below, kinds of images are missing. Naeem et al.,
    "Reliable fidelity and diversity metrics for generative models", ICML 2020, equation 6 and section 4.3.
    """
    real, generated = real.double(), generated.double()
    # The nearest of all is the image itself.
    radius = torch.cdist(real, real).kthvalue(min(NEIGHBOURS + 1, len(real)), 1).values
    return (torch.cdist(real, generated).amin(1) <= radius).double().mean().item()
