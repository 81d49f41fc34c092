"""What a sweep has spent, and whether its budget allows what is still to come.

Work to come is reckoned as if it ran to its end: FLOPs are those of the size's defaults, time is what the cell's epochs
took so far. So the search passes no limit, and may leave a little of it; but for the first trials of a cell, whose time
nobody knows, and for choices that make a network dearer than its size's defaults, such as reading in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.history import History

# A kind of cost in a specification → its unit.
UNITS: Mapping[str, str] = {"trials": "trials", "hours": "hours", "worker_hours": "worker-hours", "flops": "FLOPs"}

# How many times its training a trial may keep a worker busy, for all that is expected.
MOST_BESIDE = 1.5


def limits(history: History) -> dict[str, float]:
    """What the specification allows, of the kinds of cost that it limits."""
    planned = history.plan["spec"].get("budget") or {}
    return {kind: float(limit) for kind, limit in planned.items() if limit is not None}


def spent(history: History, now: float) -> dict[str, float]:
    """Each kind of cost so far; `now` in seconds since 1970."""
    return {
        "trials": len(history.trials),
        "hours": history.spent.hours(now),
        "worker_hours": history.spent.worker_hours(now),
        "flops": history.spent.flops,
    }


def spent_by_status(history: History) -> dict[str, dict[str, float]]:
    """Trials, worker-hours and FLOPs by what became of the trials."""
    costs: dict[str, dict[str, float]] = {}
    for told in history.trials.values():
        cost = costs.setdefault(told.status, {"trials": 0, "worker_hours": 0.0, "flops": 0})
        cost["trials"] += 1
        cost["worker_hours"] += told.worker_seconds / 3600
        cost["flops"] += told.flops
    return costs


def exceeded(
    limits: Mapping[str, float],
    history: History,
    now: float,
    trials: int,
    epochs: Mapping[str, float],
    longest: Mapping[str, float],
) -> str | None:
    """The first limit that what was spent, and as many `trials` and `epochs` (by cell) to come, would pass; or None.

    longest: of these, those of a cell that no number of workers can share: of one trial, then of one finalist. Whatever
    the workers take up first, they need no more than an even share of all the rest, and that (Graham 1969, "Bounds on
    Multiprocessing Timing Anomalies").
    """
    seconds = {cell: _epoch_seconds(history, cell) for cell in epochs}
    worker_hours = sum(seconds[cell] * count for cell, count in epochs.items()) / 3600
    alone = max((seconds[cell] * count for cell, count in longest.items()), default=0.0) / 3600
    workers = int(history.sessions[-1].get("workers", 1)) if history.sessions else 1
    to_come = {
        "trials": trials,
        "hours": (worker_hours - alone) / workers + alone,
        "worker_hours": worker_hours,
        "flops": sum(_epoch_flops(history, cell) * count for cell, count in epochs.items()),
    }
    so_far = spent(history, now)
    return next((name for name, limit in limits.items() if so_far[name] + to_come[name] > limit), None)


def _epoch_flops(history: History, cell: str) -> int:
    one = history.cells[cell]
    return one.flops * one.train_samples


def _epoch_seconds(history: History, cell: str) -> float:
    """Of a busy worker: training, and in proportion what comes with it."""
    count = history.spent.epochs_by_cell[cell]
    return beside(history) * history.spent.seconds_by_cell[cell] / count if count else 0.0


def beside(history: History) -> float:
    """How many times its training a trial keeps a worker busy: loading, checkpoints, waiting.

    A worker's start is not paid for again by each trial: early on it would be most of the time.
    """
    spent = history.spent
    return min(max(1.0, spent.worker_seconds / spent.seconds), MOST_BESIDE) if spent.seconds else 1.0
