"""What there is to choose from: each family with its variants, tasks, sizes and what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from orchestrator.documents import nearest
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.models import FAMILIES, Family
from orchestrator.tasks import TASKS, WAYS
from orchestrator.tokens import Tokens
from orchestrator.training.parameters import choices, describe
from orchestrator.windows import Windows

CLASSES = 10  # of an example, where neither the task nor the kind of input says how many outputs there are


def listed(names: Sequence[str], spaces: Path) -> Iterator[dict[str, Any]]:
    """The families `names`, or all of them; one after the other, as counting takes some tenths of a second each.

    Parameters and FLOPs depend on the data's shape: they are those of the small example that the table FAMILIES has
    for each task, which is told beside them. `spaces`: the folder of search spaces.

    Raises:
        UserError: a name that no family has.
    """
    for name in names:
        if name not in FAMILIES:
            raise UserError(f"unknown family {name!r}; {nearest(name, FAMILIES)}")
    # Networks this small are slower on several threads, by many times where others are at work.
    torch.set_num_threads(1)
    return (_family(name, spaces / f"{name}.yaml") for name in names or FAMILIES)


def _family(name: str, space: Path) -> dict[str, Any]:
    family = FAMILIES[name]
    return {
        "family": name,
        "paper": family.paper,
        "variants": choices(family.config),
        "sizes": {size: dict(dial) for size, dial in family.sizes.items()},
        "tasks": {task: _task(name, family, task) for task in family.tasks},
        "search_space": str(space),
        "search_space_exists": space.is_file(),
        "extra": family.extra or None,
        "installed": family.installed(),
    }


def _task(name: str, family: Family, task: str) -> dict[str, Any]:
    """`data`: the task of the data that it is for. `counts`: None where it can't be built, as its extra is missing."""
    shape = family.tasks[task]
    outputs = _outputs(task, shape)
    counts = None
    if family.installed():
        counts = {size: asdict(describe(name, size, shape, outputs, task=task)) for size in family.sizes}
    return {
        "data": WAYS.get(task, task),
        "choices": choices(TASKS[task]),
        "example": {**_kind(shape), "outputs": outputs},
        "counts": counts,
    }


def _kind(shape: tuple[int, ...]) -> dict[str, Any]:
    if isinstance(shape, Tokens):
        return {"kind": "tokens", **shape._asdict()}
    if isinstance(shape, Graphs):
        return {"kind": "graphs", **shape._asdict()}
    if isinstance(shape, Windows):
        return {"kind": "windows", **shape._asdict()}
    return {"kind": "numbers", "shape": list(shape)}


def _outputs(task: str, shape: tuple[int, ...]) -> int:
    """The tokens of a vocabulary, a step of a series, the values of what is made anew, one number, or ten classes."""
    if isinstance(shape, Tokens):
        return shape.vocabulary
    if isinstance(shape, Windows):
        return shape.channels
    if WAYS.get(task, task) in ("generation", "anomaly_detection"):
        return math.prod(shape)
    return 1 if task == "regression" else CLASSES
