"""Rows of which some are anomalies: tables, and windows of series with labelled stretches."""

import io
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data import CATALOG, Dataset, File
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare
from orchestrator.errors import UserError

ENTRY = {"task": "anomaly_detection"}
SPLITS = ("train", "validation", "test")


def npz(labels: np.ndarray, inputs: np.ndarray | None = None) -> bytes:
    """Rows that have their own number first; anomalies are far out."""
    if inputs is None:
        numbers = np.arange(len(labels))
        inputs = np.column_stack([numbers, np.random.RandomState(0).randn(len(labels)) + 100 * labels])
    file = io.BytesIO()
    np.savez(file, X=inputs, y=labels)
    return file.getvalue()


def labels(rows: int = 200) -> np.ndarray:
    return (np.arange(rows) % 10 == 3).astype(np.int64)


def numbers(data, split: str) -> list[int]:
    mean, scale = (data.card.normalization[key][0] for key in ("mean", "scale"))
    return (getattr(data, split).inputs[:, 0].double() * scale + mean).round().int().tolist()


def test_no_anomaly_is_trained_on_and_no_row_is_lost(own, tmp_path):
    data = load(prepare(own("a.npz", npz(labels()), **ENTRY, validation=0.1, test=0.5), tmp_path))
    card = data.card
    assert (card.task, card.input_shape, card.outputs) == ("anomaly_detection", (2,), 2)
    assert card.classes == ("normal", "anomaly")
    assert data.train.targets.sum() == 0
    # Half of the 20 anomalies are in the test split, all others in validation.
    assert card.sizes == {"train": 72, "validation": 28, "test": 100}
    assert (data.validation.targets.sum(), data.test.targets.sum()) == (10, 10)
    found = {split: numbers(data, split) for split in SPLITS}
    assert sorted(number for rows in found.values() for number in rows) == list(range(200))
    for split in SPLITS:
        assert getattr(data, split).targets.tolist() == labels()[found[split]].tolist()


def test_what_anomalies_look_like_moves_no_statistic(own, tmp_path):
    """The mistake that would be easiest to make: means and deviations of all rows that are not in the test split."""
    content = npz(labels())
    mine = own("a.npz", content, **ENTRY)
    one = load(prepare(mine, tmp_path / "one"))
    made = np.load(io.BytesIO(content))
    further = made["X"] + 1e6 * np.outer(labels(), [0, 1])
    other = load(prepare(own("a.npz", npz(labels(), further), **ENTRY), tmp_path / "other"))
    assert one.card.normalization == other.card.normalization
    assert (one.train.inputs == other.train.inputs).all()
    assert abs(one.train.inputs.mean(0)).max() < 1e-6


