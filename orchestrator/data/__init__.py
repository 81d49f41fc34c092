"""Data: what there is, where it comes from, and prepared arrays as tensors.

Importing this loads neither torch nor pandas nor scikit-learn. `prepare.prepare` and `load.load` are
imported from their own modules: re-exported here, the submodule of the same name would hide each once it is
imported.
"""

from orchestrator.data.card import Card
from orchestrator.data.catalog import CATALOG, Dataset, File
from orchestrator.data.entry import from_entry
from orchestrator.data.listing import list_datasets

__all__ = ["CATALOG", "Card", "Dataset", "File", "from_entry", "list_datasets"]
