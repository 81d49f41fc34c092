"""Language modelling: at each token of a text, the probability of every token that may follow.

Cross-entropy in nats a token; padding is neither predicted nor counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.tasks.predict import evaluating
from orchestrator.tasks.task import Direction, Split
from orchestrator.tokens import PADDING, SPECIAL

_TOKENS = 1 << 15  # at a time in an evaluation: each has as many logits as the vocabulary has tokens


@dataclass(frozen=True)
class LanguageModelling:
    """inputs and targets [n, time] int64, the targets one token on.

    The model's `at_every_step(inputs)` gives logits [n, time, vocabulary], which must not depend on later inputs;
    the model itself gives those after the last token, [n, vocabulary].
    """

    metrics: ClassVar[Mapping[str, Direction]] = {"loss": "min", "perplexity": "min", "accuracy": "max"}
    players: ClassVar[tuple[str, ...]] = ("",)

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        logits = model.at_every_step(inputs)
        yield "", functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """loss: mean cross-entropy in nats a token; perplexity: its exponential; accuracy: tokens guessed right."""
        rows = min(batch_size, max(1, _TOKENS // split.inputs.shape[1]))
        totals = torch.zeros(3, dtype=torch.float64)
        with evaluating(model):
            for inputs, targets in zip(torch.split(split.inputs, rows), torch.split(split.targets, rows), strict=True):
                logits = model.at_every_step(inputs).float()
                own = targets != PADDING
                loss = functional.cross_entropy(logits[own], targets[own], reduction="sum")
                right = (logits.argmax(2) == targets)[own].sum()
                totals += torch.stack([loss.double(), right, own.sum()]).cpu()
        loss_sum, right_sum, count = totals.tolist()
        mean = loss_sum / count
        return {"loss": mean, "perplexity": perplexity(mean), "accuracy": right_sum / count}

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Texts that count on, each from a random token: something that can be learnt."""
        time = input_shape[0]
        first = torch.randint(outputs, (rows, 1))
        text = len(SPECIAL) + (first + torch.arange(time + 1)) % (outputs - len(SPECIAL))
        return text[:, :-1], text[:, 1:]


def perplexity(loss: float) -> float:
    """The exponential of a mean cross-entropy in nats; that of a model gone astray is beyond the largest float."""
    return math.exp(loss) if loss < 700 else math.inf
