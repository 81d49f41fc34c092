"""Ray that does not come up in time, as on a busy machine."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from orchestrator.errors import UserError
from orchestrator.ray import tuner
from orchestrator.records import Slots


@pytest.mark.parametrize("failures", [0, tuner.ATTEMPTS - 1, tuner.ATTEMPTS])
def test_it_is_started_again_and_given_up_in_one_line(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    calls: list[str] = []

    def init(**_: Any) -> None:
        calls.append("init")
        if calls.count("init") <= failures:
            raise RuntimeError("The current node timed out during startup.\nAnd more.")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(tuner, "alone", lambda: None)
    monkeypatch.setattr(tuner, "silence", lambda: None)
    slots = Slots(count=1, cpus=1.0, gpus=0.0)
    if failures < tuner.ATTEMPTS:
        tuner._start(slots)
        assert calls == ["init", "shutdown"] * failures + ["init"]
        return
    with pytest.raises(
        UserError, match=r"Ray did not start here \(The current node timed out during startup\.\)"
    ) as told:
        tuner._start(slots)
    assert calls.count("init") == tuner.ATTEMPTS and "\n" not in str(told.value)
