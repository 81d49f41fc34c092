"""Real images for what generates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator.data import CATALOG
from orchestrator.data.load import Data, load
from orchestrator.data.prepare import prepare


@pytest.fixture(scope="session")
def digits_images(data_root: Path) -> Data:
    torch.set_num_threads(1)
    return load(prepare(CATALOG["digits_images"], data_root))
