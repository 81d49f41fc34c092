"""A report's YAML → one page that stands alone, with its tables as CSV, its figures as SVG and its text beside it."""

from __future__ import annotations

import importlib.resources
import json
import math
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from orchestrator.errors import UserError
from orchestrator.report import contents, frames, head_start, markdown, svg
from orchestrator.report.contents import Contents
from orchestrator.report.pieces import Context, Figure, Section, Table, families_marked
from orchestrator.report.sections import BY_LOSS, SECTIONS
from orchestrator.report.theme import PALETTE, Dress

PAGE, MARKDOWN, MANIFEST, METRICS = "index.html", "report.md", "contents.json", "metrics.json"
LINK_TO_RUN = re.compile(r'<a [^>]*?href="#trial-([^"]*)"')


def build(spec_path: Path, runs: Path, out: Path | None = None, name: str = "") -> Path:
    """Write the report that `spec_path` (reports/<name>.yaml) asks for and return the path of its `index.html`.

    Sweeps are looked up in the folder `runs`. Files go to `out`, by default a folder named like the YAML beside it, and
    there to a folder `name` where that is one of several pages:
    index.html, report.md, metrics.json, contents.json (what there is, the same on every machine), tables/*.csv,
    figures/*.svg.

    Raises:
        UserError: a mistake in the YAML, a missing or incomparable sweep, a folder that cannot be written to.
    """
    asked = contents.load(spec_path, runs, SECTIONS, name)
    read = frames.read(asked.runs)
    context = Context(read, asked.options, Dress(read.families), _twin(asked, read))
    apart = () if read.losses_compare else BY_LOSS
    made = {
        name: _not_comparable(context, name) if name in apart else SECTIONS[name][1](context) for name in asked.sections
    }
    sections = {name: section for name, section in made.items() if section}
    files = {PAGE: page(asked, context, sections), METRICS: _json(_metrics(sections))}
    files[MARKDOWN] = markdown.page(asked, sections)
    for section in sections.values():
        for block in section.pieces:
            if isinstance(block, Table):
                files[f"tables/{block.name}.csv"] = block.frame.to_csv(index=False, lineterminator="\n")
            elif isinstance(block, Figure):
                panels = block.panels or [svg.of_words(block.lacking)]
                files[f"figures/{block.name}.svg"] = svg.for_file(panels, block.columns, block.alt)
    files[MANIFEST] = _json(manifest(asked, sections))
    folder = (out or spec_path.parent / spec_path.stem) / name
    _write(folder, files)
    return folder / PAGE


def _not_comparable(context: Context, name: str) -> Section:
    """In the place of a section of `BY_LOSS`."""
    said = Markup(
        "Not shown: each of {} has a loss of its own, and none can be held against another. A report on one of them "
        "alone has this section."
    ).format(families_marked(context, context.frames.families))
    return Section(f"{SECTIONS[name][0]}?", said)


def _twin(asked: Contents, read: frames.Frames) -> frames.Frames | None:
    """The same ladder without transfer, where the report names one."""
    if asked.without_transfer is None:
        return None
    twin = frames.read([asked.without_transfer])
    head_start.check(read, twin, asked.without_transfer)
    return twin


def page(asked: Contents, context: Context, sections: Mapping[str, Section]) -> str:
    """The whole page as HTML."""
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.BaseLoader(),
    )
    environment.globals |= {
        "is_figure": lambda block: isinstance(block, Figure),
        "drawn": _drawn,
        "is_group": lambda block: isinstance(block, tuple),
        "is_table": lambda block: isinstance(block, Table),
        "menu": lambda name: SECTIONS[name][0],
        "cells_of": _cells_of,
        "changes": _changes,
    }
    template = environment.from_string(_resource("page.html.jinja"))
    given = {
        "title": asked.title,
        "sections": sections,
        "style": Markup(_resource("page.css")),
        "palette": PALETTE.values(),
        "sweeps": [str(header["name"]) for header in context.frames.headers],
    }
    # Twice: which runs the page refers to is known only from the page. It is cheap, the figures are drawn already.
    plain = template.render(given, rows_of=lambda table: _rows(table, set()))
    referred = {unescape(found) for found in LINK_TO_RUN.findall(plain)}
    text = plain
    if any(isinstance(block, Table) and block.referred_only for one in sections.values() for block in one.pieces):
        text = template.render(given, rows_of=lambda table: _rows(table, referred))
    return _without_dead_links(text)


def manifest(asked: Contents, sections: Mapping[str, Section]) -> dict[str, Any]:
    """What the report consists of; the same for the same specification, whatever was measured."""
    listed = []
    for name, section in sections.items():
        tables = {block.name: _columns(block.frame) for block in section.pieces if isinstance(block, Table)}
        listed.append(
            {
                "section": name,
                "tables": tables,
                "figures": [block.name for block in section.pieces if isinstance(block, Figure)],
            }
        )
    return {"title": asked.title, "sweeps": [folder.name for folder in asked.runs], "sections": listed}


def _columns(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.columns]


def _metrics(sections: Mapping[str, Section]) -> dict[str, Any]:
    numbers = {name: value for section in sections.values() for name, value in section.numbers.items()}
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}


def _rows(table: Table, referred: set[str]) -> list[dict[str, Any]]:
    rows = table.frame if table.rows is None else table.rows
    if table.referred_only:
        rows = rows[rows[table.anchor].isin(referred)]
    records: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
    return records


def _cells_of(table: Table, row: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(column.kind, column.show(row)) for column in table.columns]


def _changes(table: Table, rows: list[dict[str, Any]], place: int) -> bool:
    return bool(table.group) and place > 0 and rows[place][table.group] != rows[place - 1][table.group]


def _drawn(panel: str) -> Markup:
    return Markup(svg.for_page(panel))


def _without_dead_links(text: str) -> str:
    """Links to rows that the page does not hold (a report without provenance) become plain text."""
    there = set(re.findall(r'<tr id="([^"]*)"', text))
    return re.sub(
        r'<a [^>]*?href="#(trial-[^"]*)"[^>]*>(.*?)</a>',
        lambda found: found[0] if found[1] in there else found[2],
        text,
        flags=re.S,
    )


def _resource(name: str) -> str:
    return (importlib.resources.files("orchestrator.report") / name).read_text(encoding="utf-8")


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def files_of(folder: Path) -> list[Path]:
    """What a build has left in this folder, as its `contents.json` says; nothing where there is none."""
    try:
        sections = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sections"]
        parts = [f"tables/{name}.csv" for section in sections for name in section["tables"]]
        parts += [f"figures/{name}.svg" for section in sections for name in section["figures"]]
    except (OSError, ValueError, KeyError, TypeError):  # a file of somebody else's
        return []
    return [path for part in (PAGE, MARKDOWN, MANIFEST, METRICS, *parts) if (path := folder / part).is_file()]


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files, the page last; remove what an earlier build left that this one does not make."""
    try:
        for old in files_of(folder):
            if old.relative_to(folder).as_posix() not in files:
                old.unlink()
        for name in sorted(files, key=lambda name: name == PAGE):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror}); give a folder of yours") from None
