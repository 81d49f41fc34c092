import gzip
import io
import re
import struct
from pathlib import Path

import numpy as np
import pandas
import pytest

from orchestrator.data import CATALOG, Dataset, File
from orchestrator.data.formats import READERS
from orchestrator.errors import UserError


def read(dataset: Dataset):
    return READERS[dataset.reader](dataset, dataset.own)


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def parquet(frame: pandas.DataFrame) -> bytes:
    return frame.to_parquet(index=False)


def idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(head + values.tobytes(), mtime=0)


IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def idx_dataset(folder: Path, **replaced: bytes) -> Dataset:
    contents = {"a": idx(IMAGES), "b": idx(LABELS), "c": idx(IMAGES[:3]), "d": idx(LABELS[:3])} | replaced
    own = {}
    for name, content in contents.items():
        own[name] = folder / name
        own[name].write_bytes(content)
    return Dataset("pictures", "classification", "idx", tuple(File(name, "", "") for name in own), "none", own)


def test_idx_keeps_bytes_and_gives_images_a_channel(tmp_path):
    raw = read(idx_dataset(tmp_path))
    assert raw.inputs.dtype == np.uint8 and np.array_equal(raw.inputs, IMAGES[:, np.newaxis])
    assert np.array_equal(raw.targets, LABELS)
    assert np.array_equal(raw.test.inputs, IMAGES[:3, np.newaxis])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(IMAGES)[:-20], "a damaged or truncated gzip file"),
        (idx(IMAGES)[:4], "a damaged or truncated gzip file"),
        (b"", "the file is empty, a gzipped IDX file was expected"),
        (b"x,y\n1,2\n", "is not a gzipped IDX file but text"),
        (gzip.compress(b"x,y\n1,2\n", mtime=0), "not an IDX file of bytes"),
        (
            gzip.compress(gzip.decompress(idx(IMAGES))[:-7], mtime=0),
            "says it holds (6, 4, 5) values, but has 113 bytes",
        ),
        (
            gzip.compress(gzip.decompress(idx(IMAGES)) + b"more", mtime=0),
            "says it holds (6, 4, 5) values, but has 121 bytes",
        ),
    ],
)
def test_a_bad_idx_file_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read(idx_dataset(tmp_path, a=content))


def test_npz_reads_the_arrays_of_adbench(own):
    raw = read(own("a.npz", npz(X=np.ones((4, 3)), y=np.array([0, 1, 0, 1]))))
    assert raw.inputs.shape == (4, 3) and raw.targets.tolist() == [0, 1, 0, 1]
    assert CATALOG["magic_gamma"].inputs == "X" and CATALOG["magic_gamma"].target == ("y",)


