"""Raw files -> typed arrays with a fixed split and a card, the same bytes on every machine."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.arrays import Prepared, arrange
from orchestrator.data.card import JUDGE_FILE, SPLITS, Card
from orchestrator.data.dataset import Dataset
from orchestrator.data.download import Progress, fetch, source_hashes
from orchestrator.data.formats import READERS
from orchestrator.data.graphs import arrange_graphs
from orchestrator.data.masks import arrange_masks
from orchestrator.data.raw import Raw, RawGraphs, Text
from orchestrator.data.text import arrange_text
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.data.judge import Judge

VERSION = 1  # of what is made from the same files: raise it when the arrays would come out differently
JUDGE_VERSION = 1  # the same of the judge of what is generated


def prepared_folder(name: str, root: Path) -> Path:
    """Where the prepared arrays of a data set lie."""
    return Path(root) / "prepared" / name


def prepare(dataset: Dataset, root: Path, progress: Progress | None = None) -> Path:
    """Make `root/prepared/<name>` and return it, at once where it was made from the same files already.

    Raw files go to `root/raw/<name>`. The folder is written aside and renamed: it is whole or it is not
    there. `progress(file, bytes_done, bytes_total)` is called while files come in. UserError for bad data,
    a wrong checksum, an address that does not answer, or a folder that cannot be written. Images to be generated get
    their judge here, which takes seconds.
    """
    folder = prepared_folder(dataset.name, root)
    source, recipe = source_hashes(dataset), recipe_hash(dataset)
    if is_current(folder, source, recipe):
        return folder
    with _writable(Path(root)):
        paths = fetch(dataset, Path(root) / "raw" / dataset.name, progress)
    raw = READERS[dataset.reader](dataset, paths)
    made = _arranged(dataset, raw)
    card = Card(
        name=dataset.name,
        task=dataset.task,
        input_shape=made.input_shape,
        outputs=made.outputs,
        classes=made.classes,
        sizes=made.sizes,
        licence=dataset.licence,
        source=source,
        fingerprint=fingerprint(made.arrays),
        normalization=made.normalization,
        features=made.features,
        window=made.window,
        dropped_rows=made.dropped_rows,
        recipe=recipe,
        vocabulary=made.vocabulary,
        target_vocabulary=made.target_vocabulary,
        padded=made.padded,
        graphs=made.graphs,
    )
    judge = None if made.judged is None else _judge(made, made.judged)
    with _writable(Path(root)):
        _write(folder, made, card, judge)
    return folder


def _arranged(dataset: Dataset, raw: Raw | RawGraphs | Text) -> Prepared:
    if isinstance(raw, RawGraphs):
        return arrange_graphs(dataset, raw)
    if isinstance(raw, Text):
        return arrange_text(dataset, raw)
    return arrange_masks(dataset, raw) if dataset.task == "segmentation" else arrange(dataset, raw)


def is_current(folder: Path, source: Mapping[str, str], recipe: str) -> bool:
    """Whether `folder` was prepared from these files in this way."""
    try:
        card = Card.read(folder)
    except UserError:
        return False
    return (
        card.source == source and card.recipe == recipe and all((folder / name).is_file() for name in file_names(card))
    )


def file_names(card: Card) -> list[str]:
    """The files that belong to a card."""
    if card.task == "node_classification":
        return ["graph_inputs.npy", *(f"{split}_{part}.npy" for split in SPLITS for part in ("nodes", "targets"))]
    generated = card.task == "generation"
    parts = ("series",) if card.window else ("inputs",) if generated else ("inputs", "targets")
    return [f"{split}_{part}.npy" for split in SPLITS for part in parts] + [JUDGE_FILE] * generated


def fingerprint(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The sha256 over names, types, shapes and contents: the version of the data."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def recipe_hash(dataset: Dataset) -> str:
    """A hash of all that the catalog entry says, so that an edited entry is prepared again."""
    entry = {key: value for key, value in asdict(dataset).items() if key not in ("own", "files")}
    if dataset.task == "generation":
        entry["judge"] = JUDGE_VERSION
    text = json.dumps({"version": VERSION, **entry}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _judge(made: Prepared, labels: NDArray[Any]) -> "Judge":
    """Not of the fingerprint: its weights are the same on one machine, and to rounding on all."""
    import torch

    from orchestrator.data import judge

    scale = torch.tensor(made.normalization["scale"]).reshape(-1, 1, 1)
    images = torch.from_numpy(made.arrays["train_inputs"].astype(np.float32)) / scale
    return judge.train(images, torch.from_numpy(labels.astype(np.int64)), int(labels.max()) + 1)


def _write(folder: Path, made: Prepared, card: Card, judge: "Judge | None") -> None:
    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        for name, array in made.arrays.items():
            with open(aside / f"{name}.npy", "wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        card.write(aside)
        if judge is not None:
            judge.write(aside)
        if folder.exists():
            folder.rename(old)
        try:
            aside.rename(folder)
        except OSError:
            # Another process preparing the same set may have been quicker: its folder is as good as ours.
            if not is_current(folder, card.source, card.recipe):
                if old.exists():
                    old.rename(folder)
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or root
        raise UserError(
            f"{where}: {error.strerror or error}; the data folder {root} needs write permission and free space"
        ) from error
