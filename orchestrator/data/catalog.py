"""What data there is: one literal table, and the description of a user's own file."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """One file as its publisher serves it. `url` "sklearn:NAME" is the function `sklearn.datasets.NAME`,
    whose sha256 is taken over the arrays that it returns; an empty url is a file of the user's own."""

    name: str
    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Dataset:
    """A data set: where it comes from and how its files become inputs and targets.

    `reader` is a key of `formats.READERS`. `validation` and `test` are shares of the rows (below 1) or row counts;
    `test` is not used where a test split is published or given. `past` and `ahead` (time steps) make it a
    forecasting set: the rows are one series in time order, a sample is a window of it, and the split is
    chronological, from the first row on, with `train` rows (default: what the other two leave).
    """

    name: str
    task: str
    reader: str
    files: tuple[File, ...]
    licence: str
    folder: Path | None = None  # of the user's own files
    target: tuple[str, ...] = ()  # columns, or the array of an NPZ
    inputs: str = ""  # the array of an NPZ
    test_inputs: str = ""
    test_target: str = ""
    axes: str = ""  # of the NPZ's inputs, see formats.AXES
    classes: tuple[str, ...] = ()  # names to show for the sorted labels
    drop: tuple[str, ...] = ()
    missing: str = "error"  # or "drop": rows with an empty cell
    separator: str = ","
    validation: float | int = 0.2
    test: float | int = 0.2
    train: int | None = None
    past: int = 0
    ahead: int = 0


def _sklearn(name: str, task: str, licence: str, sha256: str, size: int) -> Dataset:
    loader = f"load_{name}"
    return Dataset(name, task, "sklearn", (File(loader, f"sklearn:{loader}", sha256, size),), licence)


# Sources of the licences: scikit-learn's own description of each set, whose tables come from the UCI repository.
_UCI = "CC BY 4.0 (UCI repository), as shipped in scikit-learn"
_EFRON = "not stated; published with Efron et al. 2004, Least Angle Regression; as shipped in scikit-learn"

CATALOG: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _sklearn("digits", "classification", _UCI,
                 "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5", 129_384),
        _sklearn("breast_cancer", "classification", _UCI,
                 "25e2eb7b7a8745b1bde5ba18bc4969983d2e2f403291ecd5bde4a29ef30c3859", 141_112),
        _sklearn("diabetes", "regression", _EFRON,
                 "e9c1f7559552854a24dc45b41c446ce5f79f96e5da081bcce24b57492720b3f7", 38_896),
        _sklearn("wine", "classification", _UCI,
                 "3a28849ef2366c4b9d4e382b3fa5624a66f693c04d7fdcf43c529bbb0bb338d7", 19_936),
    )
}