def test_npz_reads_named_arrays_and_their_test_split(own):
    content = npz(x_train=np.ones((4, 3)), y_train=np.arange(4), x_test=np.zeros((2, 3)), y_test=np.arange(2))
    names = {"inputs": "x_train", "target": "y_train", "test_inputs": "x_test", "test_target": "y_test"}
    raw = read(own("a.npz", content, **names))
    assert raw.inputs.shape == (4, 3) and raw.test.inputs.shape == (2, 3) and raw.test.targets.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("nf", (5, 3), (5, 3)),
        ("ntf", (5, 7, 2), (5, 7, 2)),
        ("nhw", (5, 8, 9), (5, 1, 8, 9)),
        ("nhwc", (5, 8, 9, 3), (5, 3, 8, 9)),
        ("nchw", (5, 3, 8, 9), (5, 3, 8, 9)),
    ],
)
def test_axes_come_out_as_models_take_them(own, axes, shape, expected):
    assert read(own("a.npz", npz(X=np.zeros(shape), y=np.arange(5)), axes=axes)).inputs.shape == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x,y\n1,2\n", "is not an NPZ file but text; correct the file, or name its true format with `format`"),
        (b"\x80\x04\x95pickled", "is not an NPZ file but a Python pickle"),
        (b"PAR1....", "is not an NPZ file but a Parquet file"),
        (npz(X=np.ones((400, 3)), y=np.arange(400))[:-300], "a damaged or truncated NPZ file"),
        (npz(X=np.array([{"a": 1}, None], object), y=np.arange(2)), "holds pickled Python objects, which are never"),
        (npz(x=np.ones((4, 3)), y=np.arange(4)), "has no array 'X'; it has x, y"),
        (npz(X=np.ones((4, 3)), yy=np.arange(4)), "has no array 'y', did you mean 'yy'?; it has X, yy"),
        (npz(X=np.ones((4, 3, 2)), y=np.arange(4)), "for 3 axes it is ntf or nhw (n samples,"),
        (npz(X=np.array([["a"], ["b"]]), y=np.arange(2)), "the inputs are of type <U1; numbers are needed"),
    ],
)
def test_a_bad_npz_file_is_refused(own, content, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read(own("a.npz", content))
    assert "\n" not in str(error.value)


TABLE = "age,job,member,label\n30,cook,True,yes\n40.5,nurse,False,no\n50,cook,True,yes\n"


def test_csv_gives_numbers_and_text_by_column(own):
    raw = read(own("a.csv", TABLE, target="label"))
    assert list(raw.inputs) == ["age", "job", "member"]
    assert raw.inputs["age"].tolist() == [30, 40.5, 50] and raw.inputs["member"].tolist() == [1, 0, 1]
    assert raw.inputs["job"].tolist() == ["cook", "nurse", "cook"]
    assert raw.targets.tolist() == ["yes", "no", "yes"]


def test_csv_numbers_are_read_to_the_last_bit(own):
    number = "0.1234567890123456789e-5"
    raw = read(own("a.csv", f"x,label\n{number},a\n", target="label"))
    assert raw.inputs["x"][0] == float(number)


@pytest.mark.parametrize(
    ("name", "content", "entry"),
    [
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0), {}),
        ("a.tsv", TABLE.replace(",", "\t"), {}),
        ("a.csv", TABLE.replace(",", ";"), {"separator": ";"}),
        ("a.csv", "\ufeff" + TABLE, {}),
        ("a.txt", TABLE, {"format": "csv"}),
        ("a.parquet", parquet(pandas.read_csv(io.StringIO(TABLE))), {}),
        ("a.parquet", parquet(pandas.read_csv(io.StringIO(TABLE)).astype({"job": "category"})), {}),
    ],
)
def test_a_table_is_the_same_in_each_dress(own, name, content, entry):
    raw = read(own(name, content, target="label", **entry))
    assert list(raw.inputs) == ["age", "job", "member"]
    assert raw.inputs["job"].tolist() == ["cook", "nurse", "cook"] and raw.targets.tolist() == ["yes", "no", "yes"]


def test_a_second_table_is_the_test_split_whatever_the_order_of_its_columns(own, tmp_path):
    (tmp_path / "b.csv").write_text("label,member,job,age\nno,False,cook,60\n")
    raw = read(own("a.csv", TABLE, target="label", test_file="b.csv"))
    assert list(raw.test.inputs) == list(raw.inputs) and raw.test.inputs["age"].tolist() == [60]


def test_a_test_table_that_lacks_a_column_is_refused(own, tmp_path):
    (tmp_path / "b.csv").write_text("label,member,age\nno,False,60\n")
    with pytest.raises(UserError, match=r"b\.csv: has no column 'job' \(named by the training file\)"):
        read(own("a.csv", TABLE, target="label", test_file="b.csv"))


def test_several_numbers_can_be_the_target(own):
    raw = read(own("a.csv", "x,a,b\n1,2,3\n4,5,6\n", target=["a", "b"], task="regression"))
    assert raw.targets.tolist() == [[2, 3], [5, 6]]


def test_rows_with_empty_cells_can_be_dropped(own):
    raw = read(own("a.csv", "x,label\n1,a\n,b\n3,c\n", target="label", missing="drop"))
    assert raw.inputs["x"].tolist() == [1, 3] and raw.dropped_rows == 1


