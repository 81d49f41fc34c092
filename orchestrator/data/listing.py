"""What `orchestrate data list` shows."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.data.card import Card
from orchestrator.data.catalog import CATALOG
from orchestrator.data.dataset import Dataset
from orchestrator.data.prepare import prepared_folder, recipe_hash
from orchestrator.errors import UserError


@dataclass(frozen=True)
class Row:
    """One data set; `shape` (of a sample) and `rows` (over all splits) are known once it is prepared."""

    name: str
    task: str
    licence: str
    source: str
    prepared: bool
    shape: tuple[int, ...] | None
    rows: int | None


def list_datasets(root: Path, more: Iterable[Dataset] = ()) -> list[Row]:
    """A row for each data set of the catalog and of `more`, with what is prepared below `root`.

    Only cards are read; a user's file that has changed since is found when it is prepared.
    """
    return [_row(dataset, Path(root)) for dataset in (*CATALOG.values(), *more)]


def _row(dataset: Dataset, root: Path) -> Row:
    try:
        card: Card | None = Card.read(prepared_folder(dataset.name, root))
    except UserError:
        card = None
    if card is not None and card.recipe != recipe_hash(dataset):
        card = None
    return Row(
        name=dataset.name,
        task=dataset.task,
        licence=dataset.licence,
        source=_source(dataset),
        prepared=card is not None,
        shape=card.input_shape if card else None,
        rows=sum(card.sizes.values()) if card else None,
    )


def _source(dataset: Dataset) -> str:
    """scikit-learn, the host, the mirror, or the user's file."""
    file = dataset.files[0]
    if file.url.startswith("sklearn:"):
        return "scikit-learn"
    if file.url.startswith("mirror:"):
        return "the mirror"
    if file.url:
        return file.url.split("/")[2]
    return str(dataset.own[file.name])
