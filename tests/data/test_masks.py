import io
import re
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.data import CATALOG
from orchestrator.data.card import Card
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare
from orchestrator.errors import UserError

ENTRY = {"task": "segmentation", "axes": "nhwc", "inputs": "X", "target": "mask"}


def images(rows: int = 60) -> dict[str, np.ndarray]:
    """Pixels brighter than 199 are an object; each image has its number in its first pixel."""
    chance = np.random.RandomState(0)
    pictures = chance.randint(0, 256, (rows, 6, 5, 3)).astype(np.uint8)
    pictures[:, 0, 0, 0] = np.arange(rows)
    return {"X": pictures, "mask": (pictures[..., 1] > 199).astype(np.uint8)}


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def numbers(data, split: str) -> list[int]:
    """Which images a split holds."""
    scale, mean = (data.card.normalization[key][0] for key in ("scale", "mean"))
    return (getattr(data, split).inputs[:, 0, 0, 0] * scale + mean).round().int().tolist()


def test_a_users_images_and_masks_become_splits(own, tmp_path):
    data = load(prepare(own("a.npz", npz(**images()), **ENTRY), tmp_path))
    card = data.card
    assert (card.task, card.input_shape, card.outputs, card.classes) == ("segmentation", (3, 6, 5), 2, ("0", "1"))
    assert card.sizes == {"train": 36, "validation": 12, "test": 12}
    found = [number for split in card.sizes for number in numbers(data, split)]
    assert sorted(found) == list(range(60))
    assert abs(data.train.inputs.mean((0, 2, 3))).max() < 1e-5
    # Every mask is still that of its image.
    level = data.test.inputs[:, 1] * card.normalization["scale"][1] + card.normalization["mean"][1]
    assert ((level > 199.5) == data.test.targets.bool()).all() and data.test.targets.any()
    assert str(data.train.targets.dtype) == "torch.uint8"


def test_a_fraction_is_a_prefix(own, tmp_path):
    folder = prepare(own("a.npz", npz(**images()), **ENTRY), tmp_path)
    whole, half = load(folder), load(folder, 0.5)
    assert len(half.train) == 18
    assert (half.train.inputs == whole.train.inputs[:18]).all()
    assert (half.train.targets == whole.train.targets[:18]).all()


def test_full_and_empty_images_are_shared_out_alike(own, tmp_path):
    made = images(200)
    made["mask"][:100] = 0
    made["mask"][100:, 2:] = 1
    data = load(prepare(own("a.npz", npz(**made), **ENTRY), tmp_path))
    for split in (data.train, data.validation, data.test):
        assert split.targets.flatten(1).any(1).float().mean() == pytest.approx(0.5, abs=0.06)


def published(split: np.ndarray, **arrays: np.ndarray) -> bytes:
    return npz(**{**images(), "split": split} | arrays)


def test_a_published_split_is_kept(own, tmp_path):
    split = np.repeat([1, 3, 2], [40, 15, 5]).astype(np.int8)
    dataset = replace(own("a.npz", published(split), **ENTRY), reader="tiles", classes=("background", "thing"))
    data = load(prepare(dataset, tmp_path))
    assert sorted(numbers(data, "train")) == list(range(40)) != numbers(data, "train")
    assert numbers(data, "test") == list(range(40, 55)) and numbers(data, "validation") == list(range(55, 60))
    assert Card.read(tmp_path / "prepared" / "mine").classes == ("background", "thing")


def test_a_split_that_says_something_else_is_refused(own, tmp_path):
    for split in (np.ones(60, np.int8), np.repeat([0, 1, 2], 20), np.repeat([1, 2, 3], 10)):
        with pytest.raises(UserError, match="the array split says 1"):
            prepare(replace(own("a.npz", published(split), **ENTRY), reader="tiles"), tmp_path)


@pytest.mark.parametrize(
    ("change", "entry", "message"),
    [
        ({"mask": images()["mask"] * 255}, {}, "mine: the masks hold 0, 255; classes are 0 (background), 1"),
        ({"mask": images()["mask"] * 0}, {}, "mine: the masks hold 0; classes are 0 (background), 1"),
        ({"mask": images()["mask"][:, :5]}, {}, "one image is (3, 6, 5) (channels first), its mask (5, 5)"),
        ({"mask": images()["mask"] / 1.0}, {}, "whole numbers from 0, the background, to 255; found float64"),
        ({"mask": images()["mask"][:9]}, {}, "mine: 60 rows of inputs but 9 targets"),
        ({}, {"classes": ["a", "b", "c"]}, "mine: `classes` names 3, but the masks hold 2"),
        ({}, {"axes": "nchw", "inputs": "mask"}, "the inputs have shape (60, 6, 5), which `axes: nchw` does not"),
    ],
)
def test_bad_masks_are_one_line(own, tmp_path, change, entry, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        prepare(own("a.npz", npz(**images() | change), **ENTRY | entry), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "prepared").exists()


def test_a_table_has_no_masks(own):
    with pytest.raises(UserError, match="segmentation needs images and their masks"):
        own("a.csv", "x,y\n1,2\n", task="segmentation", target="y")


def test_a_file_that_is_in_no_mirror_is_asked_for_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"nuclei: no public address serves nuclei128\.npz, made from BBBC038") as error:
        prepare(CATALOG["nuclei"], tmp_path)
    assert "\n" not in str(error.value) and "ORCHESTRATOR_DATA_MIRROR" in str(error.value)
