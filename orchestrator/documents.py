"""YAML files that remember where each key stood, so that an error can name the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A YAML mapping, and the line on which each key path begins (counted from 1).

    `overridden` holds the key paths whose values came from the command line and not from the file.
    """

    path: Path
    content: dict[str, Any]
    lines: dict[KeyPath, int]
    overridden: frozenset[KeyPath] = frozenset()

    def where(self, *key_path: str | int) -> str:
        """Where `key_path` was given: `file:line` of its innermost part that the file holds, or `--set key`."""
        parts = [key_path[:end] for end in range(len(key_path), -1, -1)]
        for part in parts:
            if part in self.overridden:
                return f"--set {_dotted(part)}"
        for part in parts:
            if part in self.lines:
                return f"{self.path}:{self.lines[part]}"
        return str(self.path)

    def place(self, *key_path: str | int) -> str:
        """`where`, and the key itself: the beginning of a message about its value."""
        where, name = self.where(*key_path), _dotted(key_path)
        return where if where == f"--set {name}" else f"{where}: {name}"


def load(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        UserError: missing or unreadable file, a YAML error, a key given twice, anything but a mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read ({reason}); give the path of a YAML file") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
        lines: dict[KeyPath, int] = {}
        _note_lines(node, (), lines, Path(path))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # such as a date of month 13
        raise UserError(f"{path}: holds a value that is not possible: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: refers to itself (an alias within its own anchor), or is nested too deep") from None
    if content is None:
        raise UserError(f"{path}: the file is empty; expected a mapping of keys to values")
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping of keys to values, found {describe(content)}")
    return Document(Path(path), content, lines)


def parts(document: Document, key: str) -> dict[str, Document]:
    """What one file holds several of, by name: a mapping under `key`, each entry laid over the rest of the file.

    A key that an entry has replaces the whole of that key beside `key`, so that nothing is mixed from two places. What
    an entry lacks is placed at the entry's own line.

    Raises:
        UserError: no names, or something else than a mapping of keys under one.
    """
    named, where = document.content[key], document.place(key)
    if not isinstance(named, dict) or not named:
        raise UserError(f"{where}: expected a mapping of names, each with keys of its own, found {describe(named)}")
    rest = {other: value for other, value in document.content.items() if other != key}
    found = {}
    for name, own in named.items():
        if not isinstance(name, str) or not isinstance(own, dict):
            raise UserError(f"{document.place(key, str(name))}: expected a name and its keys, found {describe(own)}")
        lines = {path: line for path, line in document.lines.items() if path[0] not in (key, *own)}
        lines |= {path[2:]: line for path, line in document.lines.items() if path[:2] == (key, name)}
        found[name] = Document(document.path, {**rest, **own}, lines)
    return found


def _note_lines(node: yaml.Node | None, key_path: KeyPath, lines: dict[KeyPath, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            child = (*key_path, key.value)
            if child in lines:
                raise UserError(f"{path}:{key.start_mark.line + 1}: {key.value!r} is given twice")
            lines[child] = key.start_mark.line + 1
            _note_lines(value, child, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key_path, index)] = value.start_mark.line + 1
            _note_lines(value, (*key_path, index), lines, path)


def _dotted(key_path: KeyPath) -> str:
    return ".".join(map(str, key_path))


def describe(value: object) -> str:
    """A value as a message shows it: one line, and not the whole of something long."""
    if isinstance(value, dict):
        return f"a mapping ({shorten(', '.join(map(str, value)))})"
    if isinstance(value, list):
        if not value:
            return "an empty list"
        return f"a list ({shorten(', '.join(map(repr, value)))})"
    return "nothing" if value is None else shorten(repr(value))


def shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def nearest(word: object, valid: Iterable[str]) -> str:
    """`did you mean 'x'? valid: a, b, x`: the end of a message about an unknown word."""
    names = [str(name) for name in valid]
    close = difflib.get_close_matches(str(word), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names) or 'none'}"
