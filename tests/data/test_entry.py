import re

import pytest

from orchestrator.data import from_entry
from orchestrator.data.entry import FORMATS, KEYS
from orchestrator.data.formats import READERS
from orchestrator.errors import UserError

CHURN = {"name": "churn", "file": "churn.csv", "task": "classification", "target": "label"}


def test_a_minimal_entry_describes_a_table(tmp_path):
    dataset = from_entry(CHURN, tmp_path)
    assert (dataset.name, dataset.task, dataset.reader, dataset.target) == (
        "churn",
        "classification",
        "csv",
        ("label",),
    )
    assert dataset.own["churn.csv"] == tmp_path / "churn.csv"
    assert dataset.licence == "not stated"


def test_paths_are_relative_to_the_folder_of_the_yaml(tmp_path):
    dataset = from_entry(CHURN | {"file": "../tables/churn.csv"}, tmp_path / "pipelines")
    assert dataset.own[dataset.files[0].name] == tmp_path / "pipelines" / "../tables/churn.csv"


def test_an_absolute_path_leaves_no_trace_of_the_machine(tmp_path):
    dataset = from_entry(CHURN | {"file": str(tmp_path / "churn.csv")}, tmp_path / "pipelines")
    assert dataset.files[0].name == "churn.csv"
    assert dataset.own["churn.csv"] == tmp_path / "churn.csv"


@pytest.mark.parametrize(
    ("file", "reader"),
    [("a.csv", "csv"), ("a.CSV", "csv"), ("a.csv.gz", "csv"), ("a.tsv", "csv"), ("a.parquet", "parquet")],
)
def test_the_suffix_tells_the_format(tmp_path, file, reader):
    assert from_entry(CHURN | {"file": file}, tmp_path).reader == reader


def test_tabs_separate_a_tsv(tmp_path):
    assert from_entry(CHURN | {"file": "a.tsv"}, tmp_path).separator == "\t"


def test_a_file_by_address_carries_its_checksum(tmp_path):
    entry = CHURN | {"file": "https://example.org/tables/churn.csv?v=2", "sha256": "AB" * 32}
    file = from_entry(entry, tmp_path).files[0]
    assert (file.name, file.sha256) == ("churn.csv", "ab" * 32)


def test_every_format_has_a_reader():
    assert set(FORMATS.values()) | {reader for readers in KEYS.values() for reader in readers} <= set(READERS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traget": "y"}, "unknown key 'traget', did you mean 'target'?; valid are name, file,"),
        ({"name": 3}, "'name' is 3; text is needed"),
        ({"name": "../up"}, "the name '../up' is a folder's too"),
        ({"name": "digits"}, "the catalog has a data set of this name"),
        ({"file": "churn.xls"}, "the suffix of 'churn.xls' tells no format; valid are .csv,"),
        ({"format": "xls"}, "'format' is 'xls'; valid are csv, parquet, npz"),
        ({"task": "clasification"}, "transduction, multilabel, did you mean 'classification'"),
        ({"target": {"a": 1}}, "'target' is {'a': 1}; a name or a list of names is needed"),
        ({"target": True}, "'target' is True; a name or a list"),
        ({"target": ["a", "b"]}, "'target' names several; only a regression"),
        ({"drop": ["label"]}, "'label' is both in 'target' and in 'drop'"),
        ({"validation": 0}, "'validation' is 0; a share of the rows between 0 and 1"),
        ({"validation": True}, "'validation' is True; a share"),
        ({"validation": 1.5}, "'validation' is 1.5; a share"),
        ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"test": 0.1, "test_file": "t.csv"}, "'test' (a share to carve) does not go with test data"),
        ({"axes": "nf"}, "'axes' says nothing about csv files; it is for npz"),
        ({"missing": "fill"}, "'missing' is 'fill'; valid are error, drop"),
        ({"past": 4}, "'past' and 'ahead' (time steps) make windows of a series only together"),
        ({"past": 4, "ahead": 2}, "'target' does not go with 'past' and 'ahead'"),
        ({"past": 4, "ahead": -2}, "'ahead' is -2; a whole number of at least 1"),
        ({"train": 100}, "'train' (rows) goes with 'past' and 'ahead'"),
        ({"file": "https://example.org/a.csv"}, "a file by address needs its `sha256`"),
        ({"sha256": "123"}, "64 hexadecimal digits are needed"),
        ({"file": "a.npz", "test_inputs": "x_test"}, "'test_inputs' and 'test_target' are needed together"),
    ],
)
def test_a_wrong_entry_is_one_line_that_says_what_is_valid(tmp_path, change, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        from_entry(CHURN | change, tmp_path)
    assert "\n" not in str(error.value)


def test_a_format_for_one_task_needs_not_name_it(tmp_path):
    pairs = {"name": "mine", "file": "a.csv", "format": "pairs", "inputs": "x", "target": "y"}
    assert from_entry(pairs, tmp_path).task == "transduction"
    text = from_entry({"name": "mine", "file": "a.txt"}, tmp_path)
    assert (text.task, text.reader, text.length) == ("language_modelling", "characters", 64)


def test_own_molecules_have_properties_that_are_classes(tmp_path):
    entry = {"name": "mine", "file": "a.csv", "format": "molecules", "inputs": "smiles", "target": ["acid", "toxic"]}
    dataset = from_entry(entry | {"task": "multilabel"}, tmp_path)
    assert dataset.classes == dataset.target == ("acid", "toxic")
    assert from_entry(entry | {"task": "regression"}, tmp_path).classes == ()


@pytest.mark.parametrize("key", ["name", "file", "task", "target"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(UserError, match=f"the key '{key}' is missing"):
        from_entry({other: value for other, value in CHURN.items() if other != key}, tmp_path)


def test_an_entry_is_a_mapping(tmp_path):
    with pytest.raises(UserError, match="a mapping such as"):
        from_entry("churn.csv", tmp_path)  # type: ignore[arg-type]
