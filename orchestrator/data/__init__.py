"""Data: what there is, where it comes from, and prepared arrays as tensors.

Importing this loads neither NumPy nor torch, pandas or scikit-learn. `prepare.prepare`, `load.load` and
`listing.list_datasets` are imported from their own modules, which need them; and re-exported here, the first two
would be hidden by the submodules of the same names.
"""

from orchestrator.data.card import Card, judge_digest
from orchestrator.data.catalog import CATALOG
from orchestrator.data.dataset import Dataset, File
from orchestrator.data.entry import from_entry

__all__ = ["CATALOG", "Card", "Dataset", "File", "from_entry", "judge_digest"]
