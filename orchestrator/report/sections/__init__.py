"""The sections that a report's YAML may name: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.report.pieces import Context, Section
from orchestrator.report.sections import (
    budget,
    catch_up,
    cells,
    curves,
    divergence,
    failures,
    frontier,
    hyperparameters,
    provenance,
    run,
    samples,
    scaling,
    search,
    signs,
    summary,
    transfer,
)

# Sections that hold the losses of families against each other: out of place where each has a loss of its own.
BY_LOSS = frozenset({"scaling", "frontier", "catch_up"})

# name → (what the page's navigation says, the function; None: it has no place in this report)
SECTIONS: Mapping[str, tuple[str, Callable[[Context], Section | None]]] = {
    "summary": ("Best family", summary.section),
    "samples": ("Samples", samples.section),
    "run": ("What was run", run.section),
    "scaling": ("Scaling", scaling.section),
    "frontier": ("Compute-optimal size", frontier.section),
    "catch_up": ("Compute to catch up", catch_up.section),
    "hyperparameters": ("Hyperparameters and scale", hyperparameters.section),
    "transfer": ("Transfer", transfer.section),
    "curves": ("Learning curves", curves.section),
    "search": ("What mattered", search.section),
    "signs": ("Signs of trouble", signs.section),
    "divergence": ("Divergence", divergence.section),
    "budget": ("Budget and waste", budget.section),
    "cells": ("Cells", cells.section),
    "failures": ("Failures", failures.section),
    "provenance": ("Provenance", provenance.section),
}
