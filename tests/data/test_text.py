import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.data import CATALOG, Dataset, File
from orchestrator.data.card import Card
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare
from orchestrator.data.text import encode, vocabulary_of, words
from orchestrator.errors import UserError
from orchestrator.tokens import BEGIN, END, PADDING, SPECIAL, UNKNOWN, Tokens


def dataset(folder: Path, reader: str, task: str, files: dict[str, str], **more: object) -> Dataset:
    own = {name: folder / name for name in files}
    for name, content in files.items():
        own[name].write_bytes(content.encode())
    return Dataset("mine", task, reader, tuple(File(name, "", "") for name in files), "none", own, **more)


def table(rows: list[tuple[str, str]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([("text", "category"), *rows])
    return file.getvalue()


SAID = {"hello": ["Hello there!", "hello, you there", "Well hello"], "bye": ["Bye now!", "bye bye you", "good bye"]}
TRAIN = [(text, label) for label, texts in SAID.items() for text in texts * 4]
TEST = [("hello zebra", "hello"), ("bye", "bye")]


def texts(folder: Path, train: list[tuple[str, str]] = TRAIN, test: list[tuple[str, str]] = TEST) -> Dataset:
    files = {"train.csv": table(train), "test.csv": table(test)}
    return dataset(folder, "texts", "classification", files, length=5, validation=4)


def test_words_are_in_lower_case_and_signs_stand_alone():
    assert words("What's my PIN?  £5.00…") == ["what's", "my", "pin", "?", "£", "5", ".", "00", "…"]
    assert words("don’t re_use 'quotes' ☃") == ["don’t", "re", "_", "use", "'", "quotes", "'", "☃"]
    assert words(" \xa0\n") == []


def test_the_vocabulary_begins_with_the_special_tokens_and_does_not_depend_on_the_order_of_rows():
    assert vocabulary_of([["b", "a"], ["b"]]) == (*SPECIAL, "a", "b") == vocabulary_of([["b"], ["a", "b"]])
    assert vocabulary_of([["b", "a"], ["b"]], rare=2) == (*SPECIAL, "b")


def test_ids_are_cut_padded_and_unknown_where_the_vocabulary_lacks_the_word():
    ids = encode([["a"], ["z", "a", "a"], []], (*SPECIAL, "a"), 2)
    assert ids.tolist() == [[5, PADDING], [UNKNOWN, 5], [PADDING, PADDING]]
    assert ids.dtype == np.uint8
    many = (*SPECIAL, *map(str, range(300)))
    assert encode([["299"]], many, 1).tolist() == [[304]]


def test_texts_become_padded_ids_and_classes(tmp_path):
    data = load(prepare(texts(tmp_path), tmp_path))
    card = data.card
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 4, 2)
    assert card.input_shape == Tokens(5, len(card.vocabulary)) and isinstance(card.input_shape, Tokens)
    assert card.classes == ("bye", "hello") and card.outputs == 2 and card.padded
    assert data.train.inputs.dtype == data.train.targets.dtype == torch.int64
    assert data.train.inputs.shape == (20, 5) and data.train.targets.shape == (20,)
    number = {word: index for index, word in enumerate(card.vocabulary)}
    assert data.test.inputs.tolist() == [[number["hello"], UNKNOWN, 0, 0, 0], [number["bye"], 0, 0, 0, 0]]
    assert data.test.targets.tolist() == [1, 0]
    said = {" ".join(words(text)): label for text, label in TRAIN}
    for ids, label in zip(data.train.inputs, data.train.targets, strict=True):
        assert said[" ".join(card.vocabulary[i] for i in ids if i)] == card.classes[label]


def test_the_vocabulary_is_learnt_from_the_training_rows_alone(tmp_path):
    rows = [(f"{text} word{n} word{n}", label) for n, (text, label) in enumerate(TRAIN)]
    data = load(prepare(texts(tmp_path, rows), tmp_path))
    learnt = {word for word in data.card.vocabulary if word.startswith("word")}
    # Each row has a word of its own, twice: the vocabulary has those of the 20 training rows.
    assert len(learnt) == 20
    assert UNKNOWN in data.validation.inputs and "zebra" not in data.card.vocabulary
    assert UNKNOWN not in data.train.inputs


def test_the_card_of_text_is_read_as_it_was_written(tmp_path):
    folder = prepare(texts(tmp_path), tmp_path)
    card = Card.read(folder)
    before = (folder / "card.json").read_bytes()
    card.write(folder)
    assert (folder / "card.json").read_bytes() == before
    assert card == Card.read(folder)


def test_the_same_texts_can_be_learnt_from_without_labels(tmp_path):
    data = load(prepare(texts(tmp_path), tmp_path))
    assert data.learnt_by(None).card is data.learnt_by("classification").card is data.card
    first = data.learnt_by("masked_language_modelling")
    assert first.card.task == "masked_language_modelling" and first.card.outputs == len(data.card.vocabulary)
    assert first.card.classes == () and first.card.input_shape == data.card.input_shape
    assert first.train is data.train
    numbers = load(prepare(CATALOG["wine"], tmp_path))
    with pytest.raises(UserError, match="needs text; this is classification on numbers"):
        numbers.learnt_by("masked_language_modelling")
    with pytest.raises(
        UserError, match="can't be learnt by 'regression'; valid: classification, masked_language_model"
    ):
        data.learnt_by("regression")


@pytest.mark.parametrize("reader", ["texts", "pairs", "characters"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, reader):
    said = "text,category\n" + "".join(f"{text},{label}\n" for text, label in TRAIN if "," not in text)
    columns = {"inputs": "text", "target": ("category",)}
    task, content, more = {
        "texts": ("classification", said, {}),
        "pairs": ("transduction", "text,category\n" + "".join(f"{word},{word[::-1]}\n" for word in WORDS), columns),
        "characters": ("language_modelling", "abcdefghij" * 20, {}),
    }[reader]
    cards = []
    for mark in ("", "\ufeff"):
        files = {"a.csv": mark + content}
        shares = {"length": 4, "validation": 0.2, "test": 0.2}
        cards.append(Card.read(prepare(dataset(tmp_path, reader, task, files, **shares, **more), tmp_path)))
    assert cards[0].source != cards[1].source and cards[0].fingerprint == cards[1].fingerprint
    assert cards[0].vocabulary == cards[1].vocabulary


def test_fractions_of_text_are_nested(tmp_path):
    folder = prepare(texts(tmp_path), tmp_path)
    whole, half = load(folder), load(folder, 0.5)
    assert torch.equal(half.train.inputs, whole.train.inputs[:10])
    assert torch.bincount(half.train.targets).tolist() == [5, 5]
    assert half.card.vocabulary == whole.card.vocabulary


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([*TRAIN, ("", "bye")], TEST, "train.csv: row 25 has no text"),
        ([*TRAIN, ("x", "")], TEST, "train.csv: row 25 has no category"),
        ([*TRAIN, ("\xa0", "bye")], [("\xa0", "bye")], "split has no word in it"),
        (TRAIN, [("x", "maybe")], "the class 'maybe', which the training data lacks"),
        ([("x", "bye")] * 9, TEST[1:], "only one class"),
        ([], TEST, "the data is empty"),
    ],
)
def test_bad_texts_are_refused_in_one_line(tmp_path, train, test, message):
    with pytest.raises(UserError, match=message) as error:
        prepare(texts(tmp_path, train, test), tmp_path)
    assert "\n" not in str(error.value)


