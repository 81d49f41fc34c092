"""A training's state on disk: written aside and renamed, so that a kill leaves the old file or the new one.

The file is a SHA-256 of what follows and then torch's own format. A file that was torn or altered all the same (a full
disk, lost power) fails the sum and counts as absent: the training starts over, which costs time and never a wrong
number. For the same reason nothing here waits for the disk.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

_DIGEST = 32  # bytes


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`: tensors, numbers, text, and lists and dicts of them."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        aside.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def load(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Any] | None, str | None]:
    """(state, None), or (None, None) where there is no file, or (None, reason) where it can't be used.

    Only tensors and plain data are read, never code (weights_only).
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None, None
    content = raw[_DIGEST:]
    if hashlib.sha256(content).digest() != raw[:_DIGEST]:
        return None, f"{path}: incomplete or altered checkpoint ({len(raw)} bytes); the training starts over"
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    return state, None
