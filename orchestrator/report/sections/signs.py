"""Does a network suffer from what its kind is known to suffer from? By what finalists noted of themselves.

At the epoch that was best by validation, the mean over a cell's finalists. Nothing is chosen by these: of a sweep that
is judged by one, it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from orchestrator.report import wording
from orchestrator.report.pieces import Column, Context, Section, Table, family_mark, paragraph


@dataclass(frozen=True)
class Sign:
    """A column of the reports, and what is wrong beyond a bound. The bounds are where to look closer, not limits that
    theory knows; `models/diagnostics.py` and `tasks/judged.py` say what is measured."""

    column: str
    title: str
    meaning: str
    bound: float
    below: bool
    trouble: str

    def shows(self, value: float) -> bool:
        return value < self.bound if self.below else value > self.bound

    @property
    def limit(self) -> str:
        return f"{'below' if self.below else 'above'} {wording.setting(self.bound)}"


SIGNS = (
    Sign(
        "validation_attention_entropy",
        "Attention entropy",
        meaning="1 where attention looks everywhere alike, 0 where it looks at one place",
        bound=0.1,
        below=True,
        trouble="attention has collapsed to single places",
    ),
    Sign(
        "validation_smoothness",
        "Smoothness",
        meaning="mean likeness (cosine) of two nodes of a graph after the last hop",
        bound=0.95,
        below=False,
        trouble="the nodes of a graph can hardly be told apart",
    ),
    Sign(
        "validation_active_units",
        "Active units",
        meaning="share of the latents that the data move",
        bound=0.5,
        below=True,
        trouble="most latents are unused: the posterior has collapsed to the prior",
    ),
    Sign(
        "validation_coverage",
        "Coverage",
        meaning="share of real images that have a generated one near by",
        bound=0.5,
        below=True,
        trouble="what is generated leaves out most kinds of images",
    ),
)
GRADIENT = "gradient_norm"


def section(context: Context) -> Section | None:
    """None where no network has a sign of its own, or no finalist has reported yet."""
    if context.frames.finals.empty:
        return None
    frame = of_cells(context)
    signs = [sign for sign in SIGNS if sign.column in frame and sign.column != f"validation_{context.frames.metric}"]
    if not signs or frame.empty:
        return None
    return Section(
        question="Do the networks suffer from what their kind is known for?",
        answer=_answer(context, frame, signs),
        blocks=[_legend(signs), _table(context, frame, signs)],
        numbers={"signs_of_trouble": len(_troubles(frame, signs))},
    )


def of_cells(context: Context) -> pd.DataFrame:
    """A row for each cell with finalists: cell, family, finalists, and the mean of each sign that is known."""
    reports = context.frames.reports
    best = context.frames.finals[["trial", "cell", "family", "best_epoch"]]
    at_best = best.merge(reports, left_on=["trial", "best_epoch"], right_on=["trial", "epoch"])
    columns = [sign.column for sign in SIGNS if sign.column in at_best and at_best[sign.column].notna().any()]
    means = at_best.groupby(["cell", "family"], sort=False)[[*columns, GRADIENT]].mean()
    means.insert(0, "finalists", at_best.groupby(["cell", "family"], sort=False).size())
    shown = means.dropna(subset=columns, how="all").reset_index()
    order = list(context.frames.cells["cell"])
    return shown.sort_values("cell", key=lambda cells: cells.map(order.index), ignore_index=True)


def _troubles(frame: pd.DataFrame, signs: Sequence[Sign]) -> list[tuple[Sign, pd.DataFrame]]:
    found = [(sign, frame[frame[sign.column].map(sign.shows)]) for sign in signs]
    return [(sign, cells) for sign, cells in found if len(cells)]


def _answer(context: Context, frame: pd.DataFrame, signs: Sequence[Sign]) -> Markup:
    troubles = _troubles(frame, signs)
    if not troubles:
        looked = wording.listing([sign.title.lower() for sign in signs])
        return Markup("No sign of it in {} ({}).").format(looked, wording.plural(len(frame), "cell"))
    said = [
        Markup("{}: {} ({})").format(
            Markup(wording.listing([str(family_mark(context, row.family, row.cell)) for row in cells.itertuples()])),
            sign.trouble,
            Markup("{} {}").format(sign.title.lower(), sign.limit),
        )
        for sign, cells in troubles
    ]
    return Markup("; ").join(said) + "."


def _legend(signs: Sequence[Sign]) -> Markup:
    parts = [f"{sign.title}: {sign.meaning}; in bold {sign.limit}" for sign in signs]
    return paragraph("{}. Bold is where to look closer; no network was chosen by these.", ". ".join(parts))


def _table(context: Context, frame: pd.DataFrame, signs: Sequence[Sign]) -> Table:
    def column(sign: Sign) -> Column:
        return Column(sign.title, lambda row: _value(sign, row[sign.column]), True)

    return Table(
        "signs",
        "What the finalists showed in validation at their best epoch, mean over seeds",
        frame,
        [
            Column("Cell", lambda row: family_mark(context, row["family"], row["cell"])),
            Column("Finalists", lambda row: wording.count(row["finalists"]), True),
            *(column(sign) for sign in signs),
            Column("Gradient norm", lambda row: wording.number(row[GRADIENT], 3), True),
        ],
        group="family",
        tall=True,
    )


def _value(sign: Sign, value: float) -> Markup | str:
    text = wording.number(value, 3)
    return Markup("<strong>{}</strong>").format(text) if sign.shows(value) else text
