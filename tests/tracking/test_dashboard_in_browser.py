"""MLflow's own page on what the mirror wrote, in headless Chromium."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from browser import MARKS, Browser
from made_up_sweep import MadeUpSweep
from test_dashboard import free_port, start

from orchestrator import history
from orchestrator.tracking import mirror

pytestmark = MARKS

SHOWN = "document.body.innerText"
EXPAND = "document.querySelector('.ag-row button[data-component-id*=runnamecellrenderer]')?.click()"


@pytest.mark.timeout(180)
def test_a_sweep_opens_into_its_trials(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=1)
    sweep.run()
    mirror.sync(sweep.run_dir)
    port = free_port()
    server = start(runs, port)
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        browser.look(1500, 900)
        trial = next(iter(history.of(sweep.run_dir).trials))
        deadline = time.monotonic() + 120
        while "demo" not in str(browser.ask(SHOWN)):
            assert time.monotonic() < deadline, browser.ask(SHOWN)
            browser.open(f"http://127.0.0.1:{port}/#/experiments/1/runs")
            time.sleep(3)
        assert trial not in browser.ask(SHOWN)
        while trial not in browser.ask(SHOWN):
            assert time.monotonic() < deadline, browser.ask(SHOWN)
            browser.ask(EXPAND)
            time.sleep(1)
        if picture := os.environ.get("ORCHESTRATOR_PICTURES"):
            browser.picture(Path(picture) / "dashboard.png")
    finally:
        browser.close()
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=20)
