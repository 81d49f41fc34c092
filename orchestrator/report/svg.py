"""Matplotlib figures as lean SVG: for the page with CSS variables as colours, for a file with plain ones."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.figure import Figure

from orchestrator.report.theme import PALETTE

SANS = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
GAP = 24
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def text_of(figure: Figure, notes: Mapping[str, str] | None = None) -> str:
    """The figure as one `<svg>` element. `notes` gives a link's tooltip by its address."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style[^>]*>.*?</style>", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*</defs>", "", text)
    text = re.sub(r'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>', _opening, text, count=1)
    # Matplotlib numbers its groups anew in each figure; several figures share one page.
    text = re.sub(r' id="(?:[a-zA-Z]+_)*(?:[A-Za-z0-9.]+)_\d{1,4}"', "", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    # Inside tags only: a hundredth of a pixel is enough for a path, but not for a number that is read.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{3,}", _hundredths, tag[0]), text)
    text = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'<a href="([^"]*)"[^>]*>', lambda found: _link(found[1], notes or {}), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    return re.sub(r"> <", "><", text).strip()


def _opening(found: re.Match[str]) -> str:
    width, height = (round(float(side)) for side in found.groups())
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'


def _hundredths(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _link(address: str, notes: Mapping[str, str]) -> str:
    title = f"<title>{escape(notes[address])}</title>" if address in notes else ""
    # Each linked number also stands in a table; a hundred points need not be a hundred stops of the Tab key.
    return f'<a href="{escape(address)}" tabindex="-1">{title}'


def for_page(text: str) -> str:
    """Colours as CSS variables of the page; hidden from screen readers, whose text is the figure's alt text."""
    for colour in PALETTE.values():
        text = text.replace(colour.drawn, f"var(--{colour.name})")
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1)


def for_file(panels: Sequence[str], columns: int, title: str) -> str:
    """All panels of a figure in one standing-alone SVG: plain colours on white, no links."""
    sizes = [tuple(int(side) for side in re.findall(r'(?:width|height)="(\d+)"', panel)[:2]) for panel in panels]
    placed, y, widest = [], GAP, 0
    for start in range(0, len(panels), columns):
        x = GAP
        for panel, (width, _) in zip(panels[start : start + columns], sizes[start : start + columns], strict=True):
            placed.append(panel.replace("<svg ", f'<svg x="{x}" y="{y}" ', 1))
            x += width + GAP
        widest = max(widest, x)
        y += max(height for _, height in sizes[start : start + columns]) + GAP
    inside = re.sub(r"<a [^>]*>(<title>.*?</title>)?|</a>", "", "\n".join(placed))
    for colour in PALETTE.values():
        inside = inside.replace(colour.drawn, colour.light)
    halo = f"paint-order: stroke; stroke: {PALETTE['paper'].light}; stroke-width: 3px"
    style = f"svg {{ font-family: {SANS}; stroke-linejoin: round }} text {{ {halo} }}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest}" height="{y}" viewBox="0 0 {widest} {y}" '
        f'role="img">\n<title>{escape(title)}</title>\n<style>{style}</style>\n'
        f'<rect width="100%" height="100%" fill="{PALETTE["paper"].light}"/>\n{inside}\n</svg>\n'
    )


def of_words(words: str, width: int = 560) -> str:
    """A panel that says in words why there is nothing to draw."""
    lines, line = [], ""
    for word in words.split():
        if len(line) + len(word) > width // 7:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    lines.append(line)
    spans = "".join(f'<tspan x="0" dy="18">{escape(line)}</tspan>' for line in lines)
    height = 18 * len(lines) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><text style="font-size: 13px; fill: {PALETTE["muted"].drawn}">'
        f"{spans}</text></svg>"
    )
