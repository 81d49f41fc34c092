"""The report as Markdown, for a pull request: answers and short tables, figures as links to the SVG files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser

from markupsafe import Markup

from orchestrator.report.contents import Contents
from orchestrator.report.pieces import Figure, Section, Table
from orchestrator.report.wording import plural

# A comment holds 65,536 characters: of a long table the first rows, of a long description its beginning.
MOST_ROWS, MOST_LETTERS = 12, 240


def page(asked: Contents, sections: Mapping[str, Section]) -> str:
    """The whole report; links lead to files beside it."""
    parts = [f"# {_escaped(asked.title)}", "The same with all figures in place: [index.html](index.html)."]
    for section in sections.values():
        parts += [f"## {_escaped(section.question)}", f"> {_text(section.answer)}"]
        for block in () if section.answered else section.pieces:
            if isinstance(block, Figure):
                parts += _figure(block) if block.shown else []
            elif isinstance(block, Table):
                parts += _table(block) if block.shown else []
            else:
                parts += _words(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(figure: Figure) -> list[str]:
    if not figure.panels:
        return [f"*{_escaped(figure.lacking)}*"]
    alt = " ".join(figure.alt.split())
    alt = alt if len(alt) <= MOST_LETTERS else alt[:MOST_LETTERS].rsplit(" ", 1)[0] + " …"
    return [f"![{_escaped(alt)}](figures/{figure.name}.svg)", _text(figure.caption)]


def _table(table: Table) -> list[str]:
    link = f"[CSV](tables/{table.name}.csv)"
    rows = table.frame if table.rows is None else table.rows
    if rows.empty:
        return []
    caption = f"{_escaped(table.caption)} ({link})"
    # What is folded on the page, or only there to be referred to, would be most of the text.
    if table.folded or table.referred_only or table.anchor:
        return [f"{caption}: {plural(len(rows), 'row')}."]
    records = [{str(key): value for key, value in row.items()} for row in rows.head(MOST_ROWS).to_dict("records")]
    lines = [
        _row([_escaped(column.title) for column in table.columns]),
        _row(["---:" if column.numeric else "---" for column in table.columns]),
        *(_row([_text(Markup.escape(column.show(row))) for column in table.columns]) for row in records),
    ]
    more = [f"The first {MOST_ROWS} of {len(rows):,} rows; {link} holds all."] if len(rows) > MOST_ROWS else []
    return [f"{caption}:", "\n".join(lines), *more]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _words(block: Markup) -> list[str]:
    """Paragraphs and lists of facts; a record of the specification stays on the page."""
    if block.startswith('<details class="record"'):
        return ["The specification, search spaces and versions are in [index.html](index.html#provenance)."]
    return _Blocks.of(block)


def _text(markup: Markup) -> str:
    """One line."""
    return " ".join(" ".join(_Blocks.of(markup)).split())


class _Blocks(HTMLParser):
    """Few tags of the page's own: what is not known here is plain text."""

    MARKS: Mapping[str, tuple[str, str]] = {
        "strong": ("**", "**"),
        "code": ("`", "`"),
        "sup": ("<sup>", "</sup>"),
        "dt": ("- ", ": "),
        "dd": ("", "\n"),
        "h3": ("\n\n**", "**\n\n"),
        "p": ("\n\n", "\n\n"),
        "dl": ("\n\n", "\n\n"),
    }

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.within: list[str] = []

    @classmethod
    def of(cls, markup: Markup) -> list[str]:
        """The blocks of text that some HTML holds."""
        reader = cls()
        reader.feed(str(markup))
        reader.close()
        blocks = (block.strip() for block in re.split(r"\n{2,}", "".join(reader.written)))
        return [block for block in blocks if block]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within.append(tag)
        self.written.append(self.MARKS.get(tag, ("", ""))[0])

    def handle_endtag(self, tag: str) -> None:
        self.within.pop()
        self.written.append(self.MARKS.get(tag, ("", ""))[1])

    def handle_data(self, data: str) -> None:
        self.written.append(data if "code" in self.within else _escaped(data))


def _escaped(text: str) -> str:
    """Text that Markdown takes for nothing but text; an underscore within a word is left as it is."""
    text = re.sub(r"([\\`*\[\]|~])", r"\\\1", re.sub(r"\s*\n\s*", " ", text)).replace("&", "&amp;")
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
