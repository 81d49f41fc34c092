"""The built report: what it writes, that it is the same each time, and that it says only what is true."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from click.testing import CliRunner

from orchestrator.cli import orchestrate
from orchestrator.errors import UserError
from orchestrator.report import frames, render, svg, theme
from orchestrator.report.sections import SECTIONS, run
from orchestrator.spec import NO_LIMIT
from orchestrator.tracking import artifacts

Made = Callable[..., Path]
BRIEF = "sweeps: [demo]\n"
SMALL: dict[str, Any] = {"families": ("mlp",), "search": 12}


def build(path: Path) -> Path:
    return render.build(path, path.parents[1] / "runs")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, prepare_whole: Made) -> Iterator[Path]:
    """The page of the whole made-up sweep, built once."""
    with pytest.MonkeyPatch.context() as patch:
        yield build(prepare_whole(patch, tmp_path_factory.mktemp("whole")))


def answers(page: Path) -> dict[str, str]:
    """The plain text of each section's answer."""
    found = re.findall(r'<section id="(\w+)".*?<p class="answer">(.*?)</p>', page.read_text(encoding="utf-8"), re.S)
    return {name: re.sub(r"<[^>]*>", "", text) for name, text in found}


class Balance(HTMLParser):
    """Complains about a tag that is closed without being open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "link", "br", "hr", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_well_formed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", text) == []
    assert "@import" not in text and "url(http" not in text
    balance = Balance()
    balance.feed(text)
    assert balance.open == []


def test_every_section_opens_with_an_answer(page: Path) -> None:
    said = answers(page)
    assert list(said) == [name for name in SECTIONS if name not in {"signs", "samples"}], (
        "the made-up networks have none"
    )
    assert all(text.endswith(".") and len(text) > 20 for text in said.values())


def test_losses_of_families_that_each_have_their_own_are_not_compared(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of generators: one's is a bound in nats, the other's a squared error of noise."""
    asked = "sweeps: [demo]\nsections: [summary, scaling, frontier, catch_up, cells]\n"
    path = made_up(asked, recipe(families=("mlp", "lenet"), search=4))
    assert list(answers(build(path))) == ["summary", "scaling", "frontier", "catch_up", "cells"]
    monkeypatch.setattr(frames, "LOSSES_OF_THEIR_OWN", {frames.read([path.parents[1] / "runs" / "demo"]).card["task"]})
    apart = build(path)
    silent = {name for name, answer in answers(apart).items() if "mlp and lenet has a loss of its own" in answer}
    assert silent == {"scaling", "frontier", "catch_up"}
    assert "Test loss" not in apart.read_text(encoding="utf-8")
    alone = made_up(asked, recipe(families=("mlp",), search=4))
    assert "scaling" in answers(build(alone)), "one family's are comparable"


@pytest.mark.parametrize(
    ("asked", "searched", "finalists"),
    [
        ({"trials": 12, "finalists": 3}, "12 trials a cell", "3 fresh seeds a cell"),
        ({"trials": 12, "transfer_trials": 2}, "12 trials a cell, 2 where smaller cells led", "0 fresh seeds a cell"),
        ({"trials": NO_LIMIT}, "as many trials as the budget paid for", "0 fresh seeds a cell"),
        (
            {"finalists": 3, "finalists_on": [0.5]},
            "0 trials a cell",
            "3 fresh seeds a cell with 50\u202f% of the training rows",
        ),
    ],
)
def test_the_card_of_a_run_says_which_cells_had_fewer(asked: dict[str, Any], searched: str, finalists: str) -> None:
    assert (run._searched(asked), run._finalists(asked)) == (searched, finalists)


