"""What readers of all formats return."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]  # name -> [rows], numbers or text


@dataclass(frozen=True)
class Raw:
    """What a reader returns. `inputs` is an array [rows, ...], or named columns where some may be text.
    `targets` is [rows] or [rows, outputs], None for a forecasting set, whose columns are its targets.
    `test` is the test split where one is published. `lengths` [rows] says how many steps of each sequence
    [time, features] are its own, where the rest is padding. `split` [rows] is 1 for the rows of train, 2 for validation
    and 3 for test, where all three are published."""

    inputs: NDArray[Any] | Columns
    targets: NDArray[Any] | None
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    dropped_rows: int = 0
    test: "Raw | None" = None
    lengths: NDArray[Any] | None = None
    split: NDArray[Any] | None = None


@dataclass(frozen=True)
class Text:
    """What a reader of text returns: each sample as the words that tokens are made of (or characters, sounds).

    `targets` is [rows] of labels, or for each row the words to come out, None for a language model, whose one
    sample is the whole text. `test` is the test split where one is published.
    """

    samples: Sequence[Sequence[str]]
    targets: NDArray[Any] | Sequence[Sequence[str]] | None = None
    dropped_rows: int = 0
    test: "Text | None" = None


@dataclass(frozen=True)
class RawGraphs:
    """What a reader of graphs returns: of each graph what is said of its nodes, `codes[graph][node]`, ids from 1 on and
    below `vocabulary`, and its links, pairs of nodes counted from 0, each one way or both.

    `targets` is [graphs, outputs], or of the nodes [nodes] of one graph. `features` names the ids from 1 on.
    """

    codes: Sequence[Sequence[Sequence[int]]]
    links: Sequence[Sequence[tuple[int, int]]]
    vocabulary: int
    targets: NDArray[Any]
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    dropped_rows: int = 0
