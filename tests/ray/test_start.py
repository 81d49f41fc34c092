"""Ray that does not come up is told in one line."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.ray import tuner
from orchestrator.records import Slots


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine so busy that its processes do not answer in time."""

    def late(**_: Any) -> None:
        raise Exception("The current node timed out during startup.\nSee the logs.")

    monkeypatch.setattr("ray.init", late)
    for name in ("silence", "alone"):
        monkeypatch.setattr(tuner, name, lambda: None)
    cluster = tuner.Cluster(Slots(1, 1.0, 0.0), lambda: None)
    try:
        with pytest.raises(UserError) as caught:
            cluster.wait()
    finally:
        cluster.shutdown()
    assert "(The current node timed out during startup.)" in str(caught.value)
    assert "\n" not in str(caught.value) and "the same command tries again" in str(caught.value)
