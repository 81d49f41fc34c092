"""Where a checkpoint can't be written, training goes on, and says so."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.data.load import Data
from orchestrator.training import checkpoint
from orchestrator.training.fit import Job, Outcome, fit

JOB = Job("mlp", "s", {"learning_rate": 3e-3}, seed=0, max_epochs=6)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["train_loss"] for row in rows]


def test_a_full_disk_ends_no_training_and_is_tried_again(small_disk: Path, few_digits: Data) -> None:
    path, rest, rows = small_disk / "a.pt", small_disk / "rest", []
    epochs = fit(JOB, few_digits, "cpu", path, checkpoint_seconds=0)
    rows.append(next(epochs))
    first = path.read_bytes()
    with pytest.raises(OSError, match="No space"):
        rest.write_bytes(b"x" * (1 << 20))
    rows += [next(epochs), next(epochs)]
    assert path.read_bytes() == first, "the old checkpoint is there still"
    assert sorted(small_disk.iterdir()) == [path, rest], "nothing half written is left"
    rest.unlink()
    rows.append(next(epochs))
    state, _ = checkpoint.load(path)
    assert state is not None and len(state["rows"]) == 4
    outcome = ended(epochs, rows)
    assert outcome.unsaved == "no checkpoint at epoch 3 (2 times so far): No space left on device"
    assert outcome.checkpoint_problem is None
    assert losses(rows) == losses(list(fit(JOB, few_digits)))


def test_a_file_that_may_grow_no_further_is_no_different(few_digits: Data, tmp_path: Path) -> None:
    """As by a quota; Python ignores the signal that comes with it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    epochs, rows = fit(JOB, few_digits, "cpu", tmp_path / "a.pt", checkpoint_seconds=0), []
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        rows.append(next(epochs))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    outcome = ended(epochs, rows)
    assert outcome.unsaved == "no checkpoint at epoch 1: File too large"
    assert losses(rows) == losses(list(fit(JOB, few_digits)))


def test_all_is_well_where_nothing_was_wrong(few_digits: Data, tmp_path: Path) -> None:
    assert ended(fit(JOB, few_digits, "cpu", tmp_path / "a.pt", checkpoint_seconds=0), []).unsaved is None


def ended(epochs: Any, rows: list[dict[str, Any]]) -> Outcome:
    while True:
        try:
            rows.append(next(epochs))
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