def stream(folder: Path, text: str, length: int = 4) -> Dataset:
    files = {"a.txt": text}
    return dataset(folder, "characters", "language_modelling", files, length=length, validation=0.1, test=0.1)


def test_a_text_is_cut_in_order_into_windows_that_predict_each_character_once(tmp_path):
    text = "".join(chr(ord("a") + n % 23) for n in range(200)) + "ZZZZZZZZZZ"
    data = load(prepare(stream(tmp_path, text), tmp_path))
    assert data.card.task == "language_modelling" and data.card.outputs == len(data.card.vocabulary) == 5 + 23
    windows = {}
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        assert split.inputs.dtype == split.targets.dtype == torch.int64
        assert torch.equal(split.inputs[:, 1:], split.targets[:, :-1])
        windows[name] = ["".join(data.card.vocabulary[i] for i in row) for row in split.targets]
    # 168, 21 and 21 characters; the first of each split has none before it.
    assert "".join(windows["validation"]) == text[169:189] and sorted(windows["train"])
    assert [len(windows[name]) for name in windows] == [41, 5, 5]
    starts = [text[:168].find(first, 1) for first in windows["train"]]
    assert len(starts) == 41 and -1 not in starts
    assert windows["train"] != [text[1 + 4 * n : 5 + 4 * n] for n in range(41)], "training windows are shuffled"
    assert sorted(windows["train"]) == sorted(text[1 + 4 * n : 5 + 4 * n] for n in range(41))
    # What stands in the test part alone is unknown: the vocabulary is of the training part.
    assert UNKNOWN in data.test.targets and "Z" not in data.card.vocabulary


