"""What data there is: one literal table of data sets by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    that of a sample of text or sound, in tokens or frames: longer ones are cut, shorter ones padded.
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


def _sklearn(name: str, task: str, licence: str, sha256: str, size: int) -> Dataset:
    loader = f"load_{name}"
    return Dataset(name, task, "sklearn", (File(loader, f"sklearn:{loader}", sha256, size),), licence)


# scikit-learn describes these as copies of UCI tables, which UCI lists under CC BY 4.0.
_UCI = "CC BY 4.0 (UCI repository), as shipped in scikit-learn"
_EFRON = "not stated (Efron et al. 2004, Least Angle Regression), as shipped in scikit-learn"

_FASHION = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/"
)
_ADBENCH = (
    "https://raw.githubusercontent.com/Minqi824/ADBench/"
    "3dac8221081e190f157d78e93bfa8867f90d0965/adbench/datasets/Classical/"
)
_ETT = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/"
_BANKING = (
    "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/"
    "57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data/"
)

_DEEPCHEM = "https://raw.githubusercontent.com/deepchem/deepchem/fbe3b911a94a6eb8c84c1a9e7ac67a472c49ea80/datasets/"
_DELANEY = "ESOL predicted log solubility in mols per litre"
_TOX21 = (
    *("NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma"),
    *("SR-ARE", "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53"),
)


def _file(folder: str, name: str, sha256: str, size: int) -> File:
    return File(name, folder + name, sha256, size)


def _esol(name: str, reader: str, inputs: str = "", drop: tuple[str, ...] = (), shared: str = "") -> Dataset:
    sha256 = "8c06a76f0c6487d29ab0f903e6a7a7139f189ab3c1178f159c8be8964602f189"
    file = _file(_DEEPCHEM, "delaney-processed.csv", sha256, 96_699)
    return Dataset(
        name,
        "regression",
        reader,
        (replace(file, shared_with=shared),),
        "MIT repository (deepchem); data from Delaney 2004",
        target=("measured log solubility in mols per litre",),
        inputs=inputs,
        drop=drop,
        validation=0.1,
        test=0.1,
    )


_DATASETS = (
    _sklearn(
        "digits",
        "classification",
        _UCI,
        "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5",
        129_384,
    ),
    _sklearn(
        "breast_cancer",
        "classification",
        _UCI,
        "25e2eb7b7a8745b1bde5ba18bc4969983d2e2f403291ecd5bde4a29ef30c3859",
        141_112,
    ),
    _sklearn(
        "diabetes",
        "regression",
        _EFRON,
        "e9c1f7559552854a24dc45b41c446ce5f79f96e5da081bcce24b57492720b3f7",
        38_896,
    ),
    _sklearn(
        "wine",
        "classification",
        _UCI,
        "3a28849ef2366c4b9d4e382b3fa5624a66f693c04d7fdcf43c529bbb0bb338d7",
        19_936,
    ),
    Dataset(
        name="fashion_mnist",
        task="classification",
        reader="idx",
        files=(
            _file(
                _FASHION,
                "train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26_421_880,
            ),
            _file(
                _FASHION,
                "train-labels-idx1-ubyte.gz",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29_515,
            ),
            _file(
                _FASHION,
                "t10k-images-idx3-ubyte.gz",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4_422_102,
            ),
            _file(
                _FASHION,
                "t10k-labels-idx1-ubyte.gz",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5_148,
            ),
        ),
        licence="MIT (Zalando SE)",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        validation=5_000,  # of the official 60,000 for training; the official 10,000 are the test split
    ),
    Dataset(
        name="nuclei",
        task="segmentation",
        reader="tiles",
        files=(
            # Tiles of 128×128 of the stage-1 training images of BBBC038.
            File(
                "nuclei128.npz",
                "mirror:BBBC038",
                "e15e05b860302fcc4961464e5d523620b6d6633b50d066aa2bdf4d36b0ee0db5",
                14_394_531,
            ),
        ),
        licence="CC0 (2018 Data Science Bowl, BBBC038)",
        inputs="X",
        target=("mask",),
        axes="nhwc",
        classes=("background", "nucleus"),
    ),
    Dataset(
        name="magic_gamma",
        task="classification",
        reader="npz",
        files=(
            _file(
                _ADBENCH,
                "22_magic.gamma.npz",
                "0be375984d7af9ea7a63b12206c240840d8b7daa3607021c5fb8756407dd86f1",
                1_296_704,
            ),
        ),
        licence="BSD-2-Clause repository; table from UCI, listed there as CC BY 4.0 (not confirmed)",
        inputs="X",
        target=("y",),
        validation=1_000,
        test=4_020,
    ),
    Dataset(
        name="cora",
        task="node_classification",
        reader="citations",
        files=(
            File(
                "gnn-benchmark-cora.npz",
                "https://raw.githubusercontent.com/shchur/gnn-benchmark/"
                "1e72912a0810cdf27ae54fd589a3b43358a2b161/data/npz/cora.npz",
                "068e22d90c3849b4057dfb05851741428992af058efcd4e7ebb4186f3d581de2",
                540_580,
            ),
        ),
        licence="MIT repository; the citation data carries no explicit licence",
        # 20 of each class, as in Planetoid's split (Yang et al., ICML 2016), whose nodes this file doesn't tell.
        train=140,
        validation=500,
        test=1_000,
    ),
    _esol("esol", reader="molecules", inputs="smiles"),
    # The same molecules by six numbers of each; Delaney's own forecast is none of them.
    _esol("esol_descriptors", reader="csv", drop=("Compound ID", "smiles", _DELANEY), shared="esol"),
    Dataset(
        name="tox21",
        task="multilabel",
        reader="molecules",
        files=(
            _file(
                _DEEPCHEM,
                "tox21.csv.gz",
                "48b34e4e59a2bae6f95734cd206c1869ab355f50a5e50bb7371a21f861d5e297",
                125_310,
            ),
        ),
        licence="MIT repository (deepchem); data from NIH, EPA and FDA",
        inputs="smiles",
        target=_TOX21,
        classes=_TOX21,
        validation=0.1,
        test=0.1,
    ),
    Dataset(
        name="etth1",
        task="regression",
        reader="csv",
        files=(
            _file(
                _ETT,
                "ETTh1.csv",
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
                2_589_657,
            ),
        ),
        licence="CC BY-ND 4.0: pass it on unchanged or not at all; prepared copies stay local",
        drop=("date",),
        # 12, 4 and 4 months of 30 days in hours: Zhou et al. 2021, Informer, section 5.1, and all after it.
        train=12 * 30 * 24,
        validation=4 * 30 * 24,
        test=4 * 30 * 24,
        past=96,
        ahead=96,
    ),
    Dataset(
        name="fsdd",
        task="classification",
        reader="spoken_digits",
        files=(
            # The repository at that commit; an archive of it is packed anew for each download.
            File(
                "free-spoken-digit-dataset-recordings.tar.gz",
                "https://codeload.github.com/Jakobovski/free-spoken-digit-dataset/tar.gz/"
                "26eb9aaf76e81b692f806f9140c2d2777410d7a1",
                "04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b",
                members=".wav",
            ),
        ),
        licence="CC BY-SA 4.0 (Free Spoken Digit Dataset)",
        length=64,  # frames of 16 ms: 1.04 s, which all but one in two hundred recordings fit into
        validation=300,  # of the official 2,700 for training; the official 300 are the test split
    ),
    Dataset(
        name="banking77",
        task="classification",
        reader="texts",
        files=(
            _file(
                _BANKING,
                "train.csv",
                "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
                839_073,
            ),
            _file(
                _BANKING,
                "test.csv",
                "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
                239_961,
            ),
        ),
        licence="CC BY 4.0 (PolyAI)",
        length=64,  # words and signs; 13 on average, one text in seven hundred has more than 64
        validation=1_000,  # of the official 10,003 for training; the official 3,080 are the test split
    ),
    Dataset(
        name="tiny_shakespeare",
        task="language_modelling",
        reader="characters",
        files=(
            _file(
                "https://raw.githubusercontent.com/karpathy/char-rnn/"
                "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/",
                "input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                1_115_394,
            ),
        ),
        licence="public domain; the repository says MIT (Karpathy, char-rnn)",
        length=128,
        # nanoGPT trains on the same first 90 % and validates on the rest, of which this keeps half for the test.
        validation=0.05,
        test=0.05,
    ),
    Dataset(
        name="cmudict",
        task="transduction",
        reader="pronunciations",
        files=(
            _file(
                "https://raw.githubusercontent.com/cmusphinx/cmudict/0f8072f814306c5ee4fbf992ed853601b12c01f9/",
                "cmudict.dict",
                "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22",
                3_618_488,
            ),
        ),
        licence="BSD-2-Clause (Carnegie Mellon University)",
        length=28,  # the longest word has 28 letters, the longest pronunciation 28 sounds
        validation=0.025,
        test=0.05,
    ),
)


def _unlabelled(dataset: Dataset) -> Dataset:
    """The same images in the same splits, to be learnt without their labels."""
    files = tuple(replace(file, shared_with=dataset.name) for file in dataset.files)
    return replace(dataset, name=f"{dataset.name}_images", task="generation", files=files, classes=())


_IMAGES = tuple(_unlabelled(dataset) for dataset in _DATASETS if dataset.name in ("digits", "fashion_mnist"))

CATALOG: dict[str, Dataset] = {dataset.name: dataset for dataset in (*_DATASETS, *_IMAGES)}
