"""A user's own data set: one mapping in their pipeline's YAML -> a `Dataset`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.data.catalog import CATALOG
from orchestrator.data.dataset import Dataset, File, nearest
from orchestrator.errors import UserError

FORMATS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".npz": "npz",
    ".txt": "characters",
}

# What can be made of each format. Those without a suffix of their own are CSV files, of which `format` says how to
# read them: `texts` as words with a label, `pairs` as characters and the characters that they become, `molecules`.
TASKS: Mapping[str, tuple[str, ...]] = {
    "csv": ("classification", "regression", "anomaly_detection"),
    "parquet": ("classification", "regression", "anomaly_detection"),
    "npz": ("classification", "regression", "segmentation", "anomaly_detection"),
    "texts": ("classification",),
    "characters": ("language_modelling",),
    "pairs": ("transduction",),
    "molecules": ("regression", "multilabel"),
}
_ALL = tuple(TASKS)
_TABLES = ("csv", "parquet")
_ARRAYS = (*_TABLES, "npz")
_TEXTS = ("texts", "characters", "pairs")

# Each key an entry may have, with the formats that it says something about.
KEYS: dict[str, tuple[str, ...]] = {
    "name": _ALL,
    "file": _ALL,
    "sha256": _ALL,
    "task": _ALL,
    "target": tuple(name for name in _ALL if name != "characters"),
    "licence": _ALL,
    "format": _ALL,
    "classes": (*_ARRAYS, "texts"),
    "validation": _ALL,
    "test": _ALL,
    "train": _ARRAYS,
    "past": _ARRAYS,
    "ahead": _ARRAYS,
    "test_file": (*_TABLES, "texts"),
    "drop": _TABLES,
    "missing": _TABLES,
    "separator": ("csv",),
    "inputs": ("npz", "texts", "pairs", "molecules"),
    "test_inputs": ("npz",),
    "test_target": ("npz",),
    "axes": ("npz",),
    "length": _TEXTS,
}
# Tokens of a sample of text, where `length` does not say.
LENGTH = 64


def from_entry(entry: Mapping[str, Any], folder: Path) -> Dataset:
    """A data set from a mapping such as `{name: churn, file: churn.csv, task: classification, target: label}`.

    `file` is relative to `folder` (the YAML's), absolute, or an http(s) address, which then needs its
    `sha256`. UserError for an unknown key, a wrong type or value, and for keys that do not go together.
    """
    if not isinstance(entry, Mapping):
        raise UserError(f"data: a mapping such as {{name: churn, file: churn.csv, ...}} is needed, not {entry!r}")
    given = _Entry(entry)
    name = given.text("name")
    for key in entry:
        if key not in KEYS:
            raise UserError(f"data {name}: unknown key '{key}'{nearest(str(key), KEYS)}; valid are {', '.join(KEYS)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise UserError(f"data: the name '{name}' is a folder's too; use letters, digits, '_', '-' and '.'")
    if name in CATALOG:
        raise UserError(f"data {name}: the catalog has a data set of this name; give yours another")
    reader = _reader(name, given)
    for key in entry:
        if reader not in KEYS[key]:
            raise UserError(f"data {name}: '{key}' says nothing about {reader} files; it is for {', '.join(KEYS[key])}")
    files, own = _files(name, given, Path(folder))
    task = given.one_of("task", tuple(dict.fromkeys(sum(TASKS.values(), ()))), _usual_task(reader, entry))
    dataset = Dataset(
        name=name,
        reader=reader,
        files=files,
        own=own,
        task=task,
        licence=given.text("licence", "not stated"),
        target=given.texts("target"),
        inputs=given.text("inputs", ""),
        test_inputs=given.text("test_inputs", ""),
        test_target=given.text("test_target", ""),
        axes=given.text("axes", ""),
        classes=given.texts("target" if task == "multilabel" else "classes"),
        drop=given.texts("drop"),
        missing=given.one_of("missing", ("error", "drop"), "error"),
        separator=given.text("separator", "\t" if files[0].name.endswith(".tsv") else ","),
        validation=given.share("validation"),
        test=given.share("test"),
        train=given.count("train"),
        past=given.count("past"),
        ahead=given.count("ahead"),
        length=given.count("length") or (LENGTH if reader in _TEXTS else 0),
    )
    _check_together(dataset, entry)
    return dataset


class _Entry:
    """Typed access to the values of one entry."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.name = values.get("name", "(no name)")

    def wrong(self, key: str, valid: str) -> UserError:
        return UserError(f"data {self.name}: '{key}' is {self.values[key]!r}; {valid}")

    def text(self, key: str, default: str | None = None) -> str:
        if key not in self.values:
            if default is None:
                raise UserError(f"data {self.name}: the key '{key}' is missing")
            return default
        value = self.values[key]
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "text is needed")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        items = list(value) if isinstance(value, list | tuple) else [value]
        if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in items):
            raise self.wrong(key, "a name or a list of names is needed (in quotes where YAML sees something else)")
        return tuple(str(item) for item in items)

    def one_of(self, key: str, valid: tuple[str, ...], default: str | None) -> str:
        value = self.text(key, default)
        if value not in valid:
            raise self.wrong(key, f"valid are {', '.join(valid)}{nearest(value, valid)}")
        return value

    def share(self, key: str, default: float = 0.2) -> float | int:
        value = self.values.get(key, default)
        if isinstance(value, float) and 0 < value < 1:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        raise self.wrong(key, "a share of the rows between 0 and 1 or a whole number of rows is needed")

    def count(self, key: str) -> int:
        if key not in self.values:
            return 0
        value = self.values[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "a whole number of at least 1 is needed")
        return value


