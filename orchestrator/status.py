"""How a sweep stands, read from its journal by anyone, while it runs or after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from orchestrator import budget, history, journal, records
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.spec import NO_LIMIT, Sweep


def status(run_dir: Path) -> dict[str, Any]:
    """Counts, cells and state of a run, from its journal, while it runs or after."""
    driver = journal.driver(run_dir)  # asked first: what it wrote before it left is then read below
    told = history.of(run_dir)
    if not told.plan:
        raise UserError(f"{run_dir}: the sweep there has only just begun; ask again in a second")
    counts = told.counts()
    state = told.closed or ("running" if driver else "interrupted")
    if state != "running":
        counts["running"] = 0
    return {
        "sweep": told.plan.get("name", run_dir.name),
        "id": told.plan.get("id"),
        "state": state,
        "driver": driver,
        "metric": told.metric,
        "direction": told.direction,
        "planned": _planned_trials(told),
        "trials": counts,
        "reports": told.reports,
        "seconds": told.spent.seconds,
        "budget": budget.limits(told),
        "spent": budget.spent(told, time.time() if state == "running" else told.last_event),
        "spent_by_status": budget.spent_by_status(told),
        "exhausted": told.exhausted,
        "extensions": told.extensions,
        "cells": history.cell_rows(told),
        "failures": [
            {
                "trial": name,
                "status": trial.status,
                "cause": trial.cause,
                "reason": trial.reason,
                "ended": trial.ended,
            }
            for name, trial in told.trials.items()
            if trial.status in (records.DIVERGED, records.FAILED)
        ],
    }


def _planned_trials(told: History) -> int | None:
    """None where the budget decides."""
    spec = told.plan["spec"]
    if spec["trials"] >= NO_LIMIT:
        return None
    cells, sweep = told.cells.values(), Sweep.model_validate(spec)
    return sum(sweep.trials_of(cell, cells) + sweep.finalists_of(cell) for cell in cells)