def test_a_text_too_short_for_a_window_is_refused(tmp_path):
    with pytest.raises(UserError, match="the validation part has 2 tokens; a window takes 5"):
        prepare(stream(tmp_path, "abcdefghijklmnopqrstu"), tmp_path)
    with pytest.raises(UserError, match="the data is empty"):
        prepare(stream(tmp_path, ""), tmp_path)


LETTERS = "abcdefghij"
WORDS = [a + b + c for a in LETTERS for b in LETTERS for c in LETTERS]
LINES = [f"{word} {' '.join(letter.upper() + '0' for letter in word)}" for word in WORDS]


def pairs(folder: Path, lines: list[str], **more: object) -> Dataset:
    files = {"a.dict": "\n".join(lines) + "\n"}
    shares = {"length": 4, "validation": 0.1, "test": 0.2} | more
    return dataset(folder, "pronunciations", "transduction", files, **shares)


def test_pronunciations_are_pairs_without_stress_between_begin_and_end(tmp_path):
    data = load(prepare(pairs(tmp_path, [*LINES, "abc(2) X1 Y2 Z0", "zed Z EH1 D # a letter"]), tmp_path))
    card = data.card
    assert card.dropped_rows == 1 and sum(card.sizes.values()) == 1001
    assert card.outputs == len(card.target_vocabulary) and "X" not in card.target_vocabulary
    assert data.train.inputs.shape[1:] == (4,) and data.train.targets.shape[1:] == (6,)
    assert data.train.targets.dtype == torch.int64
    for inputs, targets in zip(data.validation.inputs, data.validation.targets, strict=True):
        word = "".join(card.vocabulary[i] for i in inputs if i)
        sounds = [card.target_vocabulary[i] for i in targets if i]
        assert sounds == ["<begin>", *word.upper(), "<end>"]
        assert targets[0] == BEGIN and targets[4] == END and targets[5] == PADDING


def test_a_words_split_depends_on_the_word_alone(tmp_path):
    def spelled(lines: list[str], folder: str) -> dict[str, list[str]]:
        (tmp_path / folder).mkdir()
        data = load(prepare(pairs(tmp_path / folder, lines), tmp_path / folder))
        return {
            name: ["".join(data.card.vocabulary[i] for i in row if i) for row in getattr(data, name).inputs]
            for name in ("train", "validation", "test")
        }

    whole, part = spelled(LINES, "whole"), spelled(LINES[::-2], "part")
    assert all(set(part[name]) < set(whole[name]) for name in whole)
    assert 60 < len(whole["validation"]) < 140 and 140 < len(whole["test"]) < 260
    # In the order of the hash, which is the same for fewer words: fractions are nested there too.
    assert part["train"] == [word for word in whole["train"] if word in set(part["train"])]


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        ([*LINES, "word"], {}, "line 1001, 'word' has no pronunciation"),
        ([*LINES, "abc A"], {}, "line 1001, 'abc' stands here for the second time"),
        (LINES[:2], {}, "2 pairs are too few"),
        (LINES, {"validation": 5}, "a split by hash takes shares"),
        ([], {}, "the data is empty"),
    ],
)
def test_bad_pronunciations_are_refused_in_one_line(tmp_path, lines, more, message):
    with pytest.raises(UserError, match=message) as error:
        prepare(pairs(tmp_path, lines, **more), tmp_path)
    assert "\n" not in str(error.value)


