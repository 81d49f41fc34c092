"""What a report shows: `reports/<name>.yaml`, strictly checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from orchestrator import documents
from orchestrator.errors import UserError
from orchestrator.journal import FILE


@dataclass(frozen=True)
class Options:
    """Dials of a page. Each is a key under `options:`.

    `confidence`: of every interval between two families. `delta`: a difference between families that does not matter,
    in the unit of the metric; 0: half of the standard deviation that seeds make. `curves`: faint learning curves drawn
    per family at most. `rows`: trials listed on the page at most; above, only those that the page refers to (the CSV
    holds all). `without_transfer`: a finished sweep of the same ladder without transfer, named as under `sweeps`.
    """

    confidence: float = 0.95
    delta: float = 0.0
    curves: int = 60
    rows: int = 500
    without_transfer: str = ""


RANGES: Mapping[str, tuple[float, float]] = {
    "confidence": (0.5, 0.999),
    "delta": (0, 1e9),
    "curves": (0, 500),
    "rows": (0, 5000),
}
KEYS = ("title", "sweeps", "sections", "options")
# The key under which a file holds several pages, by name.
SEVERAL = "pages"
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Contents:
    """One report: its title, the folders of the runs it reads, its sections in order, its options.

    `without_transfer` is the folder of the sweep that the option of this name names.
    """

    title: str
    runs: tuple[Path, ...]
    sections: tuple[str, ...]
    options: Options
    without_transfer: Path | None = None


def pages(path: Path) -> dict[str, documents.Document]:
    """What a report's YAML says of each page, by name: "" where the file is one page.

    What stands beside `pages` holds for each of them that doesn't say otherwise.

    Raises:
        UserError: the file can't be read, or `pages` is no mapping of names that folders can have.
    """
    document = documents.load(path)
    if SEVERAL not in document.content:
        return {"": document}
    found = documents.parts(document, SEVERAL)
    for name, part in found.items():
        if not FOLDER.fullmatch(name):
            raise UserError(f"{part.where()}: {name!r} is a folder's name too; use letters, digits, '_', '-' and '.'")
    return found


def load(path: Path, runs: Path, known_sections: Iterable[str], page: str = "") -> Contents:
    """Read a page of a report's YAML. A sweep is the name of a folder under `runs`, or a path (from where the command
    runs).

    Raises:
        UserError: naming the key, its line, and what is valid.
    """
    document = pages(path)[page]
    content, known = document.content, tuple(known_sections)
    for key in content:
        if key not in KEYS:
            raise UserError(f"{document.where(key)}: unknown key {key!r}; {documents.nearest(key, [*KEYS, SEVERAL])}")
    title = content.get("title", page or path.stem)
    if not isinstance(title, str) or not title.strip():
        raise UserError(f"{document.where('title')}: title: expected a line of text, found {title!r}")
    names = _words(document, "sweeps", None)
    sections = _words(document, "sections", known)
    for index, name in enumerate(sections):
        if name not in known:
            where = document.where("sections", index)
            raise UserError(f"{where}: unknown section {name!r}; {documents.nearest(name, known)}")
    folders = tuple(_folder(document, ("sweeps", index), name, runs) for index, name in enumerate(names))
    options, twin = _options(document), None
    if options.without_transfer:
        twin = _folder(document, ("options", "without_transfer"), options.without_transfer, runs)
    return Contents(title.strip(), folders, sections, options, twin)


def _words(document: documents.Document, key: str, default: tuple[str, ...] | None) -> tuple[str, ...]:
    words = document.content.get(key, default)
    if words is None:
        raise UserError(f"{document.where(key)}: {key!r} is missing; give a list of names")
    if not isinstance(words, list | tuple) or not words or not all(isinstance(word, str) for word in words):
        raise UserError(f"{document.where(key)}: {key}: expected a list of names, found {words!r}")
    for index, word in enumerate(words):
        if word in words[:index]:
            raise UserError(f"{document.where(key, index)}: {key}: {word!r} is given twice")
    return tuple(words)


def _folder(document: documents.Document, key: documents.KeyPath, name: str, runs: Path) -> Path:
    is_path = "/" in name or "\\" in name
    folder = Path(name).expanduser() if is_path else runs / name
    if (folder / FILE).is_file():
        return folder
    beside = folder.parent
    there = sorted(found.parent.name for found in beside.glob(f"*/{FILE}")) if beside.is_dir() else []
    where = document.where(*key)
    if not there:
        raise UserError(f"{where}: no sweep {name!r}: {beside} holds none; run `orchestrate sweep` first")
    raise UserError(f"{where}: no sweep {name!r} in {beside}; {documents.nearest(folder.name, there)}")


def _options(document: documents.Document) -> Options:
    given: Any = document.content.get("options", {})
    if not isinstance(given, dict):
        raise UserError(f"{document.where('options')}: options: expected a mapping, found {given!r}")
    types = {field.name: type(field.default) for field in fields(Options)}
    for key, value in given.items():
        where = document.where("options", key)
        if key not in types:
            raise UserError(f"{where}: unknown key 'options.{key}'; {documents.nearest(key, types)}")
        if types[key] is str:
            if not isinstance(value, str) or not value:
                raise UserError(f"{where}: options.{key}: expected the name of a sweep, found {value!r}")
            continue
        low, high = RANGES[key]
        whole = types[key] is int
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise UserError(f"{where}: options.{key}: expected {kind} from {low:g} to {high:g}, found {value!r}")
    return Options(**given)