def test_of_several_pages_those_are_made_whose_sweeps_are_there(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_up("sections: [cells]\npages:\n  a: {sweeps: [lost]}\n  b: {sweeps: [demo]}\n", recipe(**SMALL))
    monkeypatch.setattr(artifacts, "attach_report", lambda *_: None)
    ended = CliRunner().invoke(orchestrate, ["report", str(path), "--runs", str(path.parents[1] / "runs")])
    assert isinstance(ended.exception, UserError) and "demo.yaml:3: no sweep 'lost'" in str(ended.exception)
    assert (path.with_suffix("") / "b" / "index.html").is_file()


def test_the_same_run_gives_the_same_bytes(made_up: Made, recipe: Any, tmp_path: Path) -> None:
    path = made_up(BRIEF, recipe(**SMALL))
    first, second = (render.build(path, tmp_path / "runs", tmp_path / name).parent for name in ("a", "b"))
    names = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert len(names) > 15
    assert [(first / name).read_bytes() for name in names] == [(second / name).read_bytes() for name in names]


def test_the_manifest_does_not_depend_on_what_was_measured(made_up: Made, recipe: Any) -> None:
    one = build(made_up(BRIEF, recipe(seed=1, **SMALL))).with_name("contents.json").read_text(encoding="utf-8")
    other = build(made_up(BRIEF, recipe(seed=2, **SMALL))).with_name("contents.json").read_text(encoding="utf-8")
    assert one == other


def test_nor_on_what_went_wrong(made_up: Made, recipe: Any) -> None:
    asked = "sweeps: [demo]\nsections: [divergence, failures]\n"
    texts = [build(made_up(asked, recipe(accidents=accidents, **SMALL))) for accidents in (True, False)]
    assert len({path.with_name("contents.json").read_text(encoding="utf-8") for path in texts}) == 1


def test_the_manifest_names_every_file(page: Path) -> None:
    listed = json.loads(page.with_name("contents.json").read_text(encoding="utf-8"))["sections"]
    tables = {name: columns for one in listed for name, columns in one["tables"].items()}
    assert {path.stem for path in page.parent.glob("tables/*")} == set(tables)
    assert {path.stem for path in page.parent.glob("figures/*")} == {name for one in listed for name in one["figures"]}
    for name, columns in tables.items():
        assert list(pd.read_csv(page.parent / "tables" / f"{name}.csv").columns) == columns


def test_metrics_are_flat_finite_numbers(page: Path) -> None:
    metrics = json.loads(page.with_name("metrics.json").read_text(encoding="utf-8"))
    assert metrics["trials"] == metrics["complete"] + metrics["pruned"] + metrics["diverged"] + metrics["failed"]
    assert 0 < metrics["lenet.test_accuracy"] < 1
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_a_figure_file_stands_alone(page: Path) -> None:
    for path in page.parent.glob("figures/*.svg"):
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "var(--" not in text and "#0a0b" not in text and "<a " not in text


def test_a_number_in_a_figure_is_not_rounded(page: Path) -> None:
    best = pd.read_csv(page.parent / "tables" / "best-of-each-family.csv").iloc[0]
    assert f"{best['family']}  {best['test_accuracy']:.4f}" in (
        page.parent / "figures" / "best-of-each-family.svg"
    ).read_text(encoding="utf-8")


def test_every_run_that_is_referred_to_is_listed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r'href="#(trial-[^"]+)"', text)) <= set(re.findall(r'<tr id="(trial-[^"]+)"', text))


def test_a_long_sweep_lists_only_the_runs_it_refers_to(made_up: Made) -> None:
    page = build(made_up("sweeps: [demo]\nsections: [cells, provenance]\noptions: {rows: 10}\n"))
    text = page.read_text(encoding="utf-8")
    listed = set(re.findall(r'<tr id="trial-([^"]+)"', text))
    everything = set(pd.read_csv(page.parent / "tables" / "trials.csv")["trial"])
    assert 10 < len(listed) < len(everything)
    assert set(re.findall(r'href="#trial-([^"]+)"', text)) == listed


def test_without_provenance_no_link_is_dead(made_up: Made) -> None:
    text = build(made_up("sweeps: [demo]\nsections: [summary]\n")).read_text(encoding="utf-8")
    assert "#trial-" not in text
    assert "f005" in text


