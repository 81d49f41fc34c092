"""The classifier in whose features generated images are held against real ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orchestrator.data import CATALOG, judge, judge_digest
from orchestrator.data.judge import Judge
from orchestrator.data.load import Data, load
from orchestrator.data.prepare import prepare
from orchestrator.errors import UserError
from orchestrator.tasks.judged import coverage, frechet


@pytest.fixture(scope="module")
def labelled(data_root: Path) -> Data:
    return load(prepare(CATALOG["digits"], data_root))


@pytest.fixture(scope="module")
def images(data_root: Path) -> Data:
    return load(prepare(CATALOG["digits_images"], data_root))


def judge_of(data: Data) -> Judge:
    assert data.train.judge is not None
    return data.train.judge


def like_pixels(images: Tensor, rows: int) -> Tensor:
    """Samples of the Gaussian with the images' own mean and covariance of pixels."""
    pixels = images.flatten(1).double()
    variances, directions = torch.linalg.eigh(torch.cov(pixels.T))
    chance = torch.randn(rows, pixels.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = pixels.mean(0) + chance * variances.clamp(min=0).sqrt() @ directions.T
    return drawn.float().reshape(rows, *images.shape[1:])


def test_it_tells_the_classes_of_images_that_it_was_not_trained_on(labelled: Data, images: Data) -> None:
    told = judge_of(images).classes(images.test.inputs)
    assert (told == labelled.test.targets).double().mean() > 0.95


def test_a_gaussian_of_pixels_is_far_from_the_images_in_its_features(images: Data) -> None:
    gaussian = like_pixels(images.train.inputs, 1000)
    real, features = judge_of(images)(images.validation.inputs), judge_of(images)(gaussian)
    others = judge_of(images)(images.test.inputs)
    assert frechet(real, features) > 3 * frechet(real, others)
    assert coverage(real, features) < coverage(real, others) - 0.1
    # In pixels themselves it is as near as real images are: this is what the judge is for.
    pixels = [rows.flatten(1) for rows in (images.validation.inputs, gaussian, images.test.inputs)]
    assert frechet(pixels[0], pixels[1]) < 1.5 * frechet(pixels[0], pixels[2])


def test_the_same_data_gives_the_same_judge_whatever_is_around_it(
    labelled: Data, images: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "STEPS", 20)
    made, threads = [], torch.get_num_threads()
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.set_num_threads(seed)
        before = torch.get_rng_state()
        made.append(judge.train(images.train.inputs, labelled.train.targets, 10))
        assert torch.get_num_threads() == seed and torch.equal(torch.get_rng_state(), before)
    torch.set_num_threads(threads)
    assert all(torch.equal(made[0].weights[name], made[1].weights[name]) for name in made[0].weights)


def test_every_split_and_every_fraction_has_the_same_one(images: Data, data_root: Path) -> None:
    some = load(data_root / "prepared" / "digits_images", 0.1)
    for split in (images.validation, images.test, some.train, some.test):
        assert split.judge is not None
        assert torch.equal(split.judge(images.test.inputs), judge_of(images)(images.test.inputs))


def test_it_computes_alike_at_any_precision(images: Data) -> None:
    expected = judge_of(images)(images.test.inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(judge_of(images)(images.test.inputs), expected)


def test_its_digest_tells_two_judges_of_the_same_data_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, versions = [], []
    for machine, steps in (("one", 2), ("the same", 2), ("another", 3)):
        monkeypatch.setattr(judge, "STEPS", steps)
        folder = prepare(CATALOG["digits_images"], tmp_path / machine)
        digests.append(judge_digest(folder))
        versions.append(load(folder).card.fingerprint)
    assert digests[0] == hashlib.sha256((tmp_path / "one/prepared/digits_images/judge.npz").read_bytes()).hexdigest()
    assert digests[0] == digests[1] != digests[2]
    assert versions[0] == versions[1] == versions[2], "which the fingerprint of the data does not tell"


def test_data_without_a_judge_has_no_digest_and_one_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert judge_digest(prepare(CATALOG["digits"], tmp_path)) is None
    (tmp_path / "judge.npz").mkdir()
    with pytest.raises(UserError, match=r"judge\.npz: cannot be read \(Is a directory\)"):
        judge_digest(tmp_path)


def test_data_without_its_judge_is_prepared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "STEPS", 2)
    folder = prepare(CATALOG["digits_images"], tmp_path)
    version = load(folder).card.fingerprint
    (folder / "judge.npz").unlink()
    with pytest.raises(UserError, match=r"judge\.npz: not the judge"):
        load(folder)
    assert load(prepare(CATALOG["digits_images"], tmp_path)).card.fingerprint == version


@pytest.mark.parametrize("content", [b"", b"no judge at all", b"half"])
def test_what_is_no_judge_is_refused_in_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "STEPS", 2)
    folder = prepare(CATALOG["digits_images"], tmp_path)
    whole = (folder / "judge.npz").read_bytes()
    (folder / "judge.npz").write_bytes(whole[: len(whole) // 2] if content == b"half" else content)
    with pytest.raises(UserError, match=r"judge\.npz: not the judge.*prepare it again") as error:
        load(folder)
    assert "\n" not in str(error.value)
