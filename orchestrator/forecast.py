"""What a plan will cost: expected epochs and operations, and seconds at the pace that a probe measures."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from orchestrator.data import Card
from orchestrator.plan import Plan
from orchestrator.search import stopping
from orchestrator.spec import NO_LIMIT


@dataclass(frozen=True)
class Forecast:
    """What the sweep will cost. `epochs` is expected with early stopping, `most_epochs` without any.

    `flops` and `seconds` (of training and validation, on one worker) are expected; the latter come from `probe`, when
    it was run.
    """

    trials: int
    epochs: float
    most_epochs: int
    flops: float
    seconds: float | None


class Pace(NamedTuple):
    """Seconds: of training for each row, and of the validation after an epoch."""

    train: float
    validation: float


def forecast(plan: Plan, paces: Mapping[tuple[str, str], Pace] | None = None, workers: int = 1) -> Forecast | None:
    """Expected cost: a trial passes each rung with the rule's share, a finalist runs all its epochs.

    `paces` is what `probe` measured; where it lacks a cell's family and size, seconds stay unknown. With
    a budget, as many trials are expected as it pays for; None where that is all that is asked and nobody can tell.
    """
    sweep = plan.spec
    rules = [stopping.make(**sweep.stopping_of(cell, plan.cells).model_dump()) for cell in plan.cells]
    # Of a trial in each cell.
    expected = [stopping.expected_epochs(rule, sweep.max_epochs) for rule in rules]
    paced = [(paces or {}).get((cell.family, cell.size)) for cell in plan.cells]
    # Of an epoch in each cell.
    flops = [float(cell.flops * cell.train_samples) for cell in plan.cells]
    seconds = None
    if None not in paced:
        seconds = [
            pace.train * _timed(plan.card, cell.train_samples) + pace.validation
            for pace, cell in zip(paced, plan.cells, strict=True)
            if pace is not None
        ]
    finalists = [sweep.finalists_of(cell) for cell in plan.cells]
    finals = [count * sweep.max_epochs for count in finalists]
    trials = float(sweep.trials)
    for name, limit in sweep.budget.limits().items():
        if name == "trials":
            trials = min(trials, (limit - sum(finalists)) / len(plan.cells))
            continue
        costs = flops if name == "flops" else seconds or []
        if name != "flops":
            limit *= 3600 * (workers if name == "hours" else 1)
        if one_each := _product(costs, expected) if costs else 0.0:
            trials = min(trials, (limit - _product(costs, finals)) / one_each)
    if trials >= NO_LIMIT:
        return None
    counts = [max(min(trials, sweep.trials_of(cell, plan.cells)), 1.0) for cell in plan.cells]
    epochs = [count * each + final for count, each, final in zip(counts, expected, finals, strict=True)]
    planned = [round(count) + final for count, final in zip(counts, finalists, strict=True)]
    return Forecast(
        trials=sum(planned),
        epochs=sum(epochs),
        most_epochs=sum(planned) * sweep.max_epochs,
        flops=_product(flops, epochs),
        seconds=None if seconds is None else _product(seconds, epochs),
    )


def probe(plan: Plan, device: str = "cpu") -> dict[tuple[str, str], Pace]:
    """The pace of each family and size on a device: the second of two epochs over a few hundred rows, here and now.

    A family and size whose defaults diverge on these rows before an epoch is over, or find no memory, is left out.
    """
    import torch

    from orchestrator.data.load import load
    from orchestrator.training.divergence import Diverged
    from orchestrator.training.fit import Job, fit
    from orchestrator.training.memory import OutOfMemory

    data = load(plan.data).learnt_by(plan.card.task)
    few, fewer = (
        replace(split, inputs=split.inputs[:512], targets=split.targets[:512])
        for split in (data.train, data.validation)
    )
    small = replace(data, train=few, validation=fewer)
    # A generator is judged by as many images of its own, however many there are to compare them with.
    more = 1.0 if plan.card.task == "generation" else len(data.validation.inputs) / len(fewer.inputs)
    timings: dict[tuple[str, str], Pace] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(plan.spec.resources.cpus)))
    try:
        for family, size in {(cell.family, cell.size): None for cell in plan.cells}:
            job = Job(family, size, {}, 0, 2, plan.spec.metric, plan.direction)
            with contextlib.suppress(Diverged, OutOfMemory):
                # What stays is the last epoch; the first one also warms up.
                for row in fit(job, small, device):
                    training = len(few.inputs) / row["samples_per_second"]
                    validation = max(row["seconds"] - training, 0.0) * more
                    timings[family, size] = Pace(training / _timed(plan.card, len(few.inputs)), validation)
    finally:
        torch.set_num_threads(threads)
        if device == "cuda":
            torch.cuda.empty_cache()  # the trials need it
    return timings


def _product(each: Sequence[float], epochs: Sequence[float]) -> float:
    return math.fsum(one * count for one, count in zip(each, epochs, strict=True))


def _timed(card: Card, rows: int) -> int:
    """Rows that an epoch's time is for: of one graph all, however few are told, as it is gone through as a whole."""
    return card.sizes["train"] if card.task == "node_classification" else rows