def test_text_from_a_run_cannot_become_markup(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "out of memory &lt;allocator&gt; &amp; worker lost" in text
    assert "<allocator>" not in text


def test_what_an_earlier_build_left_is_gone(made_up: Made) -> None:
    path = made_up("sweeps: [demo]\nsections: [summary]\n")
    folder = build(path).parent
    mine = [folder / "tables" / "of-mine.csv", folder / "figures" / "of-mine.svg"]
    for file in mine:
        file.write_text("not the report's", encoding="utf-8")
    path.write_text("sweeps: [demo]\nsections: [cells]\n", encoding="utf-8")
    build(path)
    there = {*folder.glob("tables/*"), *folder.glob("figures/*")}
    assert there == {folder / "tables" / "cells.csv", *mine}, "what lies there beside it is left alone"
    assert set(render.files_of(folder)) == {file for file in folder.rglob("*") if file.is_file()} - set(mine)


def test_a_folder_that_cannot_be_written_to_is_a_clear_error(made_up: Made, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be written to"):
        render.build(made_up("sweeps: [demo]\nsections: [failures]\n"), tmp_path / "runs", tmp_path / "taken")


def test_families_may_draw_the_same_hyperparameter_in_other_ways(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of numbers beside a range, a range from 0 beside a logarithmic one, and one that no trial has had."""
    path = made_up("sweeps: [demo]\nsections: [search]\n", recipe(families=("mlp", "lenet"), search=4))
    header, tables = frames.read_run(Path("demo"))
    spaces = {family: dict(space) for family, space in header["spaces"].items()}
    spaces["mlp"]["dropout"] = {"type": "choice", "values": [0.0]}
    spaces["mlp"]["weight_decay"] = {"type": "float", "low": 0.0, "high": 0.01}
    spaces["mlp"]["patch"] = {"type": "choice", "values": ["large"]}
    spaces["lenet"]["l1"] = {"type": "float", "low": 1e-6, "high": 1e-3, "log": True, "when": {"optimizer": ["lion"]}}
    trials = [
        row | {"config": json.dumps(json.loads(row["config"]) | {"weight_decay": 0.0})}
        if row["trial"] == "mlp-s-1-t000"
        else row
        for row in tables["trials"]
    ]
    changed = header | {"spaces": spaces}, tables | {"trials": trials}
    monkeypatch.setattr(frames, "read_run", lambda run_dir: changed)
    assert "weight decay: validation accuracy" in build(path).read_text(encoding="utf-8")
    read = frames.read([Path("demo")])
    assert [name for name in read.hyperparameters if read.is_choice(name)] == [
        *("batch_size", "optimizer", "nesterov", "schedule", "activation", "patch")
    ]


def test_networks_that_are_not_of_their_sizes_parameters_are_told(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_up("sweeps: [demo]\nsections: [scaling]\n", recipe(families=("mlp",), search=4))
    assert "networks that were found have" not in build(path).read_text(encoding="utf-8")
    header, tables = frames.read_run(Path("demo"))
    trials = [row | {"own_params": row["params"] * (2 if row["size"] == "m" else 1)} for row in tables["trials"]]
    monkeypatch.setattr(frames, "read_run", lambda run_dir: (header, dict(tables) | {"trials": trials}))
    assert "networks that were found have 1.0 to 2.0 times as many" in build(path).read_text(encoding="utf-8")


def test_of_one_family_no_differences_are_explained(made_up: Made, recipe: Any) -> None:
    asked = "sweeps: [demo]\nsections: [summary]\n"
    one, two = (
        build(made_up(asked, recipe(families=families, search=4))).read_text(encoding="utf-8")
        for families in (("mlp",), ("mlp", "lenet"))
    )
    assert "the bar is what fresh seeds change" in one and "whole interval" not in one
    assert "whole interval" in two and "the bar is what fresh seeds change" not in two


@pytest.mark.parametrize(
    ("change", "section", "said"),
    [
        ({"finals": 0}, "summary", "no finalist has a test accuracy"),
        ({"finals": 0}, "scaling", "no finalist has been tested"),
        ({"families": ("mlp",)}, "summary", "Only mlp was tested"),
        ({"finals": 1}, "summary", "Cannot tell"),
        ({"search": 2}, "search", "Too few trials to say"),
        ({"epochs": 1, "search": 2}, "curves", "Every training had one epoch"),
        ({"accidents": False}, "failures", "Nothing: none of"),
        ({"sizes": ("s",), "fractions": (1.0,)}, "scaling", "identify no power law"),
    ],
)
def test_an_answer_says_what_is_not_known(
    made_up: Made, recipe: Any, change: dict[str, Any], section: str, said: str
) -> None:
    asked = f"sweeps: [demo]\nsections: [{section}]\n"
    assert said in answers(build(made_up(asked, recipe(**change))))[section]


def test_a_sweep_in_its_first_minute_can_be_looked_at(made_up: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial waits, nothing has been reported, the session is open."""
    path = made_up()
    header, tables = frames.read_run(path.parents[1] / "runs" / "demo")
    known = ("trial", "cell", "family", "size", "data_fraction", "kind", "number", "seed", "config", "params")
    waiting: dict[str, Any] = {key: value if key in known else None for key, value in tables["trials"][0].items()}
    waiting |= {"status": "asked", "epochs": 0, "flops": 0, "seconds": 0, "samples": 0, "reason": "", "worker": ""}
    fresh = dict(header) | {"sessions": [{"began": 1.0, "workers": 2}], "state": None, "ended": 1.0}
    cell = dict(tables["cells"][0]) | {"asked": 1, "complete": 0, "pruned": 0, "diverged": 0, "failed": 0, "best": None,
                                 "best_trial": None, "test": None, "test_sd": None, "finals": 0}  # fmt: skip
    monkeypatch.setattr(frames, "read_run", lambda _: (fresh, {"trials": [waiting], "reports": [], "cells": [cell]}))
    said = answers(build(path))
    assert "1 has not ended" in said["run"]
    assert "Not known yet" in said["curves"]


@pytest.mark.parametrize(("share", "shown"), [(None, False), (1.0, False), (0.6, True)])
@pytest.mark.parametrize(
    ("column", "words"), [("params_without_embeddings", "without embeddings"), ("best_params", "… of the best")]
)
def test_other_counts_of_parameters_are_shown_where_they_differ(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch, column: str, words: str, share: float, shown: bool
) -> None:
    """A journal from before they were counted says nothing of them."""
    path = made_up("sweeps: [demo]\nsections: [cells]\n", recipe(**SMALL))
    header, tables = frames.read_run(path.parents[1] / "runs" / "demo")
    counts = [None if share is None else int(share * cell["params"]) for cell in tables["cells"]]
    cells = [dict(cell) | {column: count} for cell, count in zip(tables["cells"], counts, strict=True)]
    monkeypatch.setattr(frames, "read_run", lambda _: (header, dict(tables) | {"cells": cells}))
    page = build(path)
    assert (words in page.read_text(encoding="utf-8")) == shown
    told = pd.read_csv(page.parent / "tables" / "cells.csv")[column]
    assert told.isna().all() if share is None else sorted(told) == sorted(counts)


@pytest.mark.parametrize(("theme_name", "page_colour"), [("light", "#fbfaf7"), ("dark", "#141518")])
def test_every_colour_of_text_stands_out_from_the_page(theme_name: str, page_colour: str) -> None:
    """Contrast of 4.5 or more (WCAG 2.2, AA), the families beyond those of the made-up sweep included."""

    def light(colour: str) -> float:
        channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    style = Path(render.__file__).with_name("page.css").read_text(encoding="utf-8")
    assert f"--page: {page_colour}" in style
    for name, colour in theme.PALETTE.items():
        if name.startswith("family-") or name in ("ink", "muted"):
            pair = sorted([light(getattr(colour, theme_name)), light(page_colour)])
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, name


def test_no_two_of_many_families_look_the_same() -> None:
    families = [f"family{n}" for n in range(24)]
    dress = theme.Dress(families)
    assert len({(dress.colour(family), dress.marker(family)) for family in families}) == 24


def test_labels_of_ticks_have_room_beside_each_other() -> None:
    times = [60.0, 65.0, 70.0, 75.0, 80.0, 85.0, 90.0]
    assert theme.side_by_side(times, lambda value: f"{value:g}") == times
    assert theme.side_by_side(times, lambda value: f"1 min {value - 60:02g} s") == times[::2]
    assert theme.side_by_side(times, lambda value: "x" * 50) == [60.0]


def test_ticks_of_a_logarithmic_axis_have_room_where_they_lie_close() -> None:
    ticks = [2e8, 4e8, 6e8, 8e8, 1e9]
    assert theme._with_room(ticks, 6.0, lambda value: "1") == ticks
    assert theme._with_room(ticks, 6.0, lambda value: f"{value / 1e6:,.0f} M") == [2e8, 4e8, 6e8, 1e9]


def test_labels_move_apart_as_little_as_needed() -> None:
    assert theme.apart([0.0, 100.0], 10) == [0.0, 100.0]
    assert theme.apart([50.0, 50.0, 50.0], 10) == [40.0, 50.0, 60.0]
    assert theme.apart([3.0, 0.0], 10) == [6.5, -3.5]


def test_two_panels_of_one_page_share_no_ids() -> None:
    def ids(name: str) -> set[str]:
        with theme.style(name):
            figure, axes = theme.panel()
            axes.scatter([1, 2], [1, 2])
            return set(re.findall(r' id="([^"]*)"', svg.text_of(figure)))

    assert ids("one") and not ids("one") & ids("two")
    assert ids("one") == ids("one")


@pytest.mark.slow
def test_ten_thousand_trials_make_a_page_in_twenty_seconds_and_ten_megabytes(made_up: Made, recipe: Any) -> None:
    grid = {"sizes": ("xs", "s", "m", "l", "xl"), "fractions": (0.1, 0.25, 0.5, 1.0)}
    path = made_up("sweeps: [demo]\n", recipe(search=164, finals=3, **grid))
    begun = time.process_time()
    page = build(path)
    assert time.process_time() - begun < 20
    assert page.stat().st_size < 10_000_000
    assert len(pd.read_csv(page.parent / "tables" / "trials.csv")) >= 10_000


def test_a_difference_that_does_not_matter_may_be_said(made_up: Made, recipe: Any) -> None:
    """By default it is half of what seeds make, which the luck of so short a search is wider than."""
    default = build(made_up("sweeps: [demo]\nsections: [summary]\n", recipe(search=12)))
    assert "could not have shown" in default.read_text()
    larger = build(made_up("sweeps: [demo]\nsections: [summary]\noptions: {delta: 100}\n", recipe()))
    assert "No difference larger than 100" in larger.read_text()
    assert "as this report asks" in larger.read_text() and "could not have shown" not in larger.read_text()
