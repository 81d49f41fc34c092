"""A small graph of papers that cite each other, as a file and the data set that it makes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from orchestrator.data import Dataset, File


def citations(folder: Path, train: int = 15, papers: int = 90) -> Dataset:
    """Papers of three topics; each cites the next two and has two words, the second that of its topic."""
    links = [[(paper + step) % papers for step in (1, 2)] for paper in range(papers)]
    words = [[paper % 5, 5 + paper % 3] for paper in range(papers)]
    sparse = {}
    for kind, rows in (("adj", links), ("attr", words)):
        sparse[f"{kind}_indices"] = np.concatenate(rows).astype(np.int32)
        sparse[f"{kind}_indptr"] = np.arange(papers + 1, dtype=np.int32) * 2
    file = io.BytesIO()
    names = np.array(["Cases", "Nets", "Theory"])
    np.savez(file, **sparse, attr_shape=np.array([papers, 8]), labels=np.arange(papers) % 3, class_names=names)
    path = folder / "cites.npz"
    path.write_bytes(file.getvalue())
    files, own = (File(path.name, "", ""),), {path.name: path}
    return Dataset("mine", "node_classification", "citations", files, "none", own, validation=30, test=30, train=train)
