"""What a network notes of itself while it is evaluated: signs of what ails its family, by which nothing is chosen.

    attention_entropy   how widely attention looks: 1 everywhere alike, 0 at one place. Near 0 early in training, it has
                        collapsed: Zhai and others, "Stabilizing transformer training by preventing attention entropy
                        collapse", ICML 2023
    smoothness          how alike the nodes of a graph are after the last hop; near 1 they can't be told apart: Chen and
                        others, "Measuring and relieving the over-smoothing problem", AAAI 2020
    active_units        share of the latents that the data move; far below 1, the posterior has collapsed to the prior:
                        Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016

Each part that has something to say has `notes`, which are there while somebody listens: in training they cost nothing.
It says it once, of the first batch of an evaluation, from what it computes there anyway. What is to be seen of
generated images alone, such as the modes that a GAN covers, is a metric of the task (`tasks/judged.py`); the gradient's
norm is measured by the loop.

Letters: B batch, H heads, T queries, S places to look at, M nodes, L latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 32  # of the first batch that attention speaks of: its weights are written out for this alone
ACTIVE = 0.01  # variance of its posterior mean over the rows above which a latent is in use: Burda et al., section 5.2


class Notes:
    """What has been said. own: [B, T], True where what asks is no padding, told by a network of texts as it begins."""

    def __init__(self) -> None:
        self.own: Tensor | None = None
        self._said: dict[tuple[str, int], Tensor] = {}

    def add(self, name: str, part: nn.Module, value: Callable[[], Tensor]) -> None:
        """Note a part's value, a scalar, unless the part has said it before."""
        if (name, id(part)) not in self._said:
            self._said[name, id(part)] = value()

    def means(self) -> dict[str, float]:
        """The mean of each name over the parts that spoke; NaN where one had nothing to measure."""
        values: dict[str, list[float]] = {}
        for (name, _), value in self._said.items():
            values.setdefault(name, []).append(value.item())
        return {name: fmean(said) for name, said in values.items()}


@contextmanager
def listening(model: nn.Module) -> Iterator[Notes]:
    """Notes of what the parts of `model` say meanwhile."""
    notes = Notes()
    parts = [part for part in model.modules() if hasattr(part, "notes")]
    for part in parts:
        vars(part)["notes"] = notes
    try:
        yield notes
    finally:
        for part in parts:
            del vars(part)["notes"]  # its class has None


def attention_entropy(weights: Tensor, visible: Tensor, own: Tensor | None = None) -> Tensor:
    """Entropy of each query's weights, as a share of that of all visible places alike: [B, H, T, S] → the mean.

    visible: [B or 1, 1, T or 1, S], True where a query may look. own: as in `Notes`. A query that may look at one place
    alone has no choice and does not count; NaN where none counts.
    """
    entropy = torch.special.entr(weights.float()).sum(3)
    most = visible.sum(3).log()
    counted = most > 0 if own is None else (most > 0) & own[:, None]
    shares: Tensor = (entropy / most)[counted.expand_as(entropy)]
    return shares.mean()


def smoothness(states: Tensor, graph: Tensor) -> Tensor:
    """Mean cosine similarity over the pairs of different nodes of each graph that has any: [M, width], [M] → [graphs].

    1 minus the mean average distance of Chen and others over all pairs. A node without features is like no other.
    """
    directions = functional.normalize(states, dim=1)
    counts = graph.bincount()
    sums = directions.new_zeros(len(counts), states.shape[1]).index_add(0, graph, directions)
    same = directions.new_zeros(len(counts)).index_add(0, graph, directions.square().sum(1))
    pairs = counts * (counts - 1)
    some = pairs > 0
    # The square of a sum is the sum over all pairs, those of a node with itself among them.
    similarity: Tensor = ((sums.square().sum(1) - same)[some] / pairs[some]).clamp(-1, 1)
    return similarity


def active_units(means: Tensor) -> Tensor:
    """Share of the latents whose posterior mean [B, L] has a variance over the rows above 0.01."""
    return (means.double().var(0, correction=0) > ACTIVE).double().mean()
