"""What a section is made of: an answer in words, figures, tables. Values here are already text or SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from markupsafe import Markup

from orchestrator.report import wording
from orchestrator.report.contents import Options
from orchestrator.report.frames import Frames
from orchestrator.report.theme import Dress

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """Panels that flow beside each other on a wide page and under each other on a phone; one SVG file `name`.svg.

    `alt` says in words what the figure shows. A `wide` figure keeps its width and is scrolled sideways on a phone.
    Without panels, `lacking` says why there is nothing to draw. What is not `shown` is kept as a file, which is there
    for every run of a sweep.
    """

    name: str
    alt: str
    caption: Markup
    panels: Sequence[str] = ()
    columns: int = 3
    wide: bool = False
    lacking: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Column:
    """A column on the page: `show` turns a row into text or Markup; `words` may take several lines."""

    title: str
    show: Callable[[Row], Any]
    numeric: bool = False
    words: bool = False

    @property
    def kind(self) -> str:
        """Its class in the page's style; "" for what stands in one line, at the left."""
        return "number" if self.numeric else "words" if self.words else ""


@dataclass(frozen=True)
class Table:
    """`frame` is the CSV file `name`.csv; `columns` and `rows` (default: all of `frame`) are what the page shows.

    `anchor` names the column whose values become the rows' addresses. With `referred_only`, the page lists only those
    rows that something on the page refers to. `group` names a column whose changes open a new block of rows.
    `tall`: it scrolls within a limited height; `folded`: it is opened by a click. What has no rows, or is not `shown`,
    is kept as a file alone.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    columns: Sequence[Column] = ()
    rows: pd.DataFrame | None = None
    anchor: str = ""
    referred_only: bool = False
    group: str = ""
    tall: bool = False
    folded: bool = False
    shown: bool = True


Block = Figure | Table | Markup


@dataclass(frozen=True)
class Section:
    """`numbers` go into metrics.json under flat names. A tuple of blocks stands side by side, the first at the left.

    Where the answer says all there is, `answered`, the blocks are kept as files, which are the same for every run of a
    sweep, and not shown.
    """

    question: str
    answer: Markup
    blocks: Sequence[Block | tuple[Block, ...]] = ()
    numbers: Mapping[str, float | int | None] = field(default_factory=dict)
    answered: bool = False

    @property
    def pieces(self) -> list[Block]:
        """The blocks one after the other."""
        return [piece for block in self.blocks for piece in (block if isinstance(block, tuple) else (block,))]


@dataclass(frozen=True)
class Context:
    """What every section reads. `without_transfer`: another search of the same ladder, where the report names one."""

    frames: Frames
    options: Options
    dress: Dress
    without_transfer: Frames | None = None


def trial_link(trial: str, text: str = "") -> Markup:
    return Markup('<a class="run" href="#trial-{}">{}</a>').format(trial, text or trial)


def trial_links(trials: Sequence[str], texts: Sequence[str] = ()) -> Markup:
    """Links, one space apart; by default each shows only what follows its cell's name, such as f001."""
    shown = texts or [trial.rsplit("-", 1)[-1] for trial in trials]
    return Markup(" ").join(trial_link(trial, text) for trial, text in zip(trials, shown, strict=True))


def family_mark(context: Context, family: str, text: str = "") -> Markup:
    """The family's name, or what is of it, with its colour."""
    return Markup('<span class="family" style="--hue:var(--{})">{}</span>').format(
        context.dress.variable(family), text or family
    )


def families_marked(context: Context, families: Sequence[str], last: str = "and") -> Markup:
    return Markup(wording.listing([str(family_mark(context, family)) for family in families], last))


def configuration(config: Mapping[str, Any]) -> Markup:
    """Hyperparameters and their values, in small print; those that a trial lacks are left out."""
    said = ", ".join(f"{key} {wording.setting(value)}" for key, value in config.items() if not wording.missing(value))
    return Markup('<span class="config">{}</span>').format(said or wording.NOTHING)


def paragraph(text: str, *parts: Any, **named: Any) -> Markup:
    """`<p>` with parts escaped unless they are Markup."""
    return Markup("<p>") + Markup(text).format(*parts, **named) + Markup("</p>")


def definitions(pairs: Sequence[tuple[str, Any]]) -> Markup:
    """A list of facts: name, value."""
    rows = Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(name, value) for name, value in pairs)
    return Markup('<dl class="facts">') + rows + Markup("</dl>")
