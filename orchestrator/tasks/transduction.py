"""Transduction (sequence to sequence): one sequence of tokens into another, such as spelling into sounds.

In training the decoder is given the true tokens before each one that it is to predict (teacher forcing: Williams,
Zipser, Neural Computation 1(2), 1989); in evaluation it also has to go by its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks.predict import evaluating
from orchestrator.tasks.task import Direction, Split
from orchestrator.tokens import BEGIN, END, PADDING, SPECIAL

_PAIRS = 1 << 18  # of a source's and a target's steps at a time in an evaluation: attention keeps numbers of each


@dataclass(frozen=True)
class Transduction:
    """inputs [n, time] int64, targets [n, time + 2] int64: <begin>, tokens, <end>, padding.

    `model.at_every_step(inputs, before)` gives logits [n, steps, outputs] for what follows each of the true tokens
    `before` [n, steps]; `model.greedy(inputs, steps)` gives the ids [n, steps] of the most probable token at each step,
    given those before it, from <begin> on (which is not among them). The model itself gives the logits of the first
    token, [n, outputs].

    label_smoothing: share of the target spread evenly over all tokens (Vaswani et al., 2017, section 5.4).
    """

    label_smoothing: float = 0.0

    metrics: ClassVar[Mapping[str, Direction]] = {
        "loss": "min",
        "token_error_rate": "min",
        "word_error_rate": "min",
    }
    players: ClassVar[tuple[str, ...]] = ("",)

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"label_smoothing must be at least 0 and below 1, found {self.label_smoothing}")

    def step(self, model: Any, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        logits = model.at_every_step(inputs, targets[:, :-1])
        yield "", _loss(logits, targets[:, 1:], label_smoothing=self.label_smoothing)

    def evaluate(self, model: Any, split: Split, batch_size: int) -> dict[str, float]:
        """loss: cross-entropy in nats a token, <end> included, given the true tokens before it.

        token_error_rate: insertions, deletions and substitutions that turn what the model says on its own into the
        target, a token of the target; word_error_rate: share of rows in which there is any. With sounds as tokens
        these are the phoneme and the word error rate.
        """
        totals = torch.zeros(5, dtype=torch.float64)
        pairs = split.inputs.shape[1] * split.targets.shape[1]
        rows = max(1, min(batch_size, _PAIRS // pairs))
        with evaluating(model):
            for inputs, targets in zip(torch.split(split.inputs, rows), torch.split(split.targets, rows), strict=True):
                true = targets[:, 1:]
                loss = _loss(model.at_every_step(inputs, targets[:, :-1]).float(), true, reduction="sum")
                errors = edit_distance(model.greedy(inputs, true.shape[1]), true)
                own = true != PADDING
                tokens = (own & (true != END)).sum()
                totals += torch.stack([loss.double(), own.sum(), errors.sum(), tokens, (errors > 0).sum()]).cpu()
        loss_sum, predicted, errors_sum, tokens_sum, wrong = totals.tolist()
        return {
            "loss": loss_sum / predicted,
            "token_error_rate": errors_sum / tokens_sum,
            "word_error_rate": wrong / len(split.inputs),
        }

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """Random sources, each with another random target of the same length: something that can be learnt."""
        time, vocabulary = input_shape
        inputs = torch.randint(len(SPECIAL), vocabulary, (rows, time))
        said = torch.randint(len(SPECIAL), outputs, (rows, time))
        ends = torch.ones(rows, 1, dtype=torch.int64)
        return inputs, torch.cat([BEGIN * ends, said, END * ends], 1)


def _loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    return functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=PADDING,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


def edit_distance(said: Tensor, true: Tensor) -> Tensor:
    """Levenshtein's distance [n] between rows of ids [n, a] and [n, b], each up to its first <end> or padding.

    The table of Wagner, Fischer, "The string-to-string correction problem", Journal of the ACM 21(1), 1974, a column
    of all rows at a time; within a column the running minimum stands for the chain of insertions.
    """
    rows, first, second = len(said), _length(said), _length(true)
    down = torch.arange(said.shape[1] + 1, device=said.device)
    column = down.expand(rows, -1)
    columns = [column]
    for j in range(true.shape[1]):
        other = (said != true[:, j : j + 1]).long()
        best = torch.minimum(column[:, 1:] + 1, column[:, :-1] + other)
        best = torch.cat([column[:, :1] + 1, best], 1)
        # best[i] or a smaller entry above it, plus the steps between.
        column = torch.cummin(best - down, 1).values + down
        columns.append(column)
    table = torch.stack(columns, 2)
    return table[torch.arange(rows, device=said.device), first, second]


def _length(ids: Tensor) -> Tensor:
    """Tokens of each row before <end> or padding. [n]"""
    return ((ids != END) & (ids != PADDING)).long().cumprod(1).sum(1)
