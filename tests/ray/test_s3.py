"""State on S3: what is written is read, or counts as absent, and a sweep that was killed goes on from it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest
import s3
import torch
from projects import PIPELINE, finish, start, write_project

from orchestrator import history, journal
from orchestrator.errors import UserError
from orchestrator.ray import places
from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import join


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    for name, value in s3.KEYS.items():
        monkeypatch.setenv(name, value)
    with s3.running(tmp_path) as running:
        yield running


def test_a_state_is_kept_whole_or_counts_as_absent(server: s3.Server, tmp_path: Path) -> None:
    place = join(server.address("some/folder"), "checkpoints", "a.pt")
    assert str(place).startswith("s3://trials/some/folder/checkpoints/a.pt?endpoint")
    assert checkpoint.load(place) == (None, None)
    checkpoint.save(place, {"w": torch.arange(3.0), "epoch": 1})
    checkpoint.save(place, {"w": torch.arange(4.0), "epoch": 2})
    state, problem = checkpoint.load(place)
    assert state is not None and problem is None
    assert state["epoch"] == 2 and torch.equal(state["w"], torch.arange(4.0))
    assert server.requests("PUT").count("/trials/some/folder/checkpoints/a.pt") == 2, "one request a checkpoint"
    checkpoint.fetch(place, tmp_path / "models" / "a.pt")
    assert checkpoint.load(tmp_path / "models" / "a.pt")[0]["epoch"] == 2  # type: ignore[index]

    checkpoint._write(place, checkpoint._read(place)[:-1])
    assert checkpoint.load(place)[0] is None and "incomplete" in str(checkpoint.load(place)[1])
    with pytest.raises(OSError, match="incomplete"):
        checkpoint.fetch(place, tmp_path / "models" / "b.pt")
    assert not (tmp_path / "models" / "b.pt").exists()
    checkpoint.delete(place)
    checkpoint.delete(place)
    checkpoint.save(place, {})
    checkpoint.delete_folder(join(server.address("some/folder"), "checkpoints"))
    checkpoint.delete_folder(join(server.address("some/folder"), "none"))
    assert checkpoint.load(place) == (None, None)


def test_storage_that_cannot_be_written_to_is_refused_before_anything_starts(server: s3.Server, tmp_path: Path) -> None:
    assert places.storage_of(server.address("x"), tmp_path, "small", "id") == server.address("x/small-id")
    with pytest.raises(UserError, match=r"^storage: s3://no-bucket.* NO_SUCH_BUCKET"):
        places.storage_of(server.address("x").replace("trials", "no-bucket"), tmp_path, "small", "id")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^storage: .*cannot be written to"):
        places.storage_of(str(tmp_path / "file"), tmp_path, "small", "id")


PROMOTION = PIPELINE.replace("sizes: [xs, s]", "sizes: [xs]").replace("max_epochs: 6", "max_epochs: 30")
PROMOTION += "early_stopping: {name: promotion, min_epochs: 3, reduction_factor: 3}\ntracking: false\n"


@pytest.mark.drill
def test_a_killed_sweep_goes_on_from_its_checkpoints(server: s3.Server, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", PROMOTION + f"storage: {server.address('x')}\n")
    run_dir = project / "runs" / "small"
    process = start(project, "--workers", "1", "--set", "trials=8")
    deadline = time.monotonic() + 150
    while not (run_dir / journal.FILE).exists() or history.of(run_dir).reports < 13:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    before = len(server.log.read_text().splitlines())
    printed = finish(start(project, "--workers", "1", "--set", "trials=8"))
    told = history.of(run_dir)
    assert told.closed == "finished" and len(told.trials) == 10, printed
    for trial in told.trials.values():
        assert trial.status in ("complete", "pruned") and not trial.reason, trial.reason
        assert [row["epoch"] for row in trial.reports] == list(range(1, len(trial.reports) + 1))
    keys = [event.key for event in journal.events(run_dir)]
    assert len(keys) == len(set(keys))
    folder = f"/trials/x/small-{told.plan['id']}"
    taken_up = [path for path in server.requests("GET", before) if path.startswith(f"{folder}/checkpoints/")]
    assert taken_up, "no trial went on from S3"
    assert sorted(path.name for path in (run_dir / "models").iterdir()) == ["mlp-xs-0.5-f000.pt", "mlp-xs-0.5-f001.pt"]
    assert not (run_dir / "checkpoints").exists()
    left = pyarrow.fs.FileSelector(f"trials/x/small-{told.plan['id']}", recursive=True)
    names = [one.path for one in checkpoint._opened(server.address("x"))[0].get_file_info(left) if one.is_file]
    assert names and all("/models/" in name for name in names), "what is over keeps no checkpoint"
