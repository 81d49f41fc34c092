"""What tests of every room may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def orchestrate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command `orchestrate` in this process, through its entry point."""

    def call(*arguments: object) -> Said:
        from orchestrator import cli

        monkeypatch.setattr(sys, "argv", ["orchestrate", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that lasts for all tests of a process."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def without_rights() -> Iterator[Callable[[], None]]:
    """Call it to lose root's rights, to which no folder is closed, for the rest of the test."""

    def lose() -> None:
        if os.geteuid() == 0:
            os.seteuid(65534)

    before = os.geteuid()
    yield lose
    os.seteuid(before)
