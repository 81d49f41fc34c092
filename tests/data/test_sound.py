import hashlib
import io
import re
import tarfile
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.data import Dataset, File
from orchestrator.data.download import digest
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare
from orchestrator.data.sound import BANDS, FRAME, HOP, RATE, filters, log_mel
from orchestrator.errors import UserError


def tone(hertz: float, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 2**15).astype("<i2").tobytes())
    return file.getvalue()


def archive(members: dict[str, bytes], folder: str = "repository-1") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as out:
        for name, content in {"README.md": b"read me", **members}.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return file.getvalue()


def recordings() -> dict[str, bytes]:
    """Ten tones of two speakers, the longer the later; 0 to 4 are the official test."""
    return {
        f"recordings/{digit}_{speaker}_{number}.wav": wav(tone(200 + 300 * digit, 0.1 + 0.05 * number))
        for digit in range(10)
        for speaker in ("ann", "bob")
        for number in (0, 4, 5, 6, 7, 8)
    }


def dataset(folder: Path, content: bytes) -> Dataset:
    path = folder / "digits.tar.gz"
    path.write_bytes(content)
    files = (File(path.name, "", ""),)
    return Dataset(
        "spoken", "classification", "spoken_digits", files, "none", {path.name: path}, length=24, validation=20
    )


def test_recordings_become_padded_spectrograms_in_the_official_split(tmp_path):
    data = load(prepare(dataset(tmp_path, archive(recordings())), tmp_path))
    assert (len(data.train), len(data.validation), len(data.test)) == (60, 20, 40)
    assert data.card.input_shape == (24, BANDS) and data.card.outputs == 10 and data.card.padded
    assert torch.bincount(data.test.targets).tolist() == [4] * 10
    # Of 0.1 and 0.3 s: 800 samples in frames of 256 every 128 are six, 2,400 are eighteen.
    for inputs in data.test.inputs:
        own = inputs.ne(0).any(1)
        assert own.sum() in (6, 18) and own[: own.sum()].all(), "padding is zeros, at the end"
    long = data.train.inputs.ne(0).any(2).sum(1)
    assert long.max() == 24, "what is longer than 24 frames is cut"


def test_padding_has_no_part_in_the_normalization(tmp_path):
    data = load(prepare(dataset(tmp_path, archive(recordings())), tmp_path))
    own = data.train.inputs[data.train.inputs.ne(0).any(2)]
    assert own.mean(0).abs().max() < 1e-4
    assert (own.std(0, correction=0) - 1).abs().max() < 1e-4
    stored = np.load(tmp_path / "prepared" / "spoken" / "train_inputs.npy")
    assert np.array_equal(np.isnan(stored).any(2), data.train.inputs.eq(0).all(2).numpy())


def test_the_order_in_the_archive_does_not_matter(tmp_path):
    members = recordings()
    found = []
    for name, content in (("a", archive(members)), ("b", archive(dict(reversed(members.items())), "other-name"))):
        (tmp_path / name).mkdir()
        found.append(load(prepare(dataset(tmp_path / name, content), tmp_path / name)).card.fingerprint)
    assert found[0] == found[1]


def test_an_archive_packed_anew_has_the_same_digest_and_a_changed_member_another(tmp_path):
    members = recordings()
    file = File("a.tar.gz", "https://example.com/a.tar.gz", "", members=".wav")
    path = tmp_path / "a.tar.gz"

    def found(content: bytes) -> str:
        path.write_bytes(content)
        return digest(file, path)

    listed = sorted(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items())
    listed.sort(key=lambda line: line.split()[1])
    expected = hashlib.sha256("".join(listed).encode()).hexdigest()
    assert found(archive(members)) == expected == found(archive(dict(reversed(members.items())), "other-name"))
    changed = members | {"recordings/0_ann_0.wav": wav(tone(205, 0.1))}
    assert found(archive(changed)) != expected
    assert found(archive(dict(list(members.items())[1:]))) != expected
    assert "damaged" in found(archive(members)[:-500]) and "damaged" in found(b"no archive")
    assert digest(replace(file, members=""), path) == hashlib.sha256(b"no archive").hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing of the kind", "a damaged archive"),
        (archive(recordings())[:-500], "a damaged archive"),
        (archive({}), "no recordings of both splits"),
        (archive({"recordings/1_ann_0.wav": b"RIFF"}), "1_ann_0.wav is no WAV file"),
        (archive({"recordings/1_ann_0.wav": wav(tone(200, 0.1), 16000)}), "is not of 8000 Hz, one channel and 16"),
        (archive({"recordings/1_ann_0.wav": wav(tone(200, 0))}), "or is empty"),
    ],
)
def test_a_bad_archive_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        prepare(dataset(tmp_path, content), tmp_path)
    assert "\n" not in str(error.value)


def test_a_tone_is_loudest_in_the_band_of_its_frequency():
    frequencies = np.fft.rfftfreq(FRAME, 1 / RATE)
    centres = frequencies[filters().argmax(0)]
    for hertz in (300, 1000, 2500):
        heard = log_mel(tone(hertz, 0.5))[3].argmax()
        assert abs(centres[heard] - hertz) < 0.1 * hertz


def test_frames_follow_one_another_every_16_ms_and_the_last_is_filled_with_silence():
    assert [len(log_mel(np.ones(n))) for n in (1, FRAME, FRAME + 1, FRAME + HOP, FRAME + HOP + 1)] == [1, 1, 2, 2, 3]


def test_a_power_agrees_with_a_sum_written_out():
    samples = np.random.default_rng(0).normal(size=FRAME) / 10
    n = np.arange(FRAME)
    windowed = samples * (0.5 - 0.5 * np.cos(2 * np.pi * n / FRAME))
    power = [abs((windowed * np.exp(-2j * np.pi * k * n / FRAME)).sum()) ** 2 / FRAME for k in range(FRAME // 2 + 1)]
    bands = [sum(filters()[k, band] * power[k] for k in range(FRAME // 2 + 1)) for band in range(BANDS)]
    assert log_mel(samples)[0] == pytest.approx(np.log(np.array(bands) + 1e-6), abs=1 / 128 + 1e-9)


def test_bands_are_triangles_that_overlap_to_one():
    bank = filters()
    assert bank.shape == (FRAME // 2 + 1, BANDS) and (bank.max(0) > 0.5).all() and bank.max() <= 1
    between = slice(bank[:, 0].argmax() + 1, bank[:, -1].argmax())
    assert bank[between].sum(1) == pytest.approx(1)
