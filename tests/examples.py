"""Every family and task as cases, and a little random data of the kind that they need."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.models import FAMILIES
from orchestrator.tasks import TASKS

OUTPUTS = {"regression": 3, "segmentation": 3, "generation": 64, "adversarial_generation": 64, "denoising": 64}


def if_installed(family: str, *others: Any) -> Any:
    """A case of a parametrized test, skipped where the family's extra is not here."""
    lacking = f"{family} without the extra {FAMILIES[family].extra!r}"
    return pytest.param(family, *others, marks=pytest.mark.skipif(not FAMILIES[family].installed(), reason=lacking))


def families_and_tasks() -> list[Any]:
    """Every family with every task that it can do, as cases."""
    return [if_installed(family, task) for family in FAMILIES for task in FAMILIES[family].tasks]


def example(family: str, task: str, rows: int = 24) -> Data:
    """Three splits of so many rows each. Of generated images the judge sees the pixels themselves."""
    shape, outputs = FAMILIES[family].tasks[task], OUTPUTS.get(task, 10)
    judge: Any = torch.nn.Flatten()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        parts = [Split(*TASKS[task]().example(rows, shape, outputs), judge) for _ in range(3)]
    return Data(Card("example", task, shape, outputs, (), {}, "", {}, "", {}), *parts)