def test_a_users_table_with_words_and_flags(own, tmp_path):
    lines = [f"{n % 7},{'ab'[n % 2]},{str(n % 10 == 3).lower()}" for n in range(100)]
    data = load(prepare(own("a.csv", "x,kind,odd\n" + "\n".join(lines), **ENTRY, target="odd"), tmp_path))
    assert data.card.features == ("x", "kind=a", "kind=b") and data.card.outputs == 3
    assert data.train.targets.sum() == 0 < data.test.targets.sum()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npz(labels() + 1), "is 0 for a normal row and 1 for an anomaly, and there are both; it holds 1, 2"),
        (npz(labels() * 0), "and there are both; it holds 0"),
        (npz(np.array(["no", "yes"] * 50), np.ones((100, 2))), "and there are both; it holds no, yes"),
        (npz(np.arange(100) // 98), "class 'anomaly' has 2 row(s)"),
    ],
)
def test_labels_that_say_something_else_are_one_line(own, tmp_path, content, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        prepare(own("a.npz", content, **ENTRY), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "prepared").exists()


def test_images_are_no_rows(own, tmp_path):
    with pytest.raises(UserError, match=r"takes rows of numbers; one sample is \(1, 4, 4\)"):
        prepare(own("a.npz", npz(labels(), np.ones((200, 4, 4))), **ENTRY, axes="nhw"), tmp_path)


# ---- series ---------------------------------------------------------------------------------------------------


def series(folder: Path, stretches: dict[str, list[list[int]]], points: int = 400, value: str = "{n}") -> Dataset:
    """Two series that count the minutes, one from 0 on, one from 10,000; `stretches` in minutes by the series' name."""
    files, own = [], {}
    for name, start in (("data/room/one.csv", 0), ("data/room/two.csv", 10_000)):
        lines = [f"{at(n)},{value.format(n=start + n)}" for n in range(points)]
        own[name] = folder / Path(name).name
        own[name].write_text("timestamp,value\n" + "\n".join(lines) + "\n")
        files.append(File(name, "", ""))
    own["labels.json"] = folder / "labels.json"
    times = {name: [[f"{at(end)}.000000" for end in stretch] for stretch in two] for name, two in stretches.items()}
    own["labels.json"].write_text(json.dumps(times))
    files.append(File("labels.json", "", ""))
    shares = {"validation": 0.15, "test": 0.45}
    return Dataset("mine", "anomaly_detection", "labelled_series", tuple(files), "none", own, length=10, **shares)


def at(minute: int) -> str:
    return str(datetime(2014, 1, 1) + timedelta(minutes=minute))


STRETCHES = {"room/one.csv": [[50, 59], [300, 309]], "room/two.csv": [[200, 209], [390, 399]], "room/other.csv": []}


def minutes(data, split: str) -> np.ndarray:
    """The points of each window of the first series."""
    mean, scale = (np.array(data.card.normalization[key]) for key in ("mean", "scale"))
    values = getattr(data, split).inputs.double().numpy() * scale + mean
    # The first series is standardized by its normal points before minute 160.
    known = np.setdiff1d(np.arange(160), np.arange(50, 60))
    return (values * known.std() + known.mean()).round(2)


def test_windows_are_cut_in_time_and_share_no_point(tmp_path):
    data = load(prepare(series(tmp_path, STRETCHES), tmp_path))
    assert data.card.input_shape == (10,)
    seen = {}
    for split, (first, last) in {"train": (0, 160), "validation": (160, 220), "test": (220, 400)}.items():
        windows = minutes(data, split)
        # Another deviation makes minutes of another length of those of the second series.
        one = windows[(np.diff(windows, axis=1).round(2) == 1).all(1)]
        assert len(one) >= 10 and one.min() >= first and one.max() < last
        seen[split] = set(one.ravel().tolist())
    assert not seen["train"] & seen["validation"] and not seen["validation"] & seen["test"]
    # A window every five minutes, but for those across a cut and the anomalies of the first part.
    starts = range(0, 391, 5)
    kept = [n for n in starts if n + 10 <= 160 and not n <= 59 < 50 <= n + 9 and (n > 59 or n + 9 < 50)]
    assert data.card.sizes["train"] == len(kept) + sum(n + 10 <= 160 for n in starts)
    assert data.card.sizes["test"] == 2 * sum(n >= 220 for n in starts)


def test_a_window_is_an_anomaly_if_one_of_its_points_is(tmp_path):
    data = load(prepare(series(tmp_path, STRETCHES), tmp_path))
    assert data.train.targets.sum() == 0
    windows = minutes(data, "test")
    half = len(windows) // 2
    inside = ((windows[:half] >= 300) & (windows[:half] <= 309)).any(1)
    assert data.test.targets[:half].tolist() == inside.astype(int).tolist() and 2 <= inside.sum() <= 4
    # Of the second series the last ten minutes; its first stretch is in validation, where the first series has none.
    assert data.test.targets[half:].sum() == 2 and data.validation.targets.sum() == 3


def test_a_series_is_standardized_by_its_own_normal_past(tmp_path):
    """What comes later, and what is an anomaly, moves nothing."""
    one = load(prepare(series(tmp_path, STRETCHES), tmp_path))
    text = (tmp_path / "one.csv").read_text().splitlines()
    for n in (*range(50, 60), *range(170, 400)):
        text[1 + n] = f"{at(n)},{10 * n}"
    changed = series(tmp_path, STRETCHES)
    (tmp_path / "one.csv").write_text("\n".join(text) + "\n")
    other = load(prepare(changed, tmp_path))
    assert other.card.fingerprint != one.card.fingerprint
    assert other.card.normalization == one.card.normalization
    assert (other.train.inputs == one.train.inputs).all()


@pytest.mark.parametrize(
    ("stretches", "change", "message"),
    [
        ({"room/one.csv": []}, {}, r"labels\.json: says nothing about room/two\.csv"),
        (STRETCHES, {"points": 30}, "a series of 30 points is too short for windows of 10"),
        (STRETCHES, {"value": "high"}, r"one\.csv: a time, a value or a labelled stretch of it is none"),
        (STRETCHES, {"value": "nan"}, r"mine: data/room/one\.csv, row 1 is nan; every value"),
    ],
)
def test_a_bad_labelled_series_is_one_line(tmp_path, stretches, change, message):
    with pytest.raises(UserError, match=message) as error:
        prepare(series(tmp_path, stretches, **change), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("content", ["[]", "no json"])
def test_labels_that_name_no_series_are_one_line(tmp_path, content):
    dataset = series(tmp_path, STRETCHES)
    (tmp_path / "labels.json").write_text(content)
    with pytest.raises(UserError, match=r"labels\.json: (not JSON|names no series)"):
        prepare(dataset, tmp_path)


def test_the_tables_share_a_folder_of_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_DATA_MIRROR", str(tmp_path))
    (tmp_path / "adbench").mkdir()
    (tmp_path / "adbench" / "6_cardio.npz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"adbench/6_cardio\.npz: wrong checksum"):
        prepare(CATALOG["adbench_cardio"], tmp_path / "data")