def _usual_task(reader: str, entry: Mapping[str, Any]) -> str | None:
    """What needs not be said: of windows of a series, and where a format is for one task alone."""
    if len(TASKS[reader]) == 1:
        return TASKS[reader][0]
    return "regression" if "past" in entry else None


def _reader(name: str, given: _Entry) -> str:
    if "format" in given.values:
        return given.one_of("format", _ALL, None)
    file = given.text("file").lower().split("?")[0]
    for suffix, reader in FORMATS.items():
        if file.endswith(suffix):
            return reader
    raise UserError(
        f"data {name}: the suffix of '{given.values['file']}' tells no format; valid are "
        f"{', '.join(FORMATS)}, or say `format:` {', '.join(_ALL)}"
    )


def _files(name: str, given: _Entry, folder: Path) -> tuple[tuple[File, ...], dict[str, Path]]:
    files, own = [], {}
    for key in ("file", "test_file"):
        if key not in given.values:
            continue
        where = given.text(key)
        if where.startswith(("http://", "https://")):
            if key == "test_file" or "test_file" in given.values or "sha256" not in given.values:
                raise given.wrong(key, "a file by address needs its `sha256` and cannot go with `test_file`")
            files.append(File(where.split("?")[0].rsplit("/", 1)[-1] or "file", where, _sha256(given)))
            continue
        path = Path(where).expanduser()
        # Of an absolute path the card keeps the name alone: it is to be the same on every machine.
        label = path.name if path.is_absolute() else path.as_posix()
        if label in own:
            raise given.wrong(key, "two files of one name cannot be told apart, rename one")
        files.append(File(label, "", _sha256(given) if key == "file" and "sha256" in given.values else ""))
        own[label] = folder / path
    return tuple(files), own


def _sha256(given: _Entry) -> str:
    value = given.text("sha256").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise given.wrong("sha256", "64 hexadecimal digits are needed")
    return value


def _check_together(dataset: Dataset, entry: Mapping[str, Any]) -> None:
    def wrong(text: str) -> UserError:
        return UserError(f"data {dataset.name}: {text}")

    if bool(dataset.past) != bool(dataset.ahead):
        raise wrong("'past' and 'ahead' (time steps) make windows of a series only together")
    if dataset.past:
        for key in ("target", "test_file", "test_inputs", "classes"):
            if key in entry:
                raise wrong(f"'{key}' does not go with 'past' and 'ahead': every column is forecast, split in time")
        if dataset.task != "regression":
            raise wrong(f"a series with 'past' and 'ahead' is a regression, not {dataset.task}")
    elif dataset.train:
        raise wrong("'train' (rows) goes with 'past' and 'ahead'; else training has what the other splits leave")
    elif not dataset.target and dataset.reader not in ("npz", "characters"):
        raise wrong("the key 'target' is missing: the column to predict")
    if dataset.reader in ("texts", "pairs", "molecules") and not dataset.inputs:
        raise wrong("the key 'inputs' is missing: the column that the target is predicted from")
    if dataset.task == "segmentation" and dataset.reader != "npz":
        raise wrong("segmentation needs images and their masks, two arrays of an NPZ")
    if dataset.task not in TASKS[dataset.reader]:
        able = ", ".join(reader for reader, tasks in TASKS.items() if dataset.task in tasks)
        raise wrong(f"{dataset.reader} files are for {' or '.join(TASKS[dataset.reader])}; {dataset.task} takes {able}")
    if len(dataset.target) > 1 and (dataset.reader == "npz" or dataset.task not in ("regression", "multilabel")):
        raise wrong("'target' names several; only a regression or multilabel on a table can have that")
    if set(dataset.target) & set(dataset.drop):
        raise wrong(f"'{(set(dataset.target) & set(dataset.drop)).pop()}' is both in 'target' and in 'drop'")
    if bool(dataset.test_inputs) != bool(dataset.test_target):
        raise wrong("'test_inputs' and 'test_target' are needed together")
    if "test" in entry and (dataset.test_inputs or len(dataset.files) > 1):
        raise wrong("'test' (a share to carve) does not go with test data of its own")
    if dataset.task == "transduction" and not max(dataset.validation, dataset.test) < 1:
        raise wrong("'validation' and 'test' of pairs are shares of the rows: a pair's letters decide its split")
    if dataset.validation < 1 and dataset.test < 1 and dataset.validation + dataset.test >= 1:
        raise wrong(f"validation {dataset.validation} and test {dataset.test} leave nothing to train on")
