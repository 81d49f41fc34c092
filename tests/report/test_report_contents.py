"""The report's YAML: what it may say, and what a mistake in it says back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import UserError
from orchestrator.report import contents
from orchestrator.report.sections import SECTIONS

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "journal.db").touch()
    return tmp_path / "runs"


def load(runs: Path, text: str) -> contents.Contents:
    path = runs.parent / "demo.yaml"
    path.write_text(text, encoding="utf-8")
    return contents.load(path, runs, SECTIONS)


def test_sections_are_all_of_them_unless_some_are_named(runs: Path) -> None:
    assert load(runs, "sweeps: [demo]\n").sections == tuple(SECTIONS)
    assert load(runs, "sweeps: [demo]\nsections: [cells, summary]\n").sections == ("cells", "summary")


def test_a_sweep_may_be_given_as_a_path(runs: Path) -> None:
    assert load(runs, f"sweeps: ['{runs}/demo']\n").runs == (runs / "demo",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sweeps: [demo]\nsectoins: [cells]\n", "demo.yaml:2: unknown key 'sectoins'; did you mean 'sections'?"),
        (
            "sweeps: [demo]\nsections:\n  - cells\n  - scalling\n",
            "demo.yaml:4: unknown section 'scalling'; did you mean",
        ),
        ("sweeps: [demo]\noptions:\n  confidnce: 0.9\n", "demo.yaml:3: unknown key 'options.confidnce'; did you mean"),
        ("sweeps: [demo]\noptions: {confidence: 95}\n", "options.confidence: expected a number from 0.5 to 0.999"),
        ("sweeps: [demo]\noptions: {rows: 1.5}\n", "options.rows: expected a whole number from 0 to 5000"),
        ("sweeps: [demo]\noptions: {rows: true}\n", "options.rows: expected a whole number"),
        ("sweeps: [demo]\noptions: {without_transfer: 3}\n", "options.without_transfer: expected the name of a sweep"),
        ("sweeps: [demo]\noptions:\n  without_transfer: alone\n", "demo.yaml:3: no sweep 'alone' in"),
        ("sweeps: [dmeo]\n", "demo.yaml:1: no sweep 'dmeo' in"),
        ("sweeps: [dmeo]\n", "did you mean 'demo'?"),
        ("sweeps: demo\n", "sweeps: expected a list of names, found 'demo'"),
        ("sweeps: []\n", "sweeps: expected a list of names"),
        ("sweeps: [demo, demo]\n", "'demo' is given twice"),
        ("title: x\n", "'sweeps' is missing"),
        ("title: [x]\nsweeps: [demo]\n", "title: expected a line of text"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_valid(runs: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(runs, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_pages_of_one_file_share_what_stands_beside_them(runs: Path) -> None:
    path = runs.parent / "two.yaml"
    path.write_text(
        "sections: [cells]\npages:\n  a: {sweeps: [demo], title: A}\n  b: {sweeps: [demo], sections: [run]}\n"
    )
    assert list(contents.pages(path)) == ["a", "b"]
    first, second = (contents.load(path, runs, SECTIONS, name) for name in ("a", "b"))
    assert (first.title, first.sections) == ("A", ("cells",))
    assert (second.title, second.sections) == ("b", ("run",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pages: {a: {seeps: [demo]}}", "two.yaml:1: unknown key 'seeps'; did you mean 'sweeps'?"),
        ("pagse: {a: {sweeps: [demo]}}", "two.yaml:1: unknown key 'pagse'; did you mean 'pages'?"),
        ("pages:\n  ../a: {sweeps: [demo]}", "two.yaml:2: '../a' is a folder's name too; use letters"),
        ("pages:\n  a: {title: x}", "two.yaml:2: 'sweeps' is missing"),
        ("pages: [a]", "two.yaml:1: pages: expected a mapping of names"),
    ],
)
def test_a_mistake_in_one_of_several_pages_is_named_with_its_line(runs: Path, text: str, said: str) -> None:
    path = runs.parent / "two.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        for name in contents.pages(path):
            contents.load(path, runs, SECTIONS, name)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_without_any_run_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="orchestrate sweep"):
        load(tmp_path / "runs", "sweeps: [demo]\n")


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_report_loads(path: Path, tmp_path: Path) -> None:
    for page, document in contents.pages(path).items():
        twin = document.content.get("options", {}).get("without_transfer")
        for name in [*document.content["sweeps"], *([twin] if twin else [])]:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "journal.db").touch()
        assert contents.load(path, tmp_path, SECTIONS, page).sections


def test_what_dvc_plots_stands_in_a_table_of_the_page() -> None:
    sections = json.loads((REPORTS / "example" / "contents.json").read_text(encoding="utf-8"))["sections"]
    tables = {name: columns for section in sections for name, columns in section["tables"].items()}
    plots = [
        plot
        for entry in yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
        for plot in entry.values()
    ]
    assert plots
    for plot in plots:
        template = json.loads((ROOT / ".dvc" / "plots" / f"{plot['template']}.json").read_text(encoding="utf-8"))
        used = [template["encoding"]["color"]["field"], plot["x"], *plot["y"].values()]
        (path,) = plot["y"]
        assert set(used) <= set(tables[Path(path).stem])
