import os
import subprocess
import sys

import pytest

from orchestrator.data import CATALOG
from orchestrator.data.card import TASKS
from orchestrator.data.formats import READERS
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare

SHIPPED = [name for name, dataset in CATALOG.items() if dataset.reader == "sklearn"]
BY_ADDRESS = [name for name in CATALOG if name not in SHIPPED]


@pytest.mark.parametrize("dataset", CATALOG.values(), ids=list(CATALOG))
def test_an_entry_is_complete(dataset):
    assert CATALOG[dataset.name] is dataset
    assert dataset.task in TASKS and dataset.reader in READERS and dataset.licence
    for file in dataset.files:
        assert file.url.startswith(("https://", "sklearn:", "mirror:"))
        # An archive that is packed anew for each download has no length that could be known.
        assert len(bytes.fromhex(file.sha256)) == 32 and (file.bytes > 0 or file.members)


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "sizes"),
    [
        ("digits", (1, 8, 8), 10, (1079, 359, 359)),
        ("breast_cancer", (30,), 2, (341, 114, 114)),
        ("diabetes", (10,), 1, (266, 88, 88)),
        ("wine", (13,), 3, (106, 36, 36)),
    ],
)
def test_a_shipped_set_is_prepared_and_loaded(tmp_path, name, shape, outputs, sizes):
    data = load(prepare(CATALOG[name], tmp_path))
    assert data.card.input_shape == shape and data.card.outputs == outputs
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert len(data.card.classes) == (outputs if data.card.task == "classification" else 0)
    assert abs(data.train.inputs.mean()) < 1e-5 and abs(data.train.inputs.std() - 1) < 0.01


def test_images_without_labels_are_the_labelled_ones_in_the_same_splits_and_fill_the_unit_interval(tmp_path):
    labelled, data = (load(prepare(CATALOG[name], tmp_path)) for name in ("digits", "digits_images"))
    scale, mean = labelled.card.normalization["scale"][0], labelled.card.normalization["mean"][0]
    assert (data.card.task, data.card.outputs, data.card.classes) == ("generation", 64, ())
    for split in ("train", "validation", "test"):
        images = getattr(data, split).inputs
        assert getattr(data, split).targets.shape == (len(images), 0)
        assert images.min() == 0 and images.max() == 1
        assert (images * 16 - (getattr(labelled, split).inputs * scale + mean)).abs().max() < 1e-4

    assert not list((tmp_path / "prepared" / "digits_images").glob("*targets*"))
    half = load(tmp_path / "prepared" / "digits_images", 0.5).train.inputs
    assert (half == data.train.inputs[: len(half)]).all() and len(half) == 540


def test_the_bytes_of_a_shipped_set_are_the_same_everywhere(tmp_path):
    # The version of the data that lock files and runs name: a change here is a change of VERSION in prepare.py.
    assert load(prepare(CATALOG["digits"], tmp_path)).card.fingerprint.startswith("660322d600bf4e83")


@pytest.mark.parametrize("name", BY_ADDRESS)
def test_a_published_set_is_prepared_from_a_real_mirror(tmp_path, name, real_mirror):
    expected = {
        "fashion_mnist": ((1, 28, 28), 10, (55_000, 5_000, 10_000)),
        "nuclei": ((3, 128, 128), 2, (1_018, 123, 133)),
        "cora": ((2_708, 30, 168, 1_434, 2_708, 10_556, True), 7, (140, 500, 1_000)),
        "esol": ((55, 7, 4, 73, 13, 27, False), 1, (902, 113, 113)),
        "esol_descriptors": ((6,), 1, (902, 113, 113)),
        "tox21": ((132, 7, 6, 73, 19, 38, False), 12, (6_404, 801, 801)),
        "magic_gamma": ((10,), 2, (14_000, 1_000, 4_020)),
        "etth1": ((96, 7), 96 * 7, (8_449, 2_785, 2_785)),
        "fsdd": ((64, 32), 10, (2_400, 300, 300)),
        "banking77": ((64, 1_453), 77, (9_003, 1_000, 3_080)),
        "tiny_shakespeare": ((128, 70), 70, (7_842, 435, 435)),
        "cmudict": ((28, 34), 44, (116_671, 3_108, 6_273)),
        "fashion_mnist_images": ((1, 28, 28), 784, (55_000, 5_000, 10_000)),
        "adbench_annthyroid": ((6,), 6, (2_666, 934, 3_600)),
        "adbench_cardio": ((21,), 21, (662, 253, 916)),
        "adbench_optdigits": ((64,), 64, (2_026, 582, 2_608)),
        "adbench_satellite": ((36,), 36, (1_759, 1_458, 3_218)),
        "adbench_shuttle": ((9,), 9, (18_234, 6_314, 24_549)),
        "nab": ((64,), 64, (4_397, 1_700, 5_256)),
    }
    if CATALOG[name].reader == "molecules":
        pytest.importorskip("rdkit")
    data = load(prepare(CATALOG[name], tmp_path))
    sizes = tuple(data.card.sizes[split] for split in ("train", "validation", "test"))
    assert (data.card.input_shape, data.card.outputs, sizes) == expected[name]
    versions = {"fsdd": "ebdbb41c", "banking77": "807d922d", "tiny_shakespeare": "3d769c6d", "cmudict": "dbf8583e"}
    versions |= {"nuclei": "e18bf258", "cora": "75605051", "nab": "8129ac36"}
    assert data.card.fingerprint.startswith(versions.get(name, ""))
    if data.card.task == "anomaly_detection":
        assert data.train.targets.sum() == 0 < min(data.validation.targets.sum(), data.test.targets.sum())
    if name == "etth1":  # the seasonal naive forecast's published error on these very windows
        day = data.test.inputs[:, -24:].repeat(1, 4, 1).flatten(1)
        assert float((day - data.test.targets).square().mean()) == pytest.approx(0.512, abs=0.001)


@pytest.fixture
def real_mirror() -> None:
    if "ORCHESTRATOR_DATA_MIRROR" not in os.environ:
        pytest.skip("needs ORCHESTRATOR_DATA_MIRROR; the same formats are tested with small files in test_formats.py")


def test_importing_the_room_loads_nothing_heavy():
    heavy = "{'numpy', 'torch', 'pandas', 'sklearn', 'requests', 'pyarrow'}"
    code = f"import sys, orchestrator.data; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
