"""Prepared arrays -> tensors: memory-mapped, a nested fraction of the training rows, normalized."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.data.card import Card
from orchestrator.data.judge import Judge
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs

BLOCK = 1 << 22  # values normalized at a time, so that float64 arrays need no second copy in memory


@dataclass(frozen=True)
class Split:
    """`inputs` [n, *input_shape] float32; `targets` [n] int64 of classes, else [n, outputs] standardized float32.

    Segmentation has targets [n, height, width] uint8 of classes.
    Graphs are inputs [n, nodes, codes + neighbours] int16; multilabel has NaN where a target is not known, and
    node_classification one graph and targets [1, nodes] int64, -1 where a class is not told.
    Generation has inputs in [0, 1], targets [n, 0], and the data's `judge` of what is generated.
    Text has inputs [n, time] int64, and targets [n, time] int64 in language_modelling, [n, time + 2] in transduction.
    Sequences of different length end in padding: tokens of id 0, or steps [features] of zeros.
    Windows of a series are overlapping views of it: read them, never write into them.
    """

    inputs: Tensor
    targets: Tensor
    judge: Judge | None = None

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Data:
    """A data set ready to train on."""

    card: Card
    train: Split
    validation: Split
    test: Split

    def learnt_by(self, task: str | None) -> "Data":
        """For another task than the data's own, such as a first stage before that: see `Card.learnt_by`."""
        return replace(self, card=self.card.learnt_by(task))


def load(folder: Path, fraction: float = 1.0, device: torch.device | str = "cpu") -> Data:
    """Load a prepared folder onto `device`, with the given fraction of its training rows.

    Fractions are nested: the rows of 0.25 are among the rows of 0.5. Of rows it is a stratified prefix, of
    a series the most recent stretch, as one who has recorded for a shorter time would have. Normalization
    is that of the whole training split whatever the fraction, so that losses of two fractions can be
    compared. UserError where there is no prepared data, the arrays are not the card's, or the fraction
    leaves too little.
    """
    folder = Path(folder)
    card = Card.read(folder)
    rows = _rows(card, fraction)
    read = _read_windows if card.window else _read_graphs if card.graphs else _read_rows
    return Data(
        card,
        train=read(folder, card, "train", rows, device),
        validation=read(folder, card, "validation", card.sizes["validation"], device),
        test=read(folder, card, "test", card.sizes["test"], device),
    )


def _rows(card: Card, fraction: float) -> int:
    if not 0 < fraction <= 1:
        raise UserError(f"{card.name}: data fraction {fraction} is not in (0, 1]")
    rows = int(card.sizes["train"] * fraction + 0.5)
    least = max(len(card.classes), 2)
    if rows < min(least, card.sizes["train"]):
        raise UserError(
            f"{card.name}: data fraction {fraction} leaves {rows} of {card.sizes['train']} training rows; "
            f"at least {least} are needed"
        )
    return rows


def _read_rows(folder: Path, card: Card, split: str, rows: int, device: torch.device | str) -> Split:
    size, scaling = card.sizes[split], card.normalization
    if card.vocabulary:
        inputs = _whole(_open(folder, f"{split}_inputs", (size, card.input_shape[0]), "u")[:rows])
    else:
        numbers = _open(folder, f"{split}_inputs", (size, *card.input_shape))[:rows]
        inputs = _normalized(numbers, scaling["mean"], scaling["scale"])
        if card.padded:
            inputs.nan_to_num_(nan=0.0)
    if card.task == "generation":
        return Split(inputs.to(device), torch.empty(len(inputs), 0, device=device), Judge.read(folder))
    if card.vocabulary and not card.classes:
        length = card.input_shape[0] + (2 if card.target_vocabulary else 0)
        targets = _whole(_open(folder, f"{split}_targets", (size, length), "u")[:rows])
    elif card.task == "segmentation":
        masks = _open(folder, f"{split}_targets", (size, *card.input_shape[1:]), "u")[:rows]
        targets = torch.from_numpy(np.array(masks))
    elif card.classes:
        targets = torch.from_numpy(np.array(_open(folder, f"{split}_targets", (size,), "i")[:rows]))
    else:
        numbers = _open(folder, f"{split}_targets", (size, card.outputs))[:rows]
        targets = _normalized(numbers, scaling["target_mean"], scaling["target_scale"])
    return Split(inputs.to(device), targets.to(device))


def _read_graphs(folder: Path, card: Card, split: str, rows: int, device: torch.device | str) -> Split:
    assert isinstance(card.input_shape, Graphs)
    size, (nodes, codes, neighbours, *_) = card.sizes[split], card.input_shape
    if card.task == "node_classification":
        tables = _open(folder, "graph_inputs", (1, nodes, codes + neighbours), "i")
        parts = (_open(folder, f"{split}_{part}", (size,), "i")[:rows] for part in ("nodes", "targets"))
        places, labels = (torch.from_numpy(np.array(part)) for part in parts)
        targets = torch.full((1, nodes), -1)
        targets[0, places] = labels
    else:
        tables = _open(folder, f"{split}_inputs", (size, nodes, codes + neighbours), "i")[:rows]
        numbers = _open(folder, f"{split}_targets", (size, card.outputs))[:rows]
        targets = _normalized(numbers, card.normalization["target_mean"], card.normalization["target_scale"])
    return Split(torch.from_numpy(np.array(tables)).to(device), targets.to(device))


def _whole(ids: NDArray[Any]) -> Tensor:
    return torch.from_numpy(ids.astype(np.int64))


def _read_windows(folder: Path, card: Card, split: str, rows: int, device: torch.device | str) -> Split:
    assert card.window is not None
    past, ahead = card.window
    channels, size = card.input_shape[-1], card.sizes[split]
    series = _open(folder, f"{split}_series", (size + past + ahead - 1, channels))[size - rows :]
    values = _normalized(series, card.normalization["mean"], card.normalization["scale"]).to(device)
    # A window is a contiguous stretch of the series: 30 times less memory than one copy per window.
    return Split(
        values.as_strided((rows, past, channels), (channels, channels, 1)),
        values.as_strided((rows, ahead * channels), (channels, 1), past * channels),
    )


def _open(folder: Path, name: str, shape: tuple[int, ...], kind: str = "fu") -> NDArray[Any]:
    """Memory-map an array and hold it against the card."""
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: not the array it should be ({error}); delete the folder and prepare it again"
        ) from None
    if array.shape != shape or array.dtype.kind not in kind:
        raise UserError(
            f"{path}: holds {array.dtype} {array.shape}, the card says {shape}; delete the folder and prepare it again"
        )
    opened: NDArray[Any] = array
    return opened


def _normalized(values: NDArray[Any], mean: list[float], scale: list[float]) -> Tensor:
    """(values - mean) / scale as float32, per channel of [n, channels, height, width], else per last axis."""
    shape = (-1, 1, 1) if values.ndim == 4 else (-1,)
    # float32 has room for the 256 levels of a byte; a table may hold 1e9 + 1, where float32 would lose the 1.
    exact: Any = np.float32 if values.dtype == np.uint8 else np.float64
    center, width = np.array(mean, exact).reshape(shape), np.array(scale, exact).reshape(shape)
    result = np.empty(values.shape, np.float32)
    step = max(1, BLOCK // max(1, values[0].size))
    for start in range(0, len(values), step):
        block = result[start : start + step]
        np.copyto(block, (values[start : start + step] - center) / width, casting="same_kind")
    return torch.from_numpy(result)
