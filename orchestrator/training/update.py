"""One optimizer step: of a batch as a whole, or of its pieces where memory is short.

In pieces, each player's gradients are sums over the pieces, weighted by rows, and its optimizer moves once: the same
step as with the whole batch, up to rounding, with the memory of one piece. It is another step, though not a worse one,
where rows of a batch meet or draw random numbers: batch normalization takes its statistics over a piece (as in Hoffer
et al., NeurIPS 2017) and moves its running averages once a piece, a loss over pairs of rows sees the pairs within a
piece, and dropout draws other masks; or where a loss is a mean over something that rows have unequal numbers of, as of
tokens in `transduction` and of labelled nodes in `node_classification`: each piece has its own mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.training import optimizers
from orchestrator.training.batches import pieces
from orchestrator.training.divergence import STEPS_BETWEEN_CHECKS, Watch
from orchestrator.training.parameters import Settings
from orchestrator.training.precision import under_autocast


@dataclass
class Player:
    """A part of the model with an optimizer of its own; mostly there is one, the whole model."""

    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    penalized: list[nn.Parameter]


class Updates:
    """A model, its optimizers, and the watch over them: what a step changes.

    dtype: that of autocast, or None. micro_batches: pieces of a batch; fewer where a piece would be a lone row.
    """

    def __init__(
        self, settings: Settings, model: nn.Module, device: torch.device, dtype: torch.dtype | None, micro_batches: int
    ) -> None:
        self.settings, self.model, self.device, self.dtype = settings, model, device, dtype
        self.micro_batches = micro_batches
        self.players: dict[str, Player] = {}
        for name in settings.task.players:
            parameters = [p for p in model.get_submodule(name).parameters() if p.requires_grad]
            penalized = optimizers.regularized(parameters) if settings.hyperparameters.l1 else []
            self.players[name] = Player(optimizers.build(parameters, settings.hyperparameters), parameters, penalized)
        self.scaler = torch.amp.GradScaler(device.type) if dtype == torch.float16 else None
        every = 1 if device.type == "cpu" else STEPS_BETWEEN_CHECKS
        self.watch = Watch(every, scaled=self.scaler is not None, contested=len(self.players) > 1)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "model": self.model.state_dict(),
            "optimizers": {name: player.optimizer.state_dict() for name, player in self.players.items()},
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "watch": self.watch.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for name, player in self.players.items():
            player.optimizer.load_state_dict(state["optimizers"][name])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])
        self.watch.restore(state["watch"])

    def step(self, inputs: Tensor, targets: Tensor, rate: float, *, measure: bool) -> None:
        """Update every player by one batch at this learning rate; `measure` the gradient's norm, clipped or not.

        The pieces go side by side: a player's turn ends with the last piece before the next player's begins. What
        the task does after its last loss is done once a step, by the first piece.

        Raises:
            Diverged: as soon as the watch sees it.
        """
        rows = len(inputs)
        sizes, others = [rows], []
        if self.micro_batches == 1:
            first = self._losses(inputs, targets)
        else:
            sizes = pieces(rows, self.micro_batches)
            parts = zip(torch.split(inputs, sizes), torch.split(targets, sizes), strict=True)
            first, *others = [self._losses(*part) for part in parts]
        total: Tensor | None = None
        for name, loss in first:
            player = self.players[name]
            self.watch.before_update(loss, self.model)
            player.optimizer.zero_grad(set_to_none=True)
            mean = self._backward(player, loss, sizes[0] / rows)
            for number, other in enumerate(others, 1):
                same, loss = next(other)
                assert same == name, "a task's step yields the same players whatever the rows"
                mean = mean + self._backward(player, loss, sizes[number] / rows)
            self._move(player, rate, measure)
            total = mean if total is None else total + mean
        assert total is not None, "a task's step yields at least one loss"
        self.watch.add(total, rows)

    def _losses(self, inputs: Tensor, targets: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The task's step, not begun."""
        losses = self.settings.task.step(self.model, inputs, targets)
        return losses if self.dtype is None else under_autocast(losses, self.device, self.dtype)

    def _backward(self, player: Player, loss: Tensor, share: float) -> Tensor:
        """Add the gradients of a piece, which has that share of the batch's rows; its loss, times the share."""
        whole = loss
        if player.penalized:
            l1 = self.settings.hyperparameters.l1
            whole = loss + l1 * torch.cat([weight.flatten() for weight in player.penalized]).abs().sum()
        if share < 1:
            whole, loss = whole * share, loss * share
        torch.autograd.backward(whole if self.scaler is None else self.scaler.scale(whole))
        return loss.detach()

    def _move(self, player: Player, rate: float, measure: bool) -> None:
        """The optimizer's step, from the gradients as they are."""
        optimizer, clip = player.optimizer, self.settings.hyperparameters.gradient_clip
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if clip:
            self.watch.add_norm(nn.utils.clip_grad_norm_(player.parameters, clip))
        elif measure:
            gradients = [p.grad for p in player.parameters if p.grad is not None]
            self.watch.add_norm(nn.utils.get_total_norm(gradients))
        for group in optimizer.param_groups:
            group["lr"] = rate
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
