"""The report's YAML: what it may say, and what a mistake in it says back."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.report import contents
from orchestrator.report.sections import SECTIONS

REPORTS = Path(__file__).parents[2] / "reports"


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


def test_without_any_run_the_message_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="orchestrate sweep"):
        load(tmp_path / "runs", "sweeps: [demo]\n")


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_committed_report_loads(path: Path, tmp_path: Path) -> None:
    import yaml

    for name in yaml.safe_load(path.read_text(encoding="utf-8"))["sweeps"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "journal.db").touch()
    assert contents.load(path, tmp_path, SECTIONS).sections
