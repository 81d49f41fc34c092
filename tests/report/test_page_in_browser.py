"""The page in headless Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import MARKS, Browser

from orchestrator.report import render
from orchestrator.report.sections import SECTIONS

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, prepare_whole: Callable[..., Path]) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        yield render.build(prepare_whole(patch, folder), folder / "runs")


def test_the_page_shows_every_section_without_a_console_error_or_an_outside_request(
    browser: Browser, page: Path
) -> None:
    browser.look(1280, 900)
    browser.open(page)
    shown = browser.ask(
        "[...document.querySelectorAll('main section')].filter(s => s.offsetHeight > 60).map(s => s.id)"
    )
    # The made-up families note nothing of themselves that could be a sign of trouble.
    assert shown == [name for name in SECTIONS if name not in {"signs", "samples"}]
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


def test_nothing_is_cut_off_on_paper(browser: Browser, page: Path) -> None:
    """A4 less its margins is 695 pixels wide; what sticks out would make the printer shrink every page to fit it in."""
    browser.look(695, 980)
    browser("Emulation.setEmulatedMedia", media="print")
    browser.open(page)
    out = browser.ask("[...document.querySelectorAll('td')].filter(e => e.getBoundingClientRect().right > 700).length")
    assert browser.ask("document.documentElement.scrollWidth") <= 700 and out == 0
    browser("Emulation.setEmulatedMedia", media="")


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
