"""Readers of text: files as their publishers serve them -> samples as words, characters or sounds."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from orchestrator.data.catalog import Dataset
from orchestrator.data.raw import Text
from orchestrator.data.text import words
from orchestrator.errors import UserError


def read_texts(dataset: Dataset, paths: Mapping[str, Path]) -> Text:
    """CSV files with the columns text and category; a second file is the test split."""
    parts = [_texts(paths[file.name]) for file in dataset.files]
    return parts[0] if len(parts) == 1 else Text(parts[0].samples, parts[0].targets, test=parts[1])


def _texts(path: Path) -> Text:
    samples: list[list[str]] = []
    labels: list[str] = []
    with open(path, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if not line.get("text") or not line.get("category"):
                raise UserError(f"{path}: row {len(samples) + 1} has no text or no category")
            samples.append(words(line["text"]))
            labels.append(line["category"])
    return Text(samples, np.array(labels, dtype=np.str_))


def read_characters(dataset: Dataset, paths: Mapping[str, Path]) -> Text:
    """A text file, each character a token."""
    text = paths[dataset.files[0].name].read_text(encoding="utf-8")
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
