"""YAML that knows its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import documents
from orchestrator.documents import Document, describe, nearest
from orchestrator.errors import UserError


def written(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def test_every_key_and_entry_knows_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "name: a\nsampler:\n  name: tpe\nsizes:\n  - s\n  - m\nfamilies: [mlp,\n  lenet]\n")
    document = documents.load(path)
    assert document.content == {
        "name": "a",
        "sampler": {"name": "tpe"},
        "sizes": ["s", "m"],
        "families": ["mlp", "lenet"],
    }
    places = {
        ("name",): 1,
        ("sampler", "name"): 3,
        ("sizes", 1): 6,
        ("families", 1): 8,
        ("sampler", "missing"): 2,  # the innermost that is there
    }
    assert {key: document.where(*key) for key in places} == {key: f"{path}:{line}" for key, line in places.items()}
    assert document.where("nowhere") == str(path)


def test_a_value_from_the_command_line_is_placed_there() -> None:
    document = Document(Path("x.yaml"), {}, {("sizes",): 4, ("sizes", 0): 4}, frozenset({("sizes",), ("a", "b")}))
    assert document.where("sizes", 0) == "--set sizes"
    assert document.place("a", "b") == "--set a.b"
    assert document.place("sizes", 0) == "--set sizes: sizes.0"
    assert Document(Path("x.yaml"), {}, {("name",): 1}).place("name") == "x.yaml:1: name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\n", ":3: not valid YAML: "),
        ("a: 1\n\tb: 2\n", ":2: not valid YAML: "),
        ("a: 1\nb: 2\na: 3\n", ":3: 'a' is given twice"),
        ("a:\n  b: 1\n  b: 2\n", ":3: 'b' is given twice"),
        ("- a\n- b\n", ": expected a mapping of keys to values, found a list ('a', 'b')"),
        ("just words\n", ": expected a mapping of keys to values, found 'just words'"),
        ("", ": the file is empty; expected a mapping of keys to values"),
        ("# nothing but a comment\n", ": the file is empty; expected a mapping of keys to values"),
        ("a: !!python/object/apply:os.system [ls]\n", ":1: not valid YAML: could not determine a constructor"),
        ("a: 2024-13-45\n", ": holds a value that is not possible: month must be in 1..12"),
        ("a: &x\n  b: *x\n", ": refers to itself"),
        ("a: \x07\n", ": not valid YAML: "),
    ],
)
def test_a_broken_file_is_one_line_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        documents.load(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match=r"x.yaml: cannot be read \(not UTF-8 text\)"):
        documents.load(path)


@pytest.mark.parametrize(("name", "reason"), [("missing.yaml", "No such file or directory"), (".", "Is a directory")])
def test_a_path_that_is_no_file_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"cannot be read \({reason}\); give the path of a YAML file"):
        documents.load(tmp_path / name)


def test_the_nearest_word_is_offered_and_all_are_listed() -> None:
    assert nearest("optimiser", ("optimizer", "schedule")) == "did you mean 'optimizer'? valid: optimizer, schedule"
    assert nearest("xyz", ("optimizer",)) == "valid: optimizer"
    assert nearest(3, ()) == "valid: none"


def test_values_are_shown_on_one_short_line() -> None:
    assert describe(None) == "nothing"
    assert describe([]) == "an empty list"
    assert describe({"a": 1, "b": 2}) == "a mapping (a, b)"
    assert len(describe(list(range(1000)))) < 80 and len(describe("x" * 1000)) < 80
    assert "\n" not in describe("a\nb")
