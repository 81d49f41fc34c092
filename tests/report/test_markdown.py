"""The report as Markdown: it says what the page says, links to what is there, and text stays text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from orchestrator.report import markdown, render
from orchestrator.report.sections import SECTIONS

Made = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, prepare_whole: Made) -> Iterator[Path]:
    """The whole made-up report, built once."""
    with pytest.MonkeyPatch.context() as patch:
        path = prepare_whole(patch, tmp_path_factory.mktemp("whole"))
        yield render.build(path, path.parents[1] / "runs").parent


def text_of(folder: Path) -> str:
    return (folder / "report.md").read_text(encoding="utf-8")


def test_every_section_is_there_with_its_answer(folder: Path) -> None:
    text, page = text_of(folder), (folder / "index.html").read_text(encoding="utf-8")
    questions = [unescape(found) for found in re.findall(r"<h2 [^>]*>(.*?)</h2>", page)]
    assert re.findall(r"^## (.*)$", text, re.M) == questions
    assert len(questions) == len(re.findall(r"^> .{20,}\.$", text, re.M)) == len(SECTIONS) - len({"signs", "samples"})


def test_every_link_leads_to_a_file(folder: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(folder))
    assert all((folder / link).is_file() for link in links)
    assert {link for link in links if link.endswith(".svg")} >= {
        f"figures/{path.name}" for path in folder.glob("figures/best*.svg")
    }
    assert {f"tables/{path.name}" for path in folder.glob("tables/*.csv")} <= set(links)


def test_rows_of_a_table_have_as_many_cells_as_its_head(folder: Path) -> None:
    tables = re.findall(r"(?:^\|.*\|\n)+", text_of(folder), re.M)
    assert len(tables) > 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_text_from_a_run_cannot_become_markup(folder: Path) -> None:
    assert "<allocator>" not in text_of(folder)
    assert markdown._text(Markup.escape("<b> a|b *c* [d](e) _f_ g_h")) == (r"&lt;b&gt; a\|b \*c\* \[d\](e) \_f\_ g_h")


def test_what_the_page_marks_is_marked(folder: Path) -> None:
    assert markdown._text(Markup("of <strong>a</strong>, x<sup>2</sup>, <code>a_b*</code>")) == (
        "of **a**, x<sup>2</sup>, `a_b*`"
    )


def test_a_report_of_many_trials_fits_a_comment(made_up: Made, recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=30, sizes=("xs", "s", "m", "l", "xl")))
    text = text_of(render.build(path, path.parents[1] / "runs").parent)
    assert len(text) < 65_536
    assert "The first 12 of" in text
