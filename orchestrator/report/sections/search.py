"""What did the search try, and what mattered? Importance, slices, parallel coordinates."""

from __future__ import annotations

from orchestrator.report import influence
from orchestrator.report.pieces import Context, Section
from orchestrator.report.sections import coordinates, importance, slices


def section(context: Context) -> Section:
    found = influence.influences(context.frames)
    trials = influence.ranked(context.frames)
    return Section(
        question="What did the search try, and what mattered?",
        answer=importance.answer(context, found),
        blocks=[
            importance.figure(context, found),
            importance.table(context, found),
            importance.method(),
            slices.figure(context, trials, found),
            coordinates.figure(context, trials, found),
        ],
    )
