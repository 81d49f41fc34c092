"""How many trials a cluster holds, and what is said of one that can't be joined."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import made_up
import pytest

from orchestrator import spec
from orchestrator.engine import Engine
from orchestrator.errors import UserError
from orchestrator.ray import joined
from orchestrator.ray.joined import MANY, JoinedCluster, room
from orchestrator.records import Slots

BIG, SMALL, WITHOUT = {"CPU": 16.0, "GPU": 4.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 8.0}


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        (1, 0, 16 + 3 + 8),
        (2, 0, 8 + 1 + 4),  # the third CPU of the small one and nobody else's make no trial
        (0.5, 0, 32 + 6 + 16),
        (0.1, 0, 160 + 30 + 80),
        (1, 1, 4 + 1),
        (1, 0.25, 16 + 3),  # the small one's GPU would hold four, its CPUs hold three
        (1, 0.4, 8 + 2),  # twice on each GPU, not ten times on four
        (1, 2, 2),
        (8, 1, 2),
        (32, 0, 0),
    ],
)
def test_a_trial_has_its_place_on_one_node(cpus: float, gpus: float, expected: int) -> None:
    assert room([BIG, SMALL, WITHOUT], Slots(1, cpus, gpus)) == expected


def test_the_room_follows_the_nodes_and_never_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, clock = [WITHOUT], [0.0]
    monkeypatch.setattr(joined, "_join", lambda address: None)
    monkeypatch.setattr(joined, "_nodes", lambda: list(nodes))
    monkeypatch.setattr(joined.time, "monotonic", lambda: clock[0])
    clock[0] = 100.0
    cluster = JoinedCluster("auto", 1, None, None)
    assert cluster.slots == Slots(8, 1, 0.0) and cluster.room() == 8 and cluster.most == MANY
    nodes.append(SMALL)
    assert cluster.room() == 8, "looked at a moment ago"
    clock[0] += 2
    assert cluster.room() == 11
    nodes.clear()
    clock[0] += 2
    assert cluster.room() == 1, "what waits for the next node"
    nodes[:] = [BIG]
    few = JoinedCluster("auto", 1, None, 3)
    clock[0] += 2
    assert few.slots == Slots(3, 1, 1.0) and few.room() == 3, "a GPU each where there are any; --workers caps"


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "127.0.0.1", "no such place", "127.0.0.1:1"])
def test_an_address_where_no_cluster_is_is_named_at_once(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=r"^--address [^\n]*$"):
        joined._reach(address)
    assert time.monotonic() - began < 30


def test_nobody_listening_is_said_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UserError, match="nothing answers at"):
        joined._reach(f"127.0.0.1:{port}")


def test_data_that_a_node_lacks_is_said_in_one_line(tmp_path: Path) -> None:
    from orchestrator.ray.trainable import _data

    with pytest.raises(UserError, match=rf"^{socket.gethostname()}: no prepared data at [^\n]*$"):
        _data(str(tmp_path / "digits"), "version", None, 1.0, "classification", "cpu")


def test_a_node_that_dies_is_not_held_against_the_trial(tmp_path: Path) -> None:
    with contextlib.closing(made_up.opened(tmp_path)) as writer:
        engine: Engine = made_up.begin(writer, tmp_path, made_up.spec())
        trial = engine.next()
        assert trial is not None
        for _ in range(10):
            engine.lost(trial.id, "its node went away", by_node=True)
            assert engine.history.trials[trial.id].status not in ("failed",)
            assert engine.next() == trial, "the same trial, again"
        for _ in range(5):
            engine.lost(trial.id, "killed")
            engine.next()
        assert engine.history.trials[trial.id].status == "failed"


@pytest.mark.parametrize(
    "storage", ["relative/folder", "gs://bucket/x", "s3://", "s3://key:secret@bucket/x", "file:///x"]
)
def test_storage_is_a_place_that_every_node_sees(tmp_path: Path, storage: str) -> None:
    with pytest.raises(UserError, match="storage") as told:
        _loaded(tmp_path, storage)
    assert "secret" not in str(told.value) or "keys" in str(told.value)


def test_storage_decides_no_result(tmp_path: Path) -> None:
    prints = {_loaded(tmp_path, storage).fingerprint({}) for storage in ("/shared/a", "s3://bucket/b?region=x", None)}
    assert len(prints) == 1


def _loaded(folder: Path, storage: str | None) -> spec.Sweep:
    path = folder / "a.yaml"
    path.write_text(f"name: a\ndata: digits\nfamilies: [mlp]\n{'' if storage is None else f'storage: {storage}'}\n")
    return spec.load(path)[0][0]
