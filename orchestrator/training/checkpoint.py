"""A training's state on disk or on S3: the old file or the new one, whatever is killed in between.

On disk it is written aside and renamed; on S3 an object appears with the end of its upload (one PUT below 5 MB). The
content is a SHA-256 of what follows and then torch's own format. What was torn or altered all the same (a full disk,
lost power) fails the sum and counts as absent: the training starts over, which costs time and never a wrong number.
For the same reason nothing here waits for the disk.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

_DIGEST = 32  # bytes

# A file, or an address such as s3://bucket/folder/a.pt?region=eu-west-1 (the options are those of pyarrow.fs).
Place = Path | str


def join(folder: Place, *parts: str) -> Place:
    """The place of that name within a folder; an address keeps its options at its end."""
    if isinstance(folder, Path) or "://" not in folder:
        return Path(folder, *parts)
    address, mark, options = folder.partition("?")
    return "/".join([address.rstrip("/"), *parts]) + mark + options


def save(place: Place, state: dict[str, Any]) -> None:
    """Write `state`: tensors, numbers, text, and lists and dicts of them.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    _write(place, hashlib.sha256(content).digest() + content)


def load(place: Place, device: torch.device | str = "cpu") -> tuple[dict[str, Any] | None, str | None]:
    """(state, None), or (None, None) where there is no file, or (None, reason) where it can't be used.

    Only tensors and plain data are read, never code (weights_only).
    """
    try:
        raw = _read(place)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{place}: cannot be read ({error.strerror or error}); the training starts over"
    if not _whole(raw):
        return None, f"{place}: incomplete or altered checkpoint ({len(raw)} bytes); the training starts over"
    state: dict[str, Any] = torch.load(io.BytesIO(raw[_DIGEST:]), map_location=device, weights_only=True)
    return state, None


def delete(place: Place) -> None:
    """Remove it, if it is there."""
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
        return
    filesystem, path = _opened(place)
    try:
        filesystem.delete_file(path)
    except FileNotFoundError:
        return


def delete_folder(folder: Place) -> None:
    """Remove it with all that is in it, if it is there."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
        return
    filesystem, path = _opened(folder)
    try:
        filesystem.delete_dir(path)
    except FileNotFoundError:
        return


def fetch(place: Place, to: Place) -> None:
    """Copy what `save` wrote.

    Raises:
        OSError: it is not there, cannot be read, is not whole, or the copy cannot be written.
    """
    raw = _read(place)
    if not _whole(raw):
        raise OSError(f"{place}: incomplete or altered ({len(raw)} bytes)")
    _write(to, raw)


def digest(place: Place) -> str | None:
    """The SHA-256 of what `save` wrote; None where it is not there, cannot be read, or is not whole."""
    try:
        raw = _read(place)
    except OSError:
        return None
    return raw[:_DIGEST].hex() if _whole(raw) else None


def _whole(raw: bytes) -> bool:
    return hashlib.sha256(raw[_DIGEST:]).digest() == raw[:_DIGEST]


def _read(place: Place) -> bytes:
    if isinstance(place, Path):
        return place.read_bytes()
    filesystem, path = _opened(place)
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def _write(place: Place, content: bytes) -> None:
    if isinstance(place, Path):
        _write_file(place, content)
        return
    filesystem, path = _opened(place)
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _opened(address: str) -> tuple[Any, str]:
    """The file system (one a bucket) and the path in it."""
    place, _, options = address.partition("?")
    scheme, _, path = place.partition("://")
    return _filesystem(scheme, path.partition("/")[0], options), path


@lru_cache(maxsize=8)
def _filesystem(scheme: str, bucket: str, options: str) -> Any:
    """As pyarrow makes it, with credentials from the environment, as every AWS tool finds them.

    Delayed opening makes a small upload one request instead of three, and an empty one impossible.
    """
    import pyarrow.fs

    given = "&".join(option for option in (options, "allow_delayed_open=true") if option)
    return pyarrow.fs.FileSystem.from_uri(f"{scheme}://{bucket}?{given}")[0]
