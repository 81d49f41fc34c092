"""What a worker answers, without Ray around it: each end of a trial with its class."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator import records
from orchestrator.data import CATALOG, Card
from orchestrator.data.prepare import prepare
from orchestrator.ray import trainable
from orchestrator.ray.trainable import TrialRunner
from orchestrator.tasks.classification import Classification
from orchestrator.training import fit as fits
from orchestrator.training.divergence import Diverged


@pytest.fixture
def config(tmp_path: Path, data_root: Path) -> dict[str, Any]:
    folder = prepare(CATALOG["digits"], data_root)
    return {
        "run_dir": str(tmp_path),
        "storage": str(tmp_path),
        "data": str(folder),
        "data_version": Card.read(folder).fingerprint,
        "judge": None,
        "task": "classification",
        "starts": {},
        "metric": "validation_loss",
        "direction": "min",
        "patience": None,
        "cpus": 1,
        "device": "cpu",
        "trial": "mlp-xs-1-t000",
        "family": "mlp",
        "size": "xs",
        "data_fraction": 0.2,
        "seed": 1,
        "hyperparameters": {"learning_rate": 0.01, "batch_size": 32},
        "kind": records.SEARCH,
        "rungs": [2],
        "checkpoint_epochs": [2],
        "micro_batches": 1,
        "max_epochs": 4,
    }


@pytest.fixture(autouse=True)
def _long_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainable, "SECONDS_A_MESSAGE", 60.0)


def runner(config: dict[str, Any]) -> TrialRunner:
    """As Tune makes it, without the folders that Tune makes around it."""
    one = TrialRunner.__new__(TrialRunner)
    one.setup(config)
    return one


def test_a_message_ends_at_a_rung_and_its_state_is_on_disk_for_the_pause(
    config: dict[str, Any], tmp_path: Path
) -> None:
    one = runner(config)
    first = one.step()
    assert [row["epoch"] for row in first["rows"]] == [1, 2] and first["ended"] == ""
    assert (tmp_path / "checkpoints" / "mlp-xs-1-t000.pt").is_file()
    # Another worker takes it up later: the same epochs again, then the rest.
    later = runner({**config, "rungs": []}).step()
    assert [row["epoch"] for row in later["rows"]] == [1, 2, 3, 4]
    assert later["rows"][:2] == first["rows"]


def test_a_batch_in_halves_gives_the_same_losses_up_to_rounding(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    step = Classification.step

    def counted(task: Classification, model: nn.Module, inputs: Tensor, targets: Tensor) -> Iterator[Any]:
        rows.append(len(inputs))
        yield from step(task, model, inputs, targets)

    monkeypatch.setattr(Classification, "step", counted)
    whole = runner({**config, "rungs": [1], "checkpoint_epochs": []}).step()["rows"][0]
    batches = [*rows]
    rows.clear()
    halves = runner({**config, "rungs": [1], "checkpoint_epochs": [], "micro_batches": 2}).step()["rows"][0]
    assert [one + other for one, other in zip(rows[::2], rows[1::2], strict=True)] == batches
    assert halves["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("error", "status", "cause", "last_finite"),
    [
        (Diverged("gradient", 1, 7, 2.5), records.DIVERGED, "gradient", 2.5),
        (torch.OutOfMemoryError("CUDA out of memory"), records.FAILED, records.OUT_OF_MEMORY, None),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), records.FAILED, records.OUT_OF_MEMORY, None),
        (KeyError("a bug"), records.FAILED, records.ERROR, None),
    ],
)
def test_each_error_has_its_class(
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
    cause: str,
    last_finite: float | None,
) -> None:
    def failing(*_: object, **__: object) -> Generator[dict[str, Any], None, None]:
        yield {"epoch": 1}
        raise error

    monkeypatch.setattr(fits, "fit", failing)
    answer = runner(config).step()
    assert [row["epoch"] for row in answer["rows"]] == [1], "what it reported before is kept"
    assert (answer["ended"], answer["cause"], answer["last_finite"]) == (status, cause, last_finite)
    assert str(error.args[0]) in answer["reason"]


def test_data_that_changed_or_is_not_there_is_said_in_one_line(config: dict[str, Any]) -> None:
    for change in ({"data_version": "another"}, {"data": "/nowhere/digits"}, {"judge": "another"}):
        answer = runner({**config, **change}).step()
        assert answer["ended"] == records.FAILED and "\n" not in answer["reason"]
