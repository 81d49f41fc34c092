from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from orchestrator.training import checkpoint


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.pt"
    checkpoint.save(path, {"weights": {"w": torch.arange(3.0)}, "rows": [{"epoch": 1, "loss": 0.1}], "none": None})
    state, problem = checkpoint.load(path)
    assert state is not None and problem is None
    assert torch.equal(state["weights"]["w"], torch.arange(3.0))
    assert state["rows"] == [{"epoch": 1, "loss": 0.1}] and state["none"] is None
    assert [file.name for file in path.parent.iterdir()] == ["a.pt"], "nothing else is left"


def test_a_missing_file_is_no_problem(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "a.pt") == (None, None)


def test_a_torn_file_counts_as_absent_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"w": torch.randn(100)})
    whole = path.read_bytes()
    for length in (0, 1, 31, 32, 33, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        state, problem = checkpoint.load(path)
        assert state is None and problem is not None and str(path) in problem, length


def test_an_altered_byte_anywhere_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"w": torch.randn(100)})
    whole = path.read_bytes()
    chance = random.Random(0)
    for place in chance.sample(range(len(whole)), 50):
        altered = bytearray(whole)
        altered[place] ^= 1
        path.write_bytes(altered)
        assert checkpoint.load(path)[0] is None, place


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"epoch": 1})
    write = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        write(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path) == ({"epoch": 1}, None)
    assert list(tmp_path.iterdir()) == [path]


def test_code_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"path": Path("/")})  # an object, not plain data
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        checkpoint.load(path)
