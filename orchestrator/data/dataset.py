"""What is said of a data set: where its files are, and how they become inputs and targets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path


@dataclass(frozen=True)
class File:
    """One file as its publisher serves it, `bytes` 0 where not known.

    `url` "sklearn:NAME" is the function `sklearn.datasets.NAME`, whose sha256 is taken over the arrays that
    it returns. "mirror:NAME" is a file made from NAME that no public address serves: who has it puts it into the
    mirror. An empty url is a file of the user's own, an empty sha256 that of its bytes when it is prepared.
    `members` is for archives that are packed anew for each download: a suffix such as ".wav", and the sha256 is that
    of the list of these members' own (see `download.digest`). `shared_with` names the data set whose file this is,
    where one copy serves two.
    """

    name: str
    url: str
    sha256: str
    bytes: int = 0
    members: str = ""
    shared_with: str = ""


@dataclass(frozen=True)
class Dataset:
    """A data set: where it comes from and how its files become inputs and targets.

    `reader` is a key of `formats.READERS`. `validation` and `test` are shares of the rows (below 1) or row
    counts; `test` is not used where a test split is published or given. `past` and `ahead` (time steps)
    make it a forecasting set: the rows are one series in time order, a sample is a window of it, and the
    split is chronological, from the first row on, with `train` rows (0: what the other two leave). `length` is
    that of a sample of text or sound, in tokens or frames: longer ones are cut, shorter ones padded; or that of the
    windows that a labelled series is cut into.
    """

    name: str
    task: str
    reader: str
    files: tuple[File, ...]
    licence: str
    own: Mapping[str, Path] = field(default_factory=dict)  # where a user's own files lie, by File.name
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
    train: int = 0
    past: int = 0
    ahead: int = 0
    length: int = 0


def nearest(word: str, valid: Iterable[str]) -> str:
    """ ", did you mean 'x'?" for the nearest valid word, else nothing: a piece of an error message."""
    found = get_close_matches(word, list(valid), n=1)
    return f", did you mean '{found[0]}'?" if found else ""
