"""Files by address."""

from collections.abc import Callable
from pathlib import Path

from orchestrator.data.catalog import Dataset

Progress = Callable[[str, int, int], None]  # file, bytes done, bytes in all


def source_hashes(dataset: Dataset) -> dict[str, str]:
    """The sha256 of each file of a data set."""
    return {file.name: file.sha256 for file in dataset.files}


def fetch(dataset: Dataset, folder: Path, progress: Progress | None = None) -> dict[str, Path]:
    """The paths of a data set's files."""
    return {}
