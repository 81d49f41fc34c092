import re
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.data import CATALOG
from orchestrator.data.card import Card
from orchestrator.data.load import BLOCK, load
from orchestrator.data.prepare import prepare
from orchestrator.errors import UserError
from orchestrator.windows import Windows


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(CATALOG["digits"], tmp_path_factory.mktemp("data"))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    return prepare(CATALOG["wine"], tmp_path)


def test_classification_gives_float_inputs_and_integer_targets(digits):
    data = load(digits)
    assert data.train.inputs.dtype == torch.float32 and data.train.inputs.shape == (1079, 1, 8, 8)
    assert data.train.targets.dtype == torch.int64 and data.train.targets.shape == (1079,)
    assert len(data.validation) == 359 and len(data.test) == 359


def test_inputs_are_the_stored_ones_normalized_as_the_card_says(digits):
    data, stored = load(digits), np.load(digits / "test_inputs.npy")
    mean, scale = (data.card.normalization[key][0] for key in ("mean", "scale"))
    assert np.allclose(data.test.inputs.numpy(), (stored - mean) / scale, atol=1e-6)


def test_regression_targets_are_standardized_columns(tmp_path):
    data = load(prepare(CATALOG["diabetes"], tmp_path))
    assert data.train.targets.shape == (266, 1) and data.train.targets.dtype == torch.float32
    assert abs(data.train.targets.mean()) < 1e-5 and abs(data.train.targets.std(correction=0) - 1) < 1e-5
    stored = np.load(tmp_path / "prepared" / "diabetes" / "test_targets.npy")
    mean, scale = (data.card.normalization[key][0] for key in ("target_mean", "target_scale"))
    assert np.allclose(data.test.targets * scale + mean, stored, atol=1e-3)


def test_fractions_are_nested_and_stratified(digits):
    whole, half, tenth = load(digits), load(digits, 0.5), load(digits, 0.1)
    assert len(half.train) == 540 and len(tenth.train) == 108
    assert torch.equal(half.train.inputs, whole.train.inputs[:540])
    assert torch.equal(tenth.train.inputs, whole.train.inputs[:108])
    assert torch.bincount(tenth.train.targets).min() >= 9
    assert len(tenth.validation) == 359 and len(tenth.test) == 359


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused(digits, fraction):
    with pytest.raises(UserError, match=r"data fraction .* is not in \(0, 1\]"):
        load(digits, fraction)


def test_a_fraction_with_fewer_rows_than_classes_is_refused(digits):
    with pytest.raises(UserError, match=r"0\.005 leaves 5 of 1079 training rows; at least 10 are needed"):
        load(digits, 0.005)


def windows(own, tmp_path: Path) -> Path:
    rows = "".join(f"{n},{-n * 0.5}\n" for n in range(40))
    entry = {"past": 4, "ahead": 2, "train": 20, "validation": 8, "test": 8, "task": "regression"}
    return prepare(own("a.csv", "a,b\n" + rows, **entry), tmp_path)


def test_windows_are_the_past_and_what_follows_it(own, tmp_path):
    data = load(windows(own, tmp_path))
    raw = np.array([[n, -n * 0.5] for n in range(40)])
    scaling = data.card.normalization
    series = (raw - scaling["mean"]) / scaling["scale"]
    assert data.train.inputs.shape == (15, 4, 2) and data.train.targets.shape == (15, 4)
    assert isinstance(data.card.input_shape, Windows) and data.card.input_shape == (4, 2)
    for split, first in ((data.train, 0), (data.validation, 16), (data.test, 24)):
        for n in range(len(split)):
            start = first + n
            assert np.allclose(split.inputs[n], series[start : start + 4], atol=1e-6)
            assert np.allclose(split.targets[n], series[start + 4 : start + 6].ravel(), atol=1e-6)


def test_a_fraction_of_a_series_is_its_latest_stretch(own, tmp_path):
    folder = windows(own, tmp_path)
    whole, part = load(folder), load(folder, 0.4)
    assert len(part.train) == 6
    assert torch.equal(part.train.inputs, whole.train.inputs[-6:])
    assert torch.equal(part.train.targets, whole.train.targets[-6:])


def test_windows_share_the_memory_of_their_series(own, tmp_path):
    data = load(windows(own, tmp_path))
    assert data.train.inputs.untyped_storage().nbytes() == 20 * 2 * 4
    assert data.train.inputs.untyped_storage().data_ptr() == data.train.targets.untyped_storage().data_ptr()


def test_large_arrays_are_normalized_in_blocks(own, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.data.load.BLOCK", 7)
    assert BLOCK != 7
    folder = prepare(CATALOG["wine"], tmp_path)
    small = load(folder).train.inputs
    monkeypatch.undo()
    assert torch.equal(small, load(folder).train.inputs)


def test_large_offsets_do_not_cost_precision(own, tmp_path):
    rows = "".join(f"{10**9 + n},{'ab'[n % 2]}\n" for n in range(30))
    data = load(prepare(own("a.csv", "x,label\n" + rows, target="label"), tmp_path))
    assert len(torch.unique(data.train.inputs)) == len(data.train)


def test_nothing_prepared_names_the_command(tmp_path):
    with pytest.raises(UserError, match=r"no prepared data here \(no card.json\).*`orchestrate data prepare wine`"):
        load(tmp_path / "wine")


def save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("train_inputs.npy", lambda path: path.unlink(), "not the array it should be"),
        ("train_inputs.npy", lambda path: path.write_bytes(b""), "not the array it should be"),
        ("train_inputs.npy", lambda path: path.write_bytes(path.read_bytes()[:-80]), "not the array it should be"),
        ("test_inputs.npy", lambda path: save(path, np.array([{}] * 36, object)), "not the array it should be"),
        (
            "test_inputs.npy",
            lambda path: save(path, np.zeros((36, 12))),
            "holds float64 (36, 12), the card says (36, 13)",
        ),
        ("test_targets.npy", lambda path: save(path, np.zeros(36)), "holds float64 (36,), the card says"),
        ("card.json", lambda path: path.write_text("{"), "not a card, Expecting property name"),
        ("card.json", lambda path: path.write_text('{"name": "wine"}'), "not a card of this version"),
        ("card.json", lambda path: path.write_text("[]"), "not a card of this version"),
    ],
)
def test_a_spoilt_folder_is_refused(broken, name, spoil, message):
    spoil(broken / name)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load(broken)
    assert name in str(error.value) and "delete the folder and prepare it again" in str(error.value)


def test_a_card_reads_back_as_written(broken, tmp_path):
    card = Card.read(broken)
    card.write(tmp_path)
    assert Card.read(tmp_path) == card
    assert (tmp_path / "card.json").read_bytes() == (broken / "card.json").read_bytes()
