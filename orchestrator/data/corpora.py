"""Readers of text: files as their publishers serve them -> samples as words, characters or sounds."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import Text
from orchestrator.data.text import words
from orchestrator.errors import UserError

UTF_8 = "utf-8-sig"  # without the byte order mark that Excel's "CSV UTF-8" begins with


def read_texts(dataset: Dataset, paths: Mapping[str, Path]) -> Text:
    """CSV files with a column of texts and one of labels (text and category, unless the data set names them); a second
    file is the test split."""
    named = dataset.inputs or "text", *(dataset.target or ("category",))
    parts = []
    for file in dataset.files:
        rows = columns(paths[file.name], named)
        parts.append(([words(text) for text, _ in rows], np.array([label for _, label in rows], dtype=np.str_)))
    return Text(*parts[0]) if len(parts) == 1 else Text(*parts[0], test=Text(*parts[1]))


def read_pairs(dataset: Dataset, paths: Mapping[str, Path]) -> Text:
    """A CSV file with a column of words and one of what they become, character by character."""
    rows = columns(paths[dataset.files[0].name], (dataset.inputs, *dataset.target))
    return Text([list(source) for source, _ in rows], [list(target) for _, target in rows])


def columns(path: Path, names: Sequence[str]) -> list[list[str]]:
    """The cells of some columns, none of them empty."""
    rows: list[list[str]] = []
    try:
        with open(path, encoding=UTF_8, newline="") as file:
            for line in csv.DictReader(file):
                for name in names:
                    if name not in line:
                        raise UserError(f"{path}: has no column '{name}'; it has {', '.join(filter(None, line))}")
                    if not line[name]:
                        raise UserError(f"{path}: row {len(rows) + 1} has no {name}")
                rows.append([line[name] for name in names])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from None
    return rows


def read_characters(dataset: Dataset, paths: Mapping[str, Path]) -> Text:
    """A text file, each character a token."""
    path = paths[dataset.files[0].name]
    try:
        text = path.read_text(encoding=UTF_8)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from None
    return Text([text] if text else [])


def read_pronunciations(dataset: Dataset, paths: Mapping[str, Path]) -> Text:
    """The CMU Pronouncing Dictionary: letters -> sounds without stress, the first pronunciation of each word.

    A line is "tomato  T AH0 M EY1 T OW2 # comment"; "tomato(2)" is a further pronunciation of tomato, so that one
    row a word is left, and what is held out for the test is in no other split.
    """
    first: dict[str, list[str]] = {}
    dropped = 0
    path = paths[dataset.files[0].name]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        word, *sounds = line.split("#")[0].split() or [""]
        if not word:
            continue
        if not sounds:
            raise UserError(f"{path}: line {number}, '{word}' has no pronunciation")
        if re.search(r"\(\d+\)$", word):
            dropped += 1
        elif first.setdefault(word, sounds) is not sounds:
            raise UserError(f"{path}: line {number}, '{word}' stands here for the second time")
    sounds_of = [[sound.rstrip("012") for sound in sounds] for sounds in first.values()]
    return Text([list(word) for word in first], sounds_of, dropped_rows=dropped)
