"""How long a sweep will go on, from what its own epochs have taken so far."""

from __future__ import annotations

from collections import defaultdict

from orchestrator import budget, records
from orchestrator.history import History, TrialHistory, best_of_search, is_former
from orchestrator.search import stopping
from orchestrator.spec import Sweep


def seconds_left(history: History) -> float | None:
    """Seconds until the last finalist, should no budget end the sweep before; None before the first epoch.

    A trial to come is taken to have as many epochs as those of its cell that have ended, or where none has, as the
    stopping rule lets through; under a rule that pauses, where bad trials end last, always the latter, and what is
    paused is taken to be over. A finalist has all epochs, each as long as those of the cell's best trial. Workers share
    the work, but for what must follow one another: a cell's longest trial, then a finalist.
    """
    if not history.spent.seconds:
        return None
    sweep, cells = Sweep.model_validate(history.plan["spec"]), history.cells.values()
    trials: dict[tuple[str, str], list[TrialHistory]] = defaultdict(list)
    for told in history.trials.values():
        trials[told.trial.cell, told.trial.kind].append(told)
    total = alone = 0.0
    for cell in cells:
        rule = stopping.make(**sweep.stopping_of(cell, cells).model_dump())
        searched = trials[cell.id, records.SEARCH]
        best = best_of_search(searched, history.direction)
        finals = [one for one in trials[cell.id, records.FINAL] if not is_former(one, best, sweep.max_epochs)]
        ended = [len(told.reports) for told in searched if told.status in records.ENDED]
        expected = stopping.expected_epochs(rule, sweep.max_epochs)
        epochs = sum(ended) / len(ended) if ended and not rule.pauses else expected
        an_epoch = _epoch_seconds(history, cell.id)
        of_search, longest = _epochs_left(searched, sweep.trials_of(cell, cells), epochs)
        of_best = sum(row["seconds"] for row in best.reports) / len(best.reports) if best else an_epoch
        of_finals, longest_final = _epochs_left(finals, sweep.finalists_of(cell), sweep.max_epochs)
        total += an_epoch * of_search + of_best * of_finals
        alone = max(alone, an_epoch * longest + of_best * longest_final)
    workers = history.sessions[-1].get("workers", 1) if history.sessions else 1
    return budget.beside(history) * max(total / int(workers), alone)


def _epochs_left(trials: list[TrialHistory], planned: int, epochs: float) -> tuple[float, float]:
    """Of all trials, those to come included, and the most of one of them."""
    going_on = [told for told in trials if told.status not in records.ENDED and told.paused_at is None]
    left, to_come = [max(epochs - len(told.reports), 0) for told in going_on], max(planned - len(trials), 0)
    return to_come * epochs + sum(left), max([*left, epochs if to_come else 0])


def _epoch_seconds(history: History, cell_id: str) -> float:
    """The mean of the cell's epochs; where none has run, of as many FLOPs in other cells, of its family if possible."""
    spent, cell = history.spent, history.cells[cell_id]
    if spent.epochs_by_cell[cell_id]:
        return spent.seconds_by_cell[cell_id] / spent.epochs_by_cell[cell_id]
    run = [other for other in history.cells.values() if spent.epochs_by_cell[other.id]]
    run = [other for other in run if other.family == cell.family] or run
    flops = sum(spent.epochs_by_cell[other.id] * other.flops * other.train_samples for other in run)
    return sum(spent.seconds_by_cell[other.id] for other in run) / flops * cell.flops * cell.train_samples
