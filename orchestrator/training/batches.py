"""Batches of a split whose tensors are on the device: by index, with no Python for each row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.tasks import Judge, Split

# Rows are gathered for several steps at once: one indexing operation, then views. Bounded, so that they stay in cache.
_GATHERED_BYTES = 1 << 20


@dataclass(frozen=True)
class Rows:
    inputs: Tensor
    targets: Tensor
    judge: Judge | None = None


def on_device(split: Split, device: torch.device) -> Split:
    """The split there; nothing is copied where it is there already."""
    return Rows(split.inputs.to(device), split.targets.to(device), getattr(split, "judge", None))


def batch_sizes(rows: int, batch_size: int) -> list[int]:
    """Rows of each step of an epoch. A lone last row joins the batch before: normalization needs two."""
    sizes = [batch_size] * (rows // batch_size)
    rest = rows % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def shuffled(split: Split, order: Tensor, sizes: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) of `sizes[i]` rows each, the rows in the given order."""
    inputs, targets = split.inputs, split.targets
    together = max(1, _GATHERED_BYTES // max(1, sizes[0] * inputs[0].nbytes))
    first = 0
    for begin in range(0, len(sizes), together):
        part = list(sizes[begin : begin + together])
        index = order[first : first + sum(part)]
        first += len(index)
        gathered = inputs[index]
        if gathered.ndim == 4:  # the layout of the convolutions' weights, see fit
            gathered = gathered.contiguous(memory_format=torch.channels_last)
        yield from zip(torch.split(gathered, part), torch.split(targets[index], part), strict=True)


def pieces(rows: int, count: int) -> list[int]:
    """Sizes of a batch's pieces, as even as can be: `count` of them, or fewer where one would be a lone row."""
    count = max(1, min(count, rows // 2))
    return [rows // count + (piece < rows % count) for piece in range(count)]
