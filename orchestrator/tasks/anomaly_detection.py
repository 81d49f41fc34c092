"""Anomaly detection: the distribution of normal rows is learnt, and what it makes unlikely is an anomaly.

The bound is that of Kingma and Welling (see `generation.py`), with p(x | z) a Gaussian for each number, of which the
decoder tells mean and variance (their appendix C.2). A row's score is the reconstruction probability of An, Cho,
"Variational autoencoder based anomaly detection using reconstruction probability", SNU Data Mining Center 2015,
algorithm 4: -log p(x | z), averaged over draws of z from q(z | x). No label is needed to learn: all training rows are
normal. Labels are what scores are held against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from orchestrator.errors import UserError
from orchestrator.tasks.generation import divergence
from orchestrator.tasks.multilabel import roc_auc
from orchestrator.tasks.predict import evaluating
from orchestrator.tasks.task import Direction, Split

DRAWS = 16  # of z for each row that is scored
# A row a hundred deviations out may ask for a posterior whose variance is no float32; one wider than this has told
# nothing of it, and pays for that.
WIDEST = 10.0


@dataclass(frozen=True)
class AnomalyDetection:
    """inputs [n, features] float; targets [n]: 0 for a normal row, 1 for an anomaly. Those of the training rows are not
    looked at.

    The model has `encode(inputs)`, mean and logarithm of the variance [n, latents] of q(z | x), and `decode(latents)`,
    mean and variance of p(x | z) as [n, 2, features].

    beta: weight of the KL in training; 1 is the bound itself, which the metrics are of whatever it is.
    """

    beta: float = 1.0

    metrics: ClassVar[Mapping[str, Direction]] = {
        "loss": "min",
        "reconstruction": "min",
        "kl": "min",
        "roc_auc": "max",
        "average_precision": "max",
    }
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not self.beta >= 0:
            raise UserError(f"beta must be at least 0, found {self.beta}")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        reconstruction, kl = terms(model, inputs, draws=1)
        yield "", (reconstruction + self.beta * kl).mean()

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """loss, the negative ELBO; reconstruction, -log p(x | z); kl: nats a row, over the normal rows alone, so that
        what is chosen by them is chosen without having seen an anomaly.

        roc_auc: the chance that an anomaly's score is higher than a normal row's; average_precision: the mean of the
        precision over the recalls, which is the anomalies' share where scores mean nothing. NaN without anomalies.
        """
        reconstruction, kl = scored(model, split.inputs, batch_size)
        anomalous = split.targets.bool()
        values = torch.stack([part[~anomalous].mean() for part in (reconstruction, kl)]).tolist()
        area, precision = roc_auc(reconstruction, anomalous), average_precision(reconstruction, anomalous)
        return {
            "loss": values[0] + values[1],
            "reconstruction": values[0],
            "kl": values[1],
            "roc_auc": math.nan if area is None else area,
            "average_precision": math.nan if precision is None else precision,
        }

    def unmeasured(self, targets: Tensor) -> Mapping[str, str]:
        if targets.all():
            return dict.fromkeys(self.metrics, "no row is normal")
        return {} if targets.any() else dict.fromkeys(("roc_auc", "average_precision"), "no row is an anomaly")

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """One row again and again, of which no nats need be left."""
        return torch.randn(1, *input_shape).repeat(rows, 1), torch.zeros(rows, dtype=torch.int64)


def scored(model: Any, inputs: Tensor, batch_size: int = 2048) -> tuple[Tensor, Tensor]:
    """The score of each row, higher where it is less like a normal one, and its KL: nats, [n] each, as float64."""
    with evaluating(model):
        parts = [terms(model, rows, DRAWS) for rows in torch.split(inputs, batch_size)]
    score, kl = (torch.cat(part).double() for part in zip(*parts, strict=True))
    return score, kl


def terms(model: Any, inputs: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """-log p(x | z) [n], the mean over draws of z from q(z | x), and the KL [n]; nats, as float32."""
    mean, log_variance = (part.float() for part in model.encode(inputs))
    log_variance = log_variance.clamp(max=WIDEST)
    deviation, losses = torch.exp(0.5 * log_variance), []
    for _ in range(draws):
        center, variance = model.decode(mean + deviation * torch.randn_like(mean)).float().unbind(1)
        losses.append(0.5 * ((inputs - center).square() / variance + torch.log(2 * math.pi * variance)).sum(1))
    return torch.stack(losses).mean(0), divergence(mean, log_variance)


def average_precision(scores: Tensor, there: Tensor) -> float | None:
    """Σ (recall - the recall before) · precision, over all thresholds, for scores [n] and labels [n], bool; None where
    nothing is there. Rows of one score are found together."""
    if not there.any():
        return None
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    hits = torch.zeros(len(counts), dtype=torch.float64, device=scores.device).index_add(0, place, there.double())
    hits, counts = hits.flip(0), counts.flip(0)
    return float((hits * hits.cumsum(0) / counts.cumsum(0)).sum() / hits.sum())
