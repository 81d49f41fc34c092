"""A little random data of the kind that a family and a task need, for what is tested of all of them."""

from __future__ import annotations

from typing import Any

import torch

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.models import FAMILIES
from orchestrator.tasks import TASKS

OUTPUTS = {"regression": 3, "segmentation": 3, "generation": 64, "adversarial_generation": 64, "denoising": 64}


def example(family: str, task: str, rows: int = 24) -> Data:
    """Three splits of so many rows each. Of generated images the judge sees the pixels themselves."""
    shape, outputs = FAMILIES[family].tasks[task], OUTPUTS.get(task, 10)
    judge: Any = torch.nn.Flatten()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        parts = [Split(*TASKS[task]().example(rows, shape, outputs), judge) for _ in range(3)]
    return Data(Card("example", task, shape, outputs, (), {}, "", {}, "", {}), *parts)
