"""Masked language modelling: some tokens of a text are hidden, and told from all the others.

Devlin, Chang, Lee, Toutanova, "BERT: pre-training of deep bidirectional transformers for language understanding", NAACL
2019, section 3.1 (task 1). What is learnt so needs no labels; a classifier may start from its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.language_modelling import perplexity
from orchestrator.tasks.predict import evaluating
from orchestrator.tasks.task import Direction, Split
from orchestrator.tokens import MASK, PADDING, SPECIAL

# Of the tokens to be told: so many are hidden, and so many replaced by a random one; the others stay as they are, so
# that a token that is no <mask> has to be understood too.
_HIDDEN, _REPLACED = 0.8, 0.1
# The share by which all are compared, whatever they were trained with: fewer to be told are easier to tell.
_COMPARED = 0.15


@dataclass(frozen=True)
class MaskedLanguageModelling:
    """inputs [n, time] int64; targets are not used, whatever they are.

    The model's `at_places(inputs, places)` gives logits [n, p, vocabulary] for what stands at the places [n, p] of the
    rows, which are never padding; its `vocabulary` is the number of tokens.

    masked: share of a row's tokens that are to be told in training, at least one; in evaluation it is the paper's 0.15.
    """

    masked: float = 0.15

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "perplexity": "min", "accuracy": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)
    costly: ClassVar[tuple[str, ...]] = ("masked",)

    def __post_init__(self) -> None:
        if not 0 < self.masked < 1:
            raise UserError(f"masked must be above 0 and below 1, found {self.masked}")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        chosen = choose(inputs, self.masked)
        places, true = told(inputs, chosen, self.masked)
        logits = model.at_places(corrupt(inputs, chosen, model.vocabulary), places)
        yield "", functional.cross_entropy(logits.flatten(0, 1), true.flatten(), ignore_index=PADDING)

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean cross-entropy in nats a hidden token; perplexity: its exponential; accuracy: those told right."""
        totals = torch.zeros(3, dtype=torch.float64)
        with evaluating(model):
            for inputs in torch.split(split.inputs, min(batch_size, 256)):
                chosen = choose(inputs, _COMPARED)
                places, true = told(inputs, chosen, _COMPARED)
                logits = model.at_places(corrupt(inputs, chosen, model.vocabulary), places).float().flatten(0, 1)
                true = true.flatten()
                loss = functional.cross_entropy(logits, true, ignore_index=PADDING, reduction="sum")
                right = ((logits.argmax(1) == true) & (true != PADDING)).sum()
                totals += torch.stack([loss.double(), right, chosen.sum()]).cpu()
        loss_sum, right_sum, count = totals.tolist()
        mean = loss_sum / count
        return {"loss": mean, "perplexity": perplexity(mean), "accuracy": right_sum / count}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Rows of one token each, so that what is hidden can be told."""
        tokens = torch.randint(len(SPECIAL), outputs, (rows, 1)).repeat(1, input_shape[0])
        return tokens, tokens


def choose(inputs: Tensor, share: float) -> Tensor:
    """Which tokens are to be told [n, time]: of each row the same share of those that are no padding, at least one."""
    own = inputs != PADDING
    count = (own.sum(1) * share).round().clamp(min=1)
    order = torch.rand(inputs.shape, device=inputs.device).masked_fill(~own, 2.0).argsort(1).argsort(1)
    return (order < count[:, None]) & own


def corrupt(inputs: Tensor, chosen: Tensor, vocabulary: int) -> Tensor:
    """What the model is given in place of the inputs."""
    chance = torch.rand(inputs.shape, device=inputs.device)
    given = torch.where(chosen & (chance < _HIDDEN), MASK, inputs)
    anything = torch.randint(len(SPECIAL), vocabulary, inputs.shape, device=inputs.device)
    return torch.where(chosen & (chance >= _HIDDEN) & (chance < _HIDDEN + _REPLACED), anything, given)


def told(inputs: Tensor, chosen: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Where the chosen tokens are, and what they are: [n, p], of the p that a full row has.

    Of a shorter row the rest is place 0 and <padding>. So logits are needed at p places and not at all of them, and
    shapes don't depend on what the rows hold.
    """
    most = math.ceil(inputs.shape[1] * share)
    places = chosen.int().sort(dim=1, descending=True, stable=True).indices[:, :most]
    own = chosen.gather(1, places)
    return places.where(own, 0), inputs.gather(1, places).where(own, PADDING)
