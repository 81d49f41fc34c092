"""Readers: files as their publishers serve them -> plain arrays. Nothing here unpickles."""

import gzip
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.corpora import read_characters, read_pairs, read_pronunciations, read_texts
from orchestrator.data.dataset import Dataset, nearest
from orchestrator.data.molecules import read_molecules
from orchestrator.data.raw import Raw, RawGraphs, Text
from orchestrator.data.series import read_labelled_series
from orchestrator.data.sound import read_spoken_digits
from orchestrator.data.tables import raw_table
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import pandas

# What the letters of a dataset's `axes` say of an NPZ's inputs, and how to order the axes as models take
# them: tables [n, features], sequences [n, time, features], images [n, channels, height, width].
AXES: dict[str, tuple[int, ...]] = {
    "nf": (0, 1),
    "ntf": (0, 1, 2),
    "nhw": (0, 1, 2),
    "nhwc": (0, 3, 1, 2),
    "nchw": (0, 1, 2, 3),
}

# First bytes of files, to say what a file is that is not what its name says.
SIGNATURES = {
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a ZIP archive (such as NPZ or a spreadsheet)",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a single NumPy array (.npy)",
    b"\x80": "a Python pickle",
    b"\x89PNG": "a PNG image",
    b"\x89HDF": "an HDF5 file",
    b"SQLite": "an SQLite database",
    b"<": "a web page or XML",
}


