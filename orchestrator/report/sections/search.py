"""What did the search try, and what mattered? Importance, slices, parallel coordinates."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.report import influence
from orchestrator.report.pieces import Context, Section
from orchestrator.report.sections import coordinates, importance, slices


def section(context: Context) -> Section:
    found = influence.influences(context.frames)
    trials = influence.ranked(context.frames)
    judged = any(one.share is not None for one in found)
    return Section(
        question="What did the search try, and what mattered?",
        answer=importance.answer(context, found),
        blocks=[
            replace(importance.figure(context, found), shown=judged),
            replace(importance.table(context, found), shown=judged),
            *([importance.method()] if judged else []),
            slices.figure(context, trials, found),
            coordinates.figure(context, trials, found),
        ],
    )
