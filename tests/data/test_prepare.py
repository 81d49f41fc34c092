import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data import CATALOG, Card, Dataset, File, order, prepare
from orchestrator.data.arrays import statistics
from orchestrator.data.load import load
from orchestrator.data.prepare import fingerprint
from orchestrator.errors import UserError

prepare_dataset = prepare.prepare


def table(rows: int = 60, classes: int = 3, text: str = "") -> str:
    lines = [f"{n % 7},{n * 0.25},{'rare' if text and n == 0 else 'common'},{'abc'[n % classes]}" for n in range(rows)]
    return "x,z,kind,label\n" + "\n".join(lines) + "\n"


def arrays(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_digits_are_stored_as_bytes_with_a_card(tmp_path):
    folder = prepare_dataset(CATALOG["digits"], tmp_path)
    assert folder == tmp_path / "prepared" / "digits"
    made, card = arrays(folder), Card.read(folder)
    assert made["train_inputs"].dtype == np.uint8 and made["train_inputs"].shape == (1079, 1, 8, 8)
    assert made["train_targets"].dtype == np.int64
    assert card.sizes == {split: len(made[f"{split}_targets"]) for split in ("train", "validation", "test")}
    assert card.fingerprint == fingerprint(made)
    assert card.normalization["mean"][0] == pytest.approx(made["train_inputs"].mean(), rel=1e-12)
    assert card.normalization["scale"][0] == pytest.approx(made["train_inputs"].std(), rel=1e-12)


def test_the_same_files_give_the_same_bytes_anywhere(own, tmp_path):
    dataset = own("a.csv", table(), target="label")
    moved = tmp_path / "elsewhere" / "a.csv"
    moved.parent.mkdir()
    moved.write_text(table())
    one = prepare_dataset(dataset, tmp_path / "one")
    two = prepare_dataset(replace(dataset, own={"a.csv": moved}), tmp_path / "two")
    assert contents(one) == contents(two)
    assert str(tmp_path) not in (one / "card.json").read_text()


def test_normalization_is_fitted_on_the_training_rows_alone(own, tmp_path):
    folder = prepare_dataset(own("a.csv", table(), target="label", drop=["kind"]), tmp_path)
    made, card = arrays(folder), Card.read(folder)
    assert card.features == ("x", "z")
    assert np.allclose(card.normalization["mean"], made["train_inputs"].mean(0))
    assert np.allclose(card.normalization["scale"], made["train_inputs"].std(0))
    everything = np.concatenate([made[f"{split}_inputs"] for split in card.sizes])
    assert not np.allclose(card.normalization["mean"], everything.mean(0))


def test_text_becomes_one_column_per_value_of_the_training_rows(own, tmp_path):
    rows = "".join(f"{'ab'[n % 2]},{'red' if n % 3 else 'blue'}\n" for n in range(30))
    (tmp_path / "test.csv").write_text("label,color\na,green\nb,red\n")
    dataset = own("a.csv", "label,color\n" + rows, target="label", test_file="test.csv")
    folder = prepare_dataset(dataset, tmp_path)
    card = Card.read(folder)
    assert card.features == ("color=blue", "color=red")
    assert arrays(folder)["test_inputs"].tolist() == [[0, 0], [0, 1]]  # green was not known in training
    assert card.normalization == {"mean": [0, 0], "scale": [1, 1]}


def test_a_value_seen_only_in_validation_gets_no_column(own, tmp_path):
    labels = np.arange(30) % 2
    seen_late = order.split(labels, validation=6, test=6)["validation"][0]
    rows = "".join(f"{'ab'[n % 2]},{'green' if n == seen_late else ['red', 'blue'][n // 2 % 2]}\n" for n in range(30))
    folder = prepare_dataset(own("a.csv", "label,color\n" + rows, target="label"), tmp_path)
    assert Card.read(folder).features == ("color=blue", "color=red")
    assert arrays(folder)["validation_inputs"].sum(1).tolist() == [0, 1, 1, 1, 1, 1]


def test_every_value_survives_exactly(own, tmp_path):
    rows = "".join(f"{10**9 + n},{'ab'[n % 2]}\n" for n in range(30))
    folder = prepare_dataset(own("a.csv", "x,label\n" + rows, target="label"), tmp_path)
    made = arrays(folder)
    assert made["train_inputs"].dtype == np.float64  # float32 would merge neighbours
    assert len(np.unique(np.concatenate([made[f"{split}_inputs"] for split in Card.read(folder).sizes]))) == 30


def test_class_names_can_be_given(own, tmp_path):
    folder = prepare_dataset(own("a.csv", table(), target="label", classes=["A", "B", "C"]), tmp_path)
    assert Card.read(folder).classes == ("A", "B", "C")


def test_a_published_test_split_stays_whole(own, tmp_path):
    (tmp_path / "test.csv").write_text(table(10))
    folder = prepare_dataset(own("a.csv", table(), target="label", test_file="test.csv"), tmp_path)
    made = arrays(folder)
    assert Card.read(folder).sizes == {"train": 48, "validation": 12, "test": 10}
    assert made["test_inputs"][:, 1].tolist() == [n * 0.25 for n in range(10)]


def series(rows: int) -> str:
    return "when,a,b\n" + "".join(f"day {n % 5},{n},{-n * 0.5}\n" for n in range(rows))


def test_a_series_is_cut_in_time_and_its_windows_reach_back(own, tmp_path):
    entry = {"drop": ["when"], "past": 4, "ahead": 2, "train": 20, "validation": 8, "test": 8, "task": "regression"}
    folder = prepare_dataset(own("a.csv", series(40), **entry), tmp_path)
    made, card = arrays(folder), Card.read(folder)
    assert made["train_series"][:, 0].tolist() == list(range(20))
    assert made["validation_series"][:, 0].tolist() == list(range(16, 28))
    assert made["test_series"][:, 0].tolist() == list(range(24, 36))
    assert card.sizes == {"train": 15, "validation": 7, "test": 7}
    assert (card.input_shape, card.outputs, card.window) == ((4, 2), 4, (4, 2))
    assert card.normalization["mean"] == [9.5, -4.75]


def test_nothing_is_done_twice(own, tmp_path, monkeypatch):
    dataset = own("a.csv", table(), target="label")
    folder = prepare_dataset(dataset, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(prepare, "READERS", {})
    assert prepare_dataset(dataset, tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_changed_file_is_prepared_again(own, tmp_path):
    folder = prepare_dataset(own("a.csv", table(60), target="label"), tmp_path)
    before = Card.read(folder)
    prepare_dataset(own("a.csv", table(90), target="label"), tmp_path)
    after = Card.read(folder)
    assert after.sizes["train"] == 54 and after.fingerprint != before.fingerprint
    assert after.source == {"a.csv": hashlib.sha256(table(90).encode()).hexdigest()}
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["mine"]


def test_a_changed_entry_is_prepared_again(own, tmp_path):
    folder = prepare_dataset(own("a.csv", table(), target="label"), tmp_path)
    prepare_dataset(own("a.csv", table(), target="label", drop=["kind", "x"]), tmp_path)
    assert Card.read(folder).features == ("z",)


def test_a_lost_array_is_made_again(own, tmp_path):
    dataset = own("a.csv", table(), target="label")
    folder = prepare_dataset(dataset, tmp_path)
    (folder / "test_inputs.npy").unlink()
    prepare_dataset(dataset, tmp_path)
    load(folder)


def test_a_failure_leaves_the_old_folder_whole(own, tmp_path, monkeypatch):
    folder = prepare_dataset(own("a.csv", table(60), target="label"), tmp_path)
    before = contents(folder)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        prepare_dataset(own("a.csv", table(90), target="label"), tmp_path)
    assert contents(folder) == before
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["mine"]


def test_a_rename_that_fails_brings_the_old_folder_back(own, tmp_path, monkeypatch):
    folder = prepare_dataset(own("a.csv", table(60), target="label"), tmp_path)
    before, rename = contents(folder), Path.rename

    def refuse_new(path: Path, target: Path) -> Path:
        if target == folder and not path.name.endswith(".old"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(UserError, match="Input/output error"):
        prepare_dataset(own("a.csv", table(90), target="label"), tmp_path)
    assert contents(folder) == before


def test_a_quicker_process_wins_without_harm(own, tmp_path, monkeypatch):
    dataset = own("a.csv", table(), target="label")
    write = Card.write

    def overtaken(card: Card, folder: Path) -> None:
        write(card, folder)
        if not (tmp_path / "prepared" / "mine").exists():
            other = tmp_path / "prepared" / "mine"
            other.mkdir()
            for name, content in contents(folder).items():
                (other / name).write_bytes(content)

    real_exists = Path.exists
    monkeypatch.setattr(Card, "write", overtaken)
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "mine" and real_exists(path))
    folder = prepare_dataset(dataset, tmp_path)
    monkeypatch.undo()
    load(folder)
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["mine"]


def npz(**values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **values)
    return file.getvalue()


NAN = np.ones((30, 2))
NAN[7, 1] = np.nan
LABELS = np.arange(30) % 2


@pytest.mark.parametrize(
    ("content", "entry", "message"),
    [
        (table(classes=1), {}, "mine: the target has only one class ('a'); it needs two or more"),
        (table(8), {}, "mine: class 'c' has 2 row(s); each of the 3 classes needs at least 3"),
        (table(2, 2), {"target": "z", "task": "regression"}, "mine: 2 row(s) are too few to split"),
        (table(), {"validation": 50, "test": 10}, "mine: 60 row(s) are too few to split: validation takes 50 and"),
        (table(), {"target": "z"}, "mine: the target of row 2 is 0.25, which is not a class; use `task: regression`"),
        (table(), {"task": "regression"}, "mine: the target is text, but regression needs numbers"),
        (
            table(),
            {"classes": ["a", "b"]},
            "mine: `classes` names 2, but the target holds 3 different labels (a, b, c)",
        ),
        ("label\na\nb\n" * 5, {}, "mine: no input columns are left"),
        ("x,label\n" + "1e200,a\n-1e200,b\n" * 5, {}, "mine: the values of input 0 are too large"),
        (npz(X=NAN, y=LABELS), {}, "mine: inputs, row 8, position (1,) is nan; every value must be a finite number"),
        (npz(X=np.ones((30, 2)), y=LABELS[:9]), {}, "mine: 30 rows of inputs but 9 targets"),
        (npz(X=np.ones((0, 2)), y=LABELS[:0]), {}, "mine: the data is empty (no rows)"),
        (npz(X=np.ones((30, 0)), y=LABELS), {}, "mine: its inputs are empty, shape (30, 0)"),
        (npz(X=np.ones((30, 2)), y=np.ones((30, 2))), {}, "mine: classification needs one label a row"),
        (npz(X=np.ones((30, 2)), y=LABELS / np.nan), {}, "mine: target, row 1 is nan"),
        (npz(X=np.ones((30, 2)), y=np.array(1)), {}, "mine: the target is a single value"),
        (npz(X=np.ones((30, 2)), y=LABELS.astype("M8[D]")), {}, "mine: the target is of type datetime64[D]; classes"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value)")
def test_bad_data_is_one_line_and_leaves_nothing(own, tmp_path, content, entry, message):
    table_like = isinstance(content, str)
    dataset = own("a.csv" if table_like else "a.npz", content, **({"target": "label"} if table_like else {}) | entry)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        prepare_dataset(dataset, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    ("entry", "rows", "message"),
    [
        ({"drop": []}, 40, "column 'when' is text, but a series needs numbers; list it under drop: [when]"),
        ({}, 20, "20 rows are too few for train 20, validation 8 and test 8 rows with windows of 4 + 2"),
        ({"validation": 1}, 40, "40 rows are too few"),
    ],
)
def test_a_bad_series_is_one_line(own, tmp_path, entry, rows, message):
    full = {"drop": ["when"], "past": 4, "ahead": 2, "train": 20, "validation": 8, "test": 8, "task": "regression"}
    with pytest.raises(UserError, match=re.escape(message)):
        prepare_dataset(own("a.csv", series(rows), **full | entry), tmp_path)


def test_a_strange_class_in_the_test_file_is_named(own, tmp_path):
    (tmp_path / "test.csv").write_text("x,z,kind,label\n1,2,common,d\n")
    with pytest.raises(UserError, match="the test data has the class 'd', which the training data lacks; it has a, b"):
        prepare_dataset(own("a.csv", table(), target="label", test_file="test.csv"), tmp_path)


def test_a_file_that_is_not_there_is_named(own, tmp_path):
    dataset = own("a.csv", table(), target="label")
    (tmp_path / "a.csv").unlink()
    with pytest.raises(UserError, match=r"there is no file .*a\.csv"):
        prepare_dataset(dataset, tmp_path)


def test_an_own_file_with_another_checksum_is_refused(own, tmp_path):
    with pytest.raises(UserError, match="the entry says " + "0" * 64):
        prepare_dataset(own("a.csv", table(), target="label", sha256="0" * 64), tmp_path)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """The superuser may write anywhere, so become somebody else for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def locked(own: Callable[..., Dataset], tmp_path: Path) -> Dataset:
    dataset = own("a.csv", table(), target="label")
    root = tmp_path / "root"
    root.mkdir(mode=0o555)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    return dataset


def test_a_folder_without_write_permission_is_one_line(locked, tmp_path, unprivileged):
    with pytest.raises(UserError, match=r"Permission denied; the data folder .*root needs write permission") as error:
        prepare_dataset(locked, tmp_path / "root")
    assert "\n" not in str(error.value)


def test_a_data_folder_that_is_a_file_is_one_line(own, tmp_path):
    with pytest.raises(UserError, match="Not a directory"):
        prepare_dataset(own("a.csv", table(), target="label"), tmp_path / "a.csv")


def test_a_set_by_address_is_downloaded_once_and_prepared(server, tmp_path):
    content = table().encode()
    server.files["far.csv"] = content
    file = File("far.csv", server.url + "far.csv", hashlib.sha256(content).hexdigest(), len(content))
    dataset = Dataset("far", "classification", "csv", (file,), "none", target=("label",))
    folder = prepare_dataset(dataset, tmp_path)
    assert (tmp_path / "raw" / "far" / "far.csv").read_bytes() == content
    prepare_dataset(dataset, tmp_path)
    assert len(server.asked) == 1
    assert json.loads((folder / "card.json").read_text())["source"] == {"far.csv": file.sha256}


@pytest.mark.parametrize(("name", "shape"), [("inputs", (9, 3)), ("targets", (9, 2))])
def test_a_test_split_of_another_shape_is_refused(own, tmp_path, name, shape):
    values = {"X": np.ones((30, 2)), "y": np.ones((30, 1)), "inputs": np.ones((9, 2)), "targets": np.ones((9, 1))}
    dataset = own(
        "a.npz",
        npz(**values | {name: np.ones(shape)}),
        task="regression",
        test_inputs="inputs",
        test_target="targets",
    )
    with pytest.raises(UserError, match=f"one of the test {name} {re.escape(str(shape[1:]))}; they must be the same"):
        prepare_dataset(dataset, tmp_path)


def test_labels_of_bytes_become_text(own, tmp_path):
    folder = prepare_dataset(own("a.npz", npz(X=np.ones((30, 2)), y=np.array([b"no", b"yes"] * 15))), tmp_path)
    assert Card.read(folder).classes == ("no", "yes")


def test_sums_do_not_depend_on_the_block(monkeypatch):
    values = np.random.RandomState(0).lognormal(0, 9, (1000, 2))
    whole = statistics("mine", values)
    monkeypatch.setattr("orchestrator.data.arrays.BLOCK", 7)
    assert statistics("mine", values) == whole
    assert np.allclose(whole["mean"], values.mean(0)) and np.allclose(whole["scale"], values.std(0))