def read_sklearn(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """A set shipped inside scikit-learn; UserError where its arrays are not the ones of the catalog."""
    from sklearn import __version__, datasets

    file = dataset.files[0]
    # diabetes comes scaled by statistics of all rows, the test rows included, unless told otherwise.
    options = {"scaled": False} if dataset.name == "diabetes" else {}
    bunch = getattr(datasets, file.name)(**options)
    inputs, features = bunch.data.astype("<f8"), tuple(str(name) for name in bunch.feature_names)
    if file.name == "load_digits":  # counts of 0..16 on an 8x8 grid
        inputs, features = bunch.images[:, np.newaxis].astype(np.uint8), ()
    targets = bunch.target.astype("<f8" if dataset.task == "regression" else "<i8")
    found = hashlib.sha256(np.ascontiguousarray(inputs).tobytes() + targets.tobytes()).hexdigest()
    if found != file.sha256:
        raise UserError(
            f"{dataset.name}: scikit-learn {__version__} ships other data (sha256 {found}) "
            f"than the catalog knows ({file.sha256})"
        )
    named = dataset.task != "regression"
    return Raw(inputs, targets, features, tuple(str(name) for name in bunch.target_names) if named else ())


def read_idx(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """Images and labels of train and test as gzipped IDX (the format of MNIST, described on its page).

    The data set's files come in this order: train images, train labels, test images, test labels.
    """
    arrays = [_idx(paths[file.name]) for file in dataset.files]
    train, test = ((arrays[at][:, np.newaxis], arrays[at + 1]) for at in (0, 2))
    return Raw(*train, test=Raw(*test))


def _idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: two zero bytes, type 0x08, number of axes, big-endian lengths, values."""
    _expect(path, b"\x1f\x8b", "a gzipped IDX file")
    try:
        with gzip.open(path) as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08":
                raise UserError(f"{path}: not an IDX file of bytes (it begins with {head!r})")
            shape = tuple(int(n) for n in np.frombuffer(file.read(4 * head[3]), ">u4"))
            values = file.read(math.prod(shape) + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: a damaged or truncated gzip file ({error})") from None
    if len(values) != math.prod(shape):
        raise UserError(f"{path}: says it holds {shape} values, but has {len(values)} bytes of them")
    return np.frombuffer(values, np.uint8).reshape(shape)


def read_npz(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """Arrays of an NPZ by name (default X and y), with test arrays where the data set names them."""
    path = paths[dataset.files[0].name]
    _expect(path, b"PK\x03\x04", "an NPZ file")
    target = dataset.target[0] if dataset.target else "y"
    train = _npz(dataset, path, dataset.inputs or "X", "" if dataset.past else target)
    if not dataset.test_inputs:
        return train
    return Raw(train.inputs, train.targets, test=_npz(dataset, path, dataset.test_inputs, dataset.test_target))


def read_tiles(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """Arrays of an NPZ by name, and beside them one called split, see `Raw`."""
    path = paths[dataset.files[0].name]
    raw = read_npz(dataset, paths)
    return replace(raw, split=_arrays(path, ["split"])["split"])


def _npz(dataset: Dataset, path: Path, inputs: str, target: str) -> Raw:
    arrays = _arrays(path, filter(None, (inputs, target)))
    return Raw(_oriented(dataset, path, arrays[inputs]), arrays.get(target))


def _arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    arrays = {}
    try:
        # allow_pickle=False: unpickling runs whatever code the file's author put there.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in names:
                if name not in archive.files:
                    held = ", ".join(archive.files)
                    raise UserError(f"{path}: has no array '{name}'{nearest(name, archive.files)}; it has {held}")
                arrays[name] = archive[name]
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        if "pickle" in str(error):
            raise UserError(
                f"{path}: holds pickled Python objects, which are never loaded (they could run code); "
                "save plain arrays of numbers or text"
            ) from None
        raise UserError(f"{path}: a damaged or truncated NPZ file ({error})") from None
    return arrays


def _oriented(dataset: Dataset, path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """The inputs with their axes in the order that models take."""
    if values.dtype.kind not in "fiub":
        raise UserError(f"{path}: the inputs are of type {values.dtype}; numbers are needed")
    axes = dataset.axes or ("nf" if values.ndim == 2 else "")
    valid = [name for name in AXES if len(name) == values.ndim]
    if axes not in valid:
        raise UserError(
            f"{path}: the inputs have shape {values.shape}, which `axes: {axes or '(not given)'}` does not describe; "
            f"for {values.ndim} axes it is {' or '.join(valid) or 'none of ' + ', '.join(AXES)} "
            "(n samples, f features, t time, h height, w width, c channels)"
        )
    values = values.transpose(AXES[axes])
    return values[:, np.newaxis] if axes == "nhw" else values


def read_citations(dataset: Dataset, paths: Mapping[str, Path]) -> RawGraphs:
    """One graph as an NPZ of sparse matrices: who cites whom, which words each paper has, and its class.

    The format of Shchur and others, "Pitfalls of graph neural network evaluation", 2018.
    """
    path = paths[dataset.files[0].name]
    _expect(path, b"PK\x03\x04", "an NPZ file")
    names = ("adj_indptr", "adj_indices", "attr_indptr", "attr_indices", "attr_shape", "labels", "class_names")
    arrays = _arrays(path, names)
    cited, words = (
        [part.tolist() for part in np.split(arrays[f"{kind}_indices"], arrays[f"{kind}_indptr"][1:-1])]
        for kind in ("adj", "attr")
    )
    links = [(paper, other) for paper, others in enumerate(cited) for other in others]
    codes = [[word + 1 for word in said] for said in words]
    classes = tuple(str(name) for name in arrays["class_names"])
    return RawGraphs([codes], [links], int(arrays["attr_shape"][1]) + 1, arrays["labels"], classes=classes)


def read_csv(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """A table with a header line; a second file is the test split. The first data line is row 1."""
    import pandas

    # The correctly rounded number, the same on every platform: the default from pandas 3.1 on, which warns if asked.
    modern = tuple(int(part) for part in pandas.__version__.split(".")[:2]) >= (3, 1)
    exact: dict[str, Any] = {} if modern else {"float_precision": "round_trip"}

    def read(path: Path) -> "pandas.DataFrame":
        _expect(path, None, "a CSV file")
        try:
            frame = pandas.read_csv(
                path,
                sep=dataset.separator,
                encoding="utf-8",
                **exact,
                low_memory=False,  # a column's type is decided on the whole of it
            )
        except pandas.errors.EmptyDataError:
            raise UserError(f"{dataset.name}: {path} is empty") from None
        except (ValueError, OSError, EOFError, zlib.error) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: cannot be read as CSV ({first})") from None
        if not isinstance(frame.index, pandas.RangeIndex):
            # pandas takes the surplus for row labels, which would shift every column by one.
            raise UserError(f"{path}: its rows have more cells than its header has names")
        return frame

    return _tables(dataset, paths, read)


def read_parquet(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """A table as Parquet; a second file is the test split."""
    import pandas

    def read(path: Path) -> "pandas.DataFrame":
        _expect(path, b"PAR1", "a Parquet file")
        try:
            return pandas.read_parquet(path, engine="pyarrow").reset_index(drop=True)
        except (ValueError, OSError, TypeError, NotImplementedError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{path}: a damaged or unreadable Parquet file ({first})") from None

    return _tables(dataset, paths, read)


def _tables(dataset: Dataset, paths: Mapping[str, Path], read: Callable[[Path], "pandas.DataFrame"]) -> Raw:
    found = [paths[file.name] for file in dataset.files]
    frames = [read(path) for path in found]
    train = raw_table(dataset, found[0], frames[0])
    if len(frames) == 1:
        return train
    test = raw_table(dataset, found[1], frames[1], like=train)
    return Raw(train.inputs, train.targets, dropped_rows=train.dropped_rows + test.dropped_rows, test=test)


def _expect(path: Path, signature: bytes | None, what: str) -> None:
    """Refuse a file whose first bytes are not those of its format (None: text, gzipped where its name says so)."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise UserError(f"{path}: the file is empty, {what} was expected")
    if signature is None and path.suffix == ".gz":
        signature = b"\x1f\x8b"
    if signature is not None and head.startswith(signature):
        return
    known = next((found for start, found in SIGNATURES.items() if head.startswith(start)), None)
    binary = b"\0" in head
    if signature is None and known is None and not binary:
        return
    is_what = known or ("a binary file of another kind" if binary else "text")
    raise UserError(f"{path}: is not {what} but {is_what}; correct the file, or name its true format with `format`")


READERS: dict[str, Callable[[Dataset, Mapping[str, Path]], Raw | RawGraphs | Text]] = {
    "sklearn": read_sklearn,
    "idx": read_idx,
    "npz": read_npz,
    "tiles": read_tiles,
    "csv": read_csv,
    "parquet": read_parquet,
    "texts": read_texts,
    "characters": read_characters,
    "pairs": read_pairs,
    "pronunciations": read_pronunciations,
    "spoken_digits": read_spoken_digits,
    "molecules": read_molecules,
    "citations": read_citations,
    "labelled_series": read_labelled_series,
}
