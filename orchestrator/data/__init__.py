"""Data: what there is, where it comes from, and prepared arrays as tensors.

Importing this loads neither torch nor pandas nor scikit-learn. `prepare.prepare` and `load.load` are imported from their
own modules: re-exported here, each name would be hidden by the submodule of the same name once that is imported.
"""

from orchestrator.data.card import Card
from orchestrator.data.catalog import CATALOG, Dataset, File

__all__ = ["CATALOG", "Card", "Dataset", "File"]
