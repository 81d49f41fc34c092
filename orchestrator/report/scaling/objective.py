"""What is minimized: a sum over rows of a loss of the residual, on the log or the linear scale."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array

ABSOLUTE_WIDTH = 1e-7  # the Huber width that stands for least absolute deviation; the sum shown is the exact one


@dataclass(frozen=True)
class Objective:
    """`kind` huber, lad or squared; `width` the Huber width; `on` log or linear loss.

    huber: r²/2 within the width, width·(|r| − width/2) beyond it (Huber 1964); lad: |r|; squared: r². Always summed.
    """

    kind: str = "huber"
    width: float = 1e-3
    on: str = "log"

    def __post_init__(self) -> None:
        if self.kind not in ("huber", "lad", "squared"):
            raise UserError(f"fit '{self.kind}': not one of huber:WIDTH, lad, squared")
        if self.on not in ("log", "linear"):
            raise UserError(f"on '{self.on}': not one of log, linear")
        if not self.width > 0:
            raise UserError(f"fit huber:{self.width}: the width must be a positive number")

    @classmethod
    def parse(cls, text: str, on: str = "log") -> Objective:
        """Read `huber:1e-3`, `huber`, `lad` or `squared`."""
        kind, _, width = text.partition(":")
        if not width:
            return cls(kind, on=on)
        try:
            return cls(kind, float(width), on)
        except ValueError:
            raise UserError(f"fit '{text}': the width '{width}' is not a number, e.g. huber:1e-3") from None

    def __str__(self) -> str:
        return f"huber:{self.width:g}" if self.kind == "huber" else self.kind

    @property
    def final_width(self) -> float:
        return {"huber": self.width, "lad": ABSOLUTE_WIDTH, "squared": np.inf}[self.kind]

    def widths(self, scale: float) -> tuple[float, ...]:
        """The continuation: widths from that of an ordinary fit down to the target.

        Starting at the target width leaves the solver among the kinks of single points. `scale` is
        the loss of a typical row for linear residuals and 1 for log residuals.
        """
        target = self.final_width
        if self.kind == "squared":
            return (target,)
        steps = [scale * step for step in (0.1, 0.01) if scale * step > 2 * target]
        width = (steps[-1] if steps else target) / 10
        while width > 3 * target:
            steps.append(width)
            width /= 10
        return (*steps, target)

    def for_resampling(self, scale: float) -> Objective:
        """What resamples minimize: least absolute deviation to a relative 1e-5, which no interval tells from exact."""
        return replace(self, kind="huber", width=1e-5 * scale) if self.kind == "lad" else self

    def total(self, residuals: Array, weights: Array) -> Array:
        """The sum shown to people, over the last axis."""
        size = np.abs(residuals)
        if self.kind == "huber":
            robust: Array = np.sum(weights * huber(residuals, self.width), axis=-1)
            return robust
        total: Array = np.sum(weights * (size if self.kind == "lad" else size**2), axis=-1)
        return total


def huber(residuals: Array, width: float) -> Array:
    size = np.abs(residuals)
    if np.isinf(width):
        return 0.5 * size**2
    return np.where(size <= width, 0.5 * size**2, width * (size - 0.5 * width))


def influence(residuals: Array, width: float) -> Array:
    """The derivative of `huber`."""
    return np.clip(residuals, -width, width)


def reweighting(residuals: Array, width: float) -> Array:
    """`influence` over residual: the weights of iteratively reweighted least squares."""
    if np.isinf(width):
        return np.ones_like(residuals)
    return width / np.maximum(np.abs(residuals), width)
