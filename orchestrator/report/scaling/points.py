"""The points of a fit: columns, loss, and which rows belong to one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array

SYMBOLS = {
    "N": "parameters",
    "D": "training samples or tokens seen",
    "C": "training compute (FLOPs, or any other cost)",
    "U": "unique training samples",
    "W": "width",
    "H": "depth",
    "T": "training steps",
    "S": "loss, as the cause of a metric",
}


@dataclass(frozen=True)
class Points:
    """`columns` symbol → [rows] (see SYMBOLS), `loss` [rows] > 0, `run` labels [rows] (rows of one run depend).

    `weights` [rows] multiply a row's part of the objective. Raises UserError on a row that no law can take.
    """

    columns: Mapping[str, Array]
    loss: Array
    run: np.ndarray | None = None
    weights: Array | None = None
    note: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", {k: np.asarray(v, dtype=float) for k, v in self.columns.items()})
        object.__setattr__(self, "loss", np.asarray(self.loss, dtype=float))
        for name, values in {**self.columns, "loss": self.loss}.items():
            if values.shape != self.loss.shape:
                raise UserError(f"column {name}: {values.shape} values for {len(self.loss)} losses")
            bad = ~(np.isfinite(values) & (values > 0))
            if bad.any():
                row = int(np.argmax(bad))
                raise UserError(
                    f"column {name}, row {row + 1}: {values[row]:g}; valid are finite numbers above zero"
                    f" ({int(bad.sum())} rows are not)"
                )

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def runs(self) -> np.ndarray:
        """Run numbers 0.. of each row; without run labels every row is its own run."""
        if self.run is None:
            return np.arange(len(self))
        return np.unique(np.asarray(self.run, dtype=str), return_inverse=True)[1]

    @property
    def row_weights(self) -> Array:
        return np.ones(len(self)) if self.weights is None else np.asarray(self.weights, dtype=float)

    def rows(self, chosen: np.ndarray | Sequence[int]) -> Points:
        """The points of a mask or an index."""
        return replace(
            self,
            columns={name: values[chosen] for name, values in self.columns.items()},
            loss=self.loss[chosen],
            run=None if self.run is None else np.asarray(self.run)[chosen],
            weights=None if self.weights is None else np.asarray(self.weights)[chosen],
        )

    def drop_highest(self, count: int) -> Points:
        """Without the `count` rows of highest loss, in the same order."""
        return self.rows(np.sort(np.argsort(self.loss, kind="stable")[: len(self) - count])) if count else self

    @property
    def cost(self) -> Array:
        """What orders rows from small to large: compute if given, else 6ND, else the product of what there is."""
        if "C" in self.columns:
            return self.columns["C"]
        if "N" in self.columns and "D" in self.columns:
            return 6.0 * self.columns["N"] * self.columns["D"]
        for name in ("N", "D", "T"):
            if name in self.columns:
                return self.columns[name]
        return np.asarray(next(iter(self.columns.values())))
