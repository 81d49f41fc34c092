"""Text -> token ids: words, characters or sounds, with a vocabulary learnt from the training rows alone.

Three shapes: a text with a label (classification), one long text cut into windows (language_modelling), and pairs of
short sequences (transduction). Each vocabulary begins with `tokens.SPECIAL`, then comes what was seen, in the order of
its characters' code points, so that it is the same on every machine.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import order
from orchestrator.data.arrays import Prepared, encode_targets, split_counts
from orchestrator.data.card import SPLITS
from orchestrator.data.check import check_classes, check_rows
from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import Text
from orchestrator.errors import UserError
from orchestrator.tokens import BEGIN, END, PADDING, SPECIAL, UNKNOWN, Tokens

RARE = 2  # a word seen less often is <unknown>: what little it says can't be learnt, but <unknown> must be

# A word is letters or digits, with what follows an apostrophe; any other sign is a token of its own.
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?|[^\w\s]|_")

Sequences = Sequence[Sequence[str]]


def words(text: str) -> list[str]:
    """The words and signs of a text, in lower case: "What's 5 £?" gives what's, 5, £, ?."""
    return WORD.findall(text.lower())


def arrange_text(dataset: Dataset, raw: Text) -> Prepared:
    """Split, learn the vocabulary, encode. UserError for data that is empty or too short."""
    check_rows(dataset.name, len(raw.samples))
    return {"classification": _labelled, "language_modelling": _windows, "transduction": _pairs}[dataset.task](
        dataset, raw
    )


def vocabulary_of(samples: Iterable[Sequence[str]], rare: int = 1) -> tuple[str, ...]:
    """The special tokens, then what stands in `samples` at least `rare` times."""
    seen = Counter(token for sample in samples for token in sample)
    return SPECIAL + tuple(sorted(token for token, count in seen.items() if count >= rare))


def encode(samples: Sequences, vocabulary: Sequence[str], length: int) -> NDArray[Any]:
    """Ids [rows, length], unsigned: cut or padded at the end, <unknown> for what the vocabulary lacks."""
    number = {token: index for index, token in enumerate(vocabulary)}
    ids = np.full((len(samples), length), PADDING, np.uint8 if len(vocabulary) <= 256 else np.dtype("<u2"))
    for row, sample in zip(ids, samples, strict=True):
        known = [number.get(token, UNKNOWN) for token in sample[:length]]
        row[: len(known)] = known
    return ids


def _labelled(dataset: Dataset, raw: Text) -> Prepared:
    parts = [raw] if raw.test is None else [raw, raw.test]
    targets, classes = encode_targets(dataset, [np.asarray(part.targets) for part in parts], ())
    check_classes(dataset.name, targets[0], classes, splits=4 - len(parts))
    validation, test = split_counts(dataset, len(targets[0]), published=raw.test is not None)
    rows = order.split(targets[0], validation, test)
    vocabulary = vocabulary_of((raw.samples[row] for row in rows["train"]), RARE)
    arrays = {}
    for split, chosen in rows.items():
        arrays[f"{split}_inputs"] = encode([raw.samples[row] for row in chosen], vocabulary, dataset.length)
        arrays[f"{split}_targets"] = targets[0][chosen]
    if raw.test is not None:
        arrays["test_inputs"] = encode(raw.test.samples, vocabulary, dataset.length)
        arrays["test_targets"] = targets[1]
    for split in SPLITS:
        _no_empty_rows(dataset, split, arrays[f"{split}_inputs"])
    return _prepared(dataset, arrays, vocabulary, outputs=len(classes), classes=classes, padded=True)


