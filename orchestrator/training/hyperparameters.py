"""The trainer's own hyperparameters; these names are what search spaces use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.errors import UserError


@dataclass(frozen=True)
class Hyperparameters:
    """How a network is trained, whatever it is.

    batch_size: rows a step. A lone row left over at the end of an epoch joins the batch before it.
    momentum: SGD's, and RMSprop's; nesterov: SGD's only (Sutskever et al., ICML 2013).
    beta1, beta2: decay rates of Adam's and AdamW's two moments; rms_alpha: of RMSprop's.
    weight_decay: added to the gradient by sgd, adam and rmsprop (an L2 penalty), taken off the weights themselves
        by adamw (decoupled: Loshchilov, Hutter, ICLR 2019). Applies to matrices and kernels, not to biases and
        normalization, as does l1, a penalty of l1 × sum of absolute weights on the training objective.
    schedule: what the learning rate does after a linear warmup over `warmup_fraction` of all steps. cosine anneals to
        nearly zero at the last step (Loshchilov, Hutter, ICLR 2017, without restarts); step multiplies by `step_gamma`
        after every `step_fraction` of the steps that follow the warmup.
    gradient_clip: largest norm of all gradients together; 0 turns it off.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "adam"
    momentum: float = 0.0
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    rms_alpha: float = 0.99
    weight_decay: float = 0.0
    l1: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    warmup_fraction: float = 0.0
    step_fraction: float = 0.3
    step_gamma: float = 0.1
    gradient_clip: float = 0.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "step_fraction", "step_gamma"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, found {getattr(self, name)}")
        for name in ("weight_decay", "l1", "gradient_clip"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must be 0 or more, found {getattr(self, name)}")
        for name in ("momentum", "beta1", "beta2", "rms_alpha", "warmup_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, found {getattr(self, name)}")
        if self.batch_size < 1:
            raise UserError(f"batch_size must be 1 or more, found {self.batch_size}")
        if self.nesterov and self.optimizer == "sgd" and self.momentum == 0:
            raise UserError("nesterov needs a momentum above 0, found 0")