# ---- a user's own texts -----------------------------------------------------------------------------------------

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
SPELT = "word,number,odd\n" + "".join(f"{word},{n},{n % 2}\n" for n, word in enumerate(NUMBERS * 2, 1))


def test_own_texts_are_a_table_with_a_column_of_them(own, tmp_path):
    entry = {"format": "texts", "inputs": "word", "target": "odd", "validation": 4, "test": 4}
    card = load(prepare(own("spelt.csv", SPELT, **entry), tmp_path)).card
    assert (card.task, card.input_shape.time, card.classes) == ("classification", 64, ("0", "1"))
    assert set(card.vocabulary) - set(SPECIAL) <= set(NUMBERS) and len(card.vocabulary) > len(SPECIAL) + 3


def test_own_pairs_are_read_character_by_character(own, tmp_path):
    entry = {"task": "transduction", "format": "pairs", "inputs": "word", "target": "number", "length": 8}
    data = load(prepare(own("spelt.csv", SPELT, **entry), tmp_path))
    letters, digits = data.card.vocabulary, data.card.target_vocabulary
    assert data.card.task == "transduction" and set(digits) <= {*SPECIAL, *"0123456789"}
    for inputs, targets in zip(data.train.inputs, data.train.targets, strict=True):
        word = "".join(letters[i] for i in inputs if i != PADDING)
        number = [digits[i] for i in targets if i not in (PADDING, BEGIN, END)]
        assert int("".join(number)) % 12 == (NUMBERS.index(word) + 1) % 12


def test_an_own_text_is_for_a_language_model(own, tmp_path):
    entry = {"task": "language_modelling", "length": 4}
    data = load(prepare(own("mine.txt", "to be, or not to be " * 10, **entry), tmp_path))
    assert data.card.input_shape.time == 4 and data.card.outputs == len(data.card.vocabulary) == 5 + len(
        set("to be,rn")
    )


@pytest.mark.parametrize(
    ("file", "content", "entry", "message"),
    [
        (
            "a.csv",
            SPELT,
            {"format": "texts", "inputs": "wrod", "target": "odd"},
            "a.csv: has no column 'wrod'; it has word",
        ),
        (
            "a.csv",
            SPELT,
            {"format": "texts", "target": "odd"},
            "the key 'inputs' is missing: the column that the target",
        ),
        ("a.csv", SPELT, {"format": "texts", "inputs": "word"}, "the key 'target' is missing"),
        ("a.csv", "a,b\n1\n", {"format": "texts", "inputs": "a", "target": "b"}, "a.csv: row 1 has no b"),
        ("a.csv", b"a,b\n\xff,1\n", {"format": "texts", "inputs": "a", "target": "b"}, "a.csv: cannot be read as CSV"),
        ("a.txt", b"\xff", {"task": "language_modelling"}, "a.txt: cannot be read as text"),
        (
            "a.txt",
            "a",
            {},
            "characters files are for language_modelling; classification takes csv, parquet, npz, texts",
        ),
        ("a.txt", "a", {"task": "language_modelling", "target": "b"}, "'target' says nothing about characters files"),
        (
            "a.csv",
            SPELT,
            {"target": "odd", "length": 3},
            "'length' says nothing about csv files; it is for texts, char",
        ),
        (
            "a.csv",
            SPELT,
            {"task": "transduction", "format": "pairs", "inputs": "word", "target": "number", "test": 3},
            "of pairs are shares of the rows",
        ),
    ],
)
def test_a_mistake_about_own_texts_is_one_line(own, tmp_path, file, content, entry, message):
    with pytest.raises(UserError, match=message) as error:
        prepare(own(file, content, **entry), tmp_path)
    assert "\n" not in str(error.value)
