"""What readers of all formats return."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]  # name -> [rows], numbers or text


@dataclass(frozen=True)
class Raw:
    """What a reader returns. `inputs` is an array [rows, ...], or named columns where some may be text.
    `targets` is [rows] or [rows, outputs], None for a forecasting set, whose columns are its targets.
    `test` is the test split where one is published."""

    inputs: NDArray[Any] | Columns
    targets: NDArray[Any] | None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    dropped_rows: int = 0
    test: "Raw | None" = None
