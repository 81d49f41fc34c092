"""The network of a training that has ended, built again from what was trained and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Network:
    """What to build: `config` is the trial's flat configuration, `card` the data set's."""

    family: str
    size: str
    config: Mapping[str, Any]
    card: Mapping[str, Any]

    def filled(self, weights: Path) -> nn.Module:
        """Built and filled with `weights`, a file that a finalist has left, and ready to be asked.

        Raises:
            UserError: no such file, one that is torn or altered, or of a network that is built otherwise by now.
        """
        from orchestrator.data.card import shape
        from orchestrator.training import checkpoint
        from orchestrator.training.parameters import split_config

        settings = split_config(self.family, self.size, self.card["task"], self.config)
        state, problem = checkpoint.load(weights)
        if state is None:
            raise UserError(problem or f"{weights}: no such file")
        built = settings.family.build(settings.model, shape(self.card), self.card["outputs"])
        try:
            built.load_state_dict(state)
        except RuntimeError:
            raise UserError(f"{weights}: not of a {self.family} as it is built here; of another version?") from None
        return built.eval()
