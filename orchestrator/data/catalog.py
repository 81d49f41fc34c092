"""What data there is: one literal table of data sets by name."""

from dataclasses import replace

from orchestrator.data.dataset import Dataset, File


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
# name: file, sha256, bytes.
_ADBENCH_TABLES = {
    "annthyroid": ("2_annthyroid.npz", "e738f7c58a8740d2c4aac4c71ff49ce5e1d1aa16f44178135fc9c09df05fad1b", 66_547),
    "cardio": ("6_cardio.npz", "bc5009bde6930b4d298b594f31b34485a9a17210cff0e8fb00a8c3068b885a2d", 68_471),
    "optdigits": ("26_optdigits.npz", "60de17a375a278ba220a7849727d998aa02b5e2f9fd17732a004bba28de4656e", 197_633),
    "satellite": ("30_satellite.npz", "1f048f5686f1b8c16a227fdfa3c81a62cd9a92715714a6b24c69b1c5ad96b46e", 129_874),
    "shuttle": ("32_shuttle.npz", "26900b0f6be45d9ddb7a402c9b2f956ceda42d23a8ca4cf4406b8bc1352823d1", 332_929),
}
_NAB = "https://raw.githubusercontent.com/numenta/NAB/ea702d75cc2258d9d7dd35ca8e5e2539d71f3140/"
# sha256, bytes, name.
_NAB_SERIES = """
230b68ccca20f59d562afd5d24ad52939c9b784386bed0054018358bf9120581 233321 ambient_temperature_system_failure
58ba65dc0737cfbac11b51514476d50c438d44011232144bb8d93f392df58f9f 539274 cpu_utilization_asg_misconfiguration
98378580aa80157e057c61d59d81daddccc6c65a2c0c800e3f01f603b8215c3f 123428 ec2_request_latency_system_failure
92bf5b87fc7f9bba8ca0b7ec63ccaac8cb4a1371a258e8c29a10ae9c018d82a4 732223 machine_temperature_system_failure
47b110baa8e3636574c1033dda1cce780873647fab58223d159d4fee6f180e86 55527 rogue_agent_key_hold
9797cfef477c13306f7a33874ab4d6cf700f8f2c7e5825a2a5bc02004370909a 138333 rogue_agent_key_updown
"""
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


def _with_anomalies(name: str, file: str, sha256: str, size: int) -> Dataset:
    """One table of ADBench; a mixed half of it is what is scored."""
    return Dataset(
        f"adbench_{name}",
        "anomaly_detection",
        "npz",
        (replace(_file(_ADBENCH, file, sha256, size), shared_with="adbench"),),
        "BSD-2-Clause repository (ADBench); table from UCI, listed there as CC BY 4.0 (not confirmed)",
        validation=0.1,
        test=0.5,
    )


def _series(listed: str) -> list[File]:
    rows = [line.split() for line in listed.split("\n") if line]
    return [_file(_NAB, f"data/realKnownCause/{name}.csv", sha256, int(size)) for sha256, size, name in rows]


_ANOMALIES = (
    *(_with_anomalies(name, *file) for name, file in _ADBENCH_TABLES.items()),
    Dataset(
        name="nab",
        task="anomaly_detection",
        reader="labelled_series",
        files=(
            *_series(_NAB_SERIES),
            _file(
                _NAB,
                "labels/combined_windows.json",
                "1e1fbc4601321aad8d0f8b3784c8134299379f68f6c1f7777565f8ffd57ab6b1",
                15_359,
            ),
        ),
        licence="MIT (Numenta)",
        length=64,  # points: five hours where one is taken every five minutes
        # Shares of each series, in time.
        validation=0.15,
        test=0.45,
    ),
)


_IMAGES = tuple(_unlabelled(dataset) for dataset in _DATASETS if dataset.name in ("digits", "fashion_mnist"))

CATALOG: dict[str, Dataset] = {dataset.name: dataset for dataset in (*_DATASETS, *_ANOMALIES, *_IMAGES)}