def _windows(dataset: Dataset, raw: Text) -> Prepared:
    """The text cut in order into train, validation and test, and each into windows that follow one another.

    Every token is predicted once, but for the few at the end of a split that fill no window. Training windows are
    shuffled: a fraction has something of every part of the text.
    """
    text, length = raw.samples[0], dataset.length
    validation, test = split_counts(dataset, len(text), published=False)
    ends = {"train": len(text) - validation - test, "validation": len(text) - test, "test": len(text)}
    vocabulary = vocabulary_of([text[: ends["train"]]])
    ids = encode([text], vocabulary, len(text))[0]
    arrays, start = {}, 0
    for split, end in ends.items():
        count = (end - start - 1) // length
        if count < 1:
            raise UserError(f"{dataset.name}: the {split} part has {end - start} tokens; a window takes {length + 1}")
        shuffled = _shuffled(count) if split == "train" else np.arange(count)
        for name, shift in (("inputs", 0), ("targets", 1)):
            cut = ids[start + shift : start + shift + count * length]
            arrays[f"{split}_{name}"] = cut.reshape(count, length)[shuffled]
        start = end
    return _prepared(dataset, arrays, vocabulary, outputs=len(vocabulary))


def _shuffled(count: int) -> order.Rows:
    return order.split(np.zeros(count, np.int64), 0, 0)["train"]


def _pairs(dataset: Dataset, raw: Text) -> Prepared:
    """Pairs go to a split by a hash of the source, whatever else is in the file, and in its order.

    So a word that a later version of a dictionary adds moves no other.
    """
    assert raw.targets is not None and not isinstance(raw.targets, np.ndarray)
    if not (isinstance(dataset.validation, float) and isinstance(dataset.test, float)):
        raise UserError(f"{dataset.name}: a split by hash takes shares of the rows, not counts of rows")
    places = [_place(sample) for sample in raw.samples]
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row in sorted(range(len(places)), key=lambda row: (places[row], raw.samples[row])):
        place = places[row]
        held = "validation" if place < dataset.validation else "test"
        rows[held if place < dataset.validation + dataset.test else "train"].append(row)
    for split, chosen in rows.items():
        if not chosen:
            raise UserError(f"{dataset.name}: {len(places)} pairs are too few: the {split} split has none")
    vocabulary = vocabulary_of(raw.samples[row] for row in rows["train"])
    target_vocabulary = vocabulary_of(raw.targets[row] for row in rows["train"])
    arrays = {}
    for split, chosen in rows.items():
        arrays[f"{split}_inputs"] = encode([raw.samples[row] for row in chosen], vocabulary, dataset.length)
        targets = [(SPECIAL[BEGIN], *raw.targets[row][: dataset.length], SPECIAL[END]) for row in chosen]
        arrays[f"{split}_targets"] = encode(targets, target_vocabulary, dataset.length + 2)
        _no_empty_rows(dataset, split, arrays[f"{split}_inputs"])
    made = _prepared(dataset, arrays, vocabulary, outputs=len(target_vocabulary), padded=True)
    return Prepared(**vars(made) | {"target_vocabulary": target_vocabulary, "dropped_rows": raw.dropped_rows})


def _place(sample: Sequence[str]) -> float:
    """A number in [0, 1) that depends on the sample alone."""
    return int.from_bytes(hashlib.sha256("\0".join(sample).encode()).digest()[:6], "big") / 2**48


def _no_empty_rows(dataset: Dataset, split: str, ids: NDArray[Any]) -> None:
    empty = np.flatnonzero(ids[:, 0] == PADDING)
    if len(empty):
        raise UserError(f"{dataset.name}: row {int(empty[0]) + 1} of the {split} split has no word in it")


def _prepared(
    dataset: Dataset,
    arrays: dict[str, NDArray[Any]],
    vocabulary: tuple[str, ...],
    outputs: int,
    classes: tuple[str, ...] = (),
    padded: bool = False,
) -> Prepared:
    return Prepared(
        arrays=arrays,
        input_shape=Tokens(dataset.length, len(vocabulary)),
        outputs=outputs,
        classes=classes,
        sizes={split: len(arrays[f"{split}_inputs"]) for split in SPLITS},
        normalization={},
        vocabulary=vocabulary,
        padded=padded,
    )
