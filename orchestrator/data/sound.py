"""Sound -> log-mel spectrograms, with NumPy alone."""

import io
import re
import tarfile
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import Raw
from orchestrator.errors import UserError

# Of recordings at 8 kHz: frames of 32 ms every 16 ms, and as many bands as its bins of 31 Hz can tell apart.
RATE, FRAME, HOP, BANDS = 8000, 256, 128, 32
FLOOR = 1e-6  # added to the power before the logarithm: below the noise of 16 bits in a band
STEP = 64  # levels are kept in 1/64 of e, so that other processors' last bits don't make another version of the data

OFFICIAL_TEST = range(5)  # recordings 0 to 4 of each speaker and digit, says the data set's page


def read_spoken_digits(dataset: Dataset, paths: Mapping[str, Path]) -> Raw:
    """The recordings of an archive, named recordings/{digit}_{speaker}_{number}.wav, with the official test split."""
    path = paths[dataset.files[0].name]
    found: dict[tuple[int, str, int], NDArray[Any]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                named = re.search(r"recordings/(\d)_([a-z]+)_(\d+)\.wav$", member.name)
                content = archive.extractfile(member) if named else None
                if named and content is not None:
                    digit, speaker, number = named.groups()
                    found[int(digit), speaker, int(number)] = _samples(path, member.name, content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: a damaged archive ({str(error).splitlines()[0]})") from None
    test = {key: samples for key, samples in found.items() if key[2] in OFFICIAL_TEST}
    train = {key: samples for key, samples in found.items() if key not in test}
    if not train or not test:
        raise UserError(f"{path}: no recordings of both splits in this archive")
    one, other = (_spectrograms(part, dataset.length) for part in (train, test))
    return Raw(one.inputs, one.targets, classes=tuple("0123456789"), lengths=one.lengths, test=other)


def _samples(path: Path, name: str, content: bytes) -> NDArray[Any]:
    """A mono WAV file of 16 bits as numbers from -1 to 1."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            kind = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UserError(f"{path}: {name} is no WAV file ({error})") from None
    if kind != (RATE, 1, 2) or not frames:
        raise UserError(f"{path}: {name} is not of {RATE} Hz, one channel and 16 bits, or is empty")
    return np.frombuffer(frames, "<i2") / 2**15


def _spectrograms(recordings: Mapping[tuple[int, str, int], NDArray[Any]], length: int) -> Raw:
    """Inputs [n, length, bands], in the order of digit, speaker and number, whatever the archive's is."""
    keys = sorted(recordings)
    inputs, lengths = np.zeros((len(keys), length, BANDS)), np.zeros(len(keys), np.int64)
    for row, key in enumerate(keys):
        frames = log_mel(recordings[key])[:length]
        inputs[row, : len(frames)], lengths[row] = frames, len(frames)
    return Raw(inputs, np.array([digit for digit, _, _ in keys]), lengths=lengths)


def log_mel(samples: NDArray[Any]) -> NDArray[Any]:
    """Logarithm of the power [frames, BANDS] in bands of equal width on the mel scale.

    A Hann window, and the last frame filled up with silence. Davis, Mermelstein, "Comparison of parametric
    representations for monosyllabic word recognition", IEEE Transactions on Acoustics, Speech, and Signal Processing
    28, 1980, before their cosine transform.
    """
    count = 1 + max(0, -(-(len(samples) - FRAME) // HOP))
    padded = np.zeros(FRAME + (count - 1) * HOP)
    padded[: len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    power = np.abs(np.fft.rfft(frames * window)) ** 2 / FRAME
    levels: NDArray[Any] = np.round(np.log(power @ filters() + FLOOR) * STEP) / STEP
    return levels


def filters() -> NDArray[Any]:
    """Triangles [bins, BANDS], each from the centre of the band before to that of the band after, of height 1."""

    def mel(hertz: Any) -> Any:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    centres = np.linspace(0, mel(RATE / 2), BANDS + 2)
    bins = mel(np.fft.rfftfreq(FRAME, 1 / RATE))[:, np.newaxis]
    rising = (bins - centres[:-2]) / (centres[1:-1] - centres[:-2])
    falling = (centres[2:] - bins) / (centres[2:] - centres[1:-1])
    triangles: NDArray[Any] = np.maximum(0, np.minimum(rising, falling))
    return triangles