def test_a_row_of_a_test_table_is_kept_whatever_its_cells_in_columns_that_are_not_used(own, tmp_path):
    (tmp_path / "b.csv").write_text("label,note,x,day\na,,1,\nb,seen,,1\n,seen,3,1\nb,,4,2\n")
    raw = read(own("a.csv", "x,day,label\n1,,a\n,2,b\n3,3,c\n", target="label", missing="drop", test_file="b.csv"))
    assert raw.inputs["x"].tolist() == [3] and raw.test.inputs["x"].tolist() == [4] and raw.dropped_rows == 5
    entry = {"target": "label", "missing": "drop", "drop": ["day"], "test_file": "b.csv"}
    raw = read(own("a.csv", "x,day,label\n1,,a\n,2,b\n3,3,c\n", **entry))
    assert raw.inputs["x"].tolist() == [1, 3] and raw.test.inputs["x"].tolist() == [1, 4]
    assert raw.test.targets.tolist() == ["a", "b"] and raw.dropped_rows == 1 + 2


DATES = parquet(pandas.DataFrame({"when": pandas.to_datetime(["2020-01-01"] * 2), "label": ["a", "b"]}))
NAMES = "\n".join(f"person {n},{n % 2}" for n in range(50))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "the file is empty, a CSV file was expected"),
        ("a.csv", "\n\n", "is empty"),
        ("a.csv", "x,label\n", "is empty (a header and no rows)"),
        ("a.csv", "x,lable\n1,a\n", "has no column 'label' (named by target), did you mean 'lable'?; it has x, lable"),
        ("a.csv", "x,label\n1,a\n,b\n", "column 'x', row 2 is empty or NaN (1 such rows); fill it, drop the column"),
        ("a.csv", "x,label\n1,a\n2,\n", "column 'label', row 2 is empty or NaN"),
        ("a.csv", "x,label\n1,a\ninf,b\n", "column 'x', row 2 is inf; every value must be a finite number"),
        ("a.csv", "x,label\n1,a\n2,b\n3?,a\n", "column 'x', row 3 is '3?' in a column of numbers"),
        ("a.csv", "x,label\n1,a\n1,2,3,b\n", "cannot be read as CSV (Error tokenizing data"),
        ("a.csv", "x,label\n1,a,9\n1,b,9\n", "its rows have more cells than its header has names"),
        ("a.csv", "name,label\n" + NAMES, "is text with 50 different values in 50 rows, too many to be categories"),
        ("a.csv", npz(X=np.ones(3)), "is not a CSV file but a ZIP archive"),
        ("a.csv", gzip.compress(TABLE.encode(), mtime=0), "is not a CSV file but a gzip file"),
        ("a.csv.gz", TABLE, "is not a CSV file but text"),
        ("a.csv.gz", gzip.compress(TABLE.encode(), mtime=0)[:-12], "cannot be read as CSV"),
        ("a.csv", "<html><body>404", "is not a CSV file but a web page or XML"),
        ("a.csv", "x,label\n1,caf\xe9\n".encode("latin-1"), "cannot be read as CSV ('utf-8' codec"),
        ("a.csv", b"x\x00\x01\x02", "is not a CSV file but a binary file of another kind"),
        ("a.parquet", TABLE, "is not a Parquet file but text"),
        ("a.parquet", b"PAR1" + b"x" * 50, "a damaged or unreadable Parquet file"),
        ("a.parquet", DATES, "column 'when' holds datetime64 values; numbers, text and yes/no are understood"),
    ],
)
def test_a_bad_table_is_one_line_that_names_the_place(own, name, content, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read(own(name, content, target="label"))
    assert "\n" not in str(error.value) and name in str(error.value)


def test_a_dropped_column_must_exist(own):
    with pytest.raises(UserError, match=r"has no column 'ag' \(named by drop\), did you mean 'age'\?"):
        read(own("a.csv", TABLE, target="label", drop=["ag"]))


def test_other_data_under_a_shipped_name_is_refused():
    file = File("load_wine", "sklearn:load_wine", "0" * 64)
    with pytest.raises(UserError, match="ships other data"):
        READERS["sklearn"](Dataset("wine", "classification", "sklearn", (file,), ""), {})
