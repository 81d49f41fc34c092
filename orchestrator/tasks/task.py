"""What a learning problem has to offer the training loop, which is the same for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Protocol

from torch import Tensor, nn

Direction = Literal["min", "max"]


class Split(Protocol):
    """Rows of data: inputs [n, ...] and targets [n, ...], on one device."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def targets(self) -> Tensor: ...


class Judge(Protocol):
    """Tells how alike images are: images [n, channels, height, width] → features [n, k] in float32."""

    def __call__(self, images: Tensor) -> Tensor: ...


class Task(Protocol):
    """A frozen dataclass; its fields are the task's own hyperparameters.

    metrics: what `evaluate` returns, and which way each is better.
    players: the parts of the model that have an optimizer of their own, by attribute name. "" is the whole model;
        an adversarial task has two.
    costly, where a task has it: names of its real hyperparameters that change how much is computed; for the others
        `training.parameters.cost` counts operations once.
    unmeasured, where a task has it: a method that says of a split's targets which metrics they can't tell, each with
        why; by such a metric no training is judged.
    """

    metrics: ClassVar[Mapping[str, Direction]]
    players: ClassVar[tuple[str, ...]]

    def step(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        """One training step on one batch: yields (player, scalar loss) for each update, in order.

        A generator function: the loop runs each player's backward pass and optimizer before it asks for the next
        loss, so a later loss sees the earlier update, and what follows the last yield sees them all (a moving
        average of the weights belongs there). Where memory is short the batch comes in pieces, each through a
        generator of its own, side by side: what stands before a yield is done once a piece, what follows the last
        yield once a step. Random numbers come from torch's global generators, which the loop
        seeds for each epoch.
        """
        ...

    def evaluate(self, model: nn.Module, split: Split, batch_size: int) -> dict[str, float]:
        """The metrics over a split, without regularization: plain losses, the model in evaluation mode."""
        ...

    def example(self, rows: int, input_shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor]:
        """A random batch (inputs, targets) of the kind this task learns from, on the current default device."""
        ...
