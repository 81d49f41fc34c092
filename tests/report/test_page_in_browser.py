"""The page in headless Chromium, spoken to in its own protocol over a pipe: no driver, no further package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report import render
from orchestrator.report.sections import SECTIONS

BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BINARY = os.environ.get("CHROMIUM") or next((found for name in BINARIES if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BINARY is None, reason=f"no Chromium binary (looked for {', '.join(BINARIES)} and $CHROMIUM)"),
]

# Puts the two pipes where the browser expects them; by way of high numbers, for one may sit where the other must go.
LAUNCHER = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One tab. `events` collects what the page reported on its own."""

    def __init__(self, profile: Path) -> None:
        # The browser reads commands from its file descriptor 3 and writes answers to 4.
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        switches = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "about:blank",
        )
        command = [sys.executable, "-c", LAUNCHER, str(their_in), str(their_out), str(BINARY), *switches]
        self._process = subprocess.Popen(command, pass_fds=(their_in, their_out), stderr=subprocess.DEVNULL)
        os.close(their_in)
        os.close(their_out)
        self.events: list[dict[str, Any]] = []
        self._buffer, self._count, self._session = b"", 0, ""
        targets = self("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "the browser closed"
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        answer: dict[str, Any] = json.loads(message)
        if "method" in answer:
            self.events.append(answer)
        return answer

    def look(self, width: int, height: int, dark: bool = False) -> None:
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, page: Path) -> None:
        self.events.clear()
        self("Page.navigate", url=page.absolute().as_uri())
        deadline = time.monotonic() + 30
        while self.ask("document.readyState") != "complete":
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, path: Path) -> None:
        shot = self("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def print(self, path: Path) -> None:
        path.write_bytes(
            base64.b64decode(self("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.7)["data"])
        )

    def close(self) -> None:
        os.close(self._out)
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._in)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, prepare_made_up: Callable[..., Any]) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        yield render.build(prepare_made_up(patch, folder)(), folder / "runs")


def test_the_page_shows_every_section_without_a_console_error_or_an_outside_request(
    browser: Browser, page: Path
) -> None:
    browser.look(1280, 900)
    browser.open(page)
    shown = browser.ask(
        "[...document.querySelectorAll('main section')].filter(s => s.offsetHeight > 60).map(s => s.id)"
    )
    assert shown == list(SECTIONS)
    assert browser.ask("document.querySelectorAll('figure svg').length") > 10
    errors = [
        event
        for event in browser.events
        if event["method"] == "Runtime.exceptionThrown"
        or (event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "assert"))
        or (event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error")
    ]
    assert errors == []
    asked = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in asked if not url.startswith("data:")] == [page.absolute().as_uri()]


def test_nothing_sticks_out_of_a_phone(browser: Browser, page: Path) -> None:
    browser.look(360, 740)
    browser.open(page)
    assert browser.ask("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("dark", [False, True])
def test_text_in_figures_stands_out_from_the_page(browser: Browser, page: Path, dark: bool) -> None:
    """Contrast of at least 4.5 (WCAG AA) for each colour of text in a figure, on either page."""
    browser.look(1280, 900, dark)
    browser.open(page)
    worst = browser.ask("""(() => {
        const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255;
            return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4 });
            return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2] };
        const ground = light(getComputedStyle(document.body).backgroundColor);
        const texts = [...document.querySelectorAll('figure svg text')].filter(t => t.textContent != '■');
        return Math.min(...texts.map(t => {
            const ink = light(getComputedStyle(t).fill);
            return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05) })) })()""")
    assert worst >= 4.5


def test_every_link_leads_somewhere_and_every_region_has_a_name(browser: Browser, page: Path) -> None:
    browser.look(1280, 900)
    browser.open(page)
    assert (
        browser.ask(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => "
            "!document.getElementById(decodeURIComponent(a.getAttribute('href').slice(1)))).length"
        )
        == 0
    )
    files = browser.ask("[...document.querySelectorAll('a.file')].map(a => a.getAttribute('href'))")
    assert files and all((page.parent / file).is_file() for file in files)
    unnamed = (
        "[...document.querySelectorAll('[tabindex=\"0\"]')].filter(e => e.tagName != 'PRE' && "
        "!e.getAttribute('aria-label') && !document.getElementById(e.getAttribute('aria-labelledby'))).length"
    )
    assert browser.ask(unnamed) == 0
    ids = browser.ask("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
