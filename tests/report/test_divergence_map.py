"""Where training diverged: the setting that did it is found, and nothing in noise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report import divergence, frames, render

Made = Callable[..., Path]
SECTION = "sweeps: [demo]\nsections: [divergence]\n"


def read(path: Path) -> frames.Frames:
    return frames.read([path.parents[1] / "runs" / "demo"])


def built(path: Path) -> tuple[str, Path]:
    page = render.build(path, path.parents[1] / "runs")
    found = re.search(r'<p class="answer">(.*?)</p>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return re.sub(r"<[^>]*>", "", found[1]), page.parent


def test_the_setting_that_makes_trials_diverge_is_found(made_up: Made, recipe: Any) -> None:
    """In the made-up sweep every learning rate above 0.12 diverges, and nothing else does."""
    found = divergence.dangers(read(made_up(SECTION, recipe(search=30))))
    for family in ("perceptron", "mlp", "lenet"):
        first = next(one for one in found if one.family == family)
        assert first.hyperparameter == "learning_rate" and first.stands_out
        assert first.worst.top and first.worst.rate > 0.1 and first.elsewhere == 0
        assert not any(one.stands_out for one in found if one.hyperparameter == "dropout")


def test_divergence_by_chance_stands_out_in_few_sweeps(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = 0
    for seed in range(12):
        path = made_up(SECTION, recipe(families=("mlp",), search=12, accidents=False, seed=seed))
        header, tables = frames.read_run(path.parents[1] / "runs" / "demo")
        random = np.random.default_rng(seed)
        for row in tables["trials"]:
            if row["kind"] == "search" and random.random() < 0.2:
                row["status"] = "diverged"
        with monkeypatch.context() as patch:
            patch.setattr(frames, "read_run", lambda _, told=(header, tables): told)
            said += any(one.stands_out for one in divergence.dangers(read(path)))
    assert said <= 2


def test_few_diverged_trials_are_refused(made_up: Made, recipe: Any) -> None:
    frame = read(made_up(SECTION, recipe(families=("mlp",), search=2)))
    assert divergence.dangers(frame) == []


def test_the_answer_names_family_setting_and_rates(made_up: Made, recipe: Any) -> None:
    said, folder = built(made_up(SECTION, recipe(families=("mlp",), search=30)))
    trials = read(folder.parent / "demo.yaml").search
    wild = trials["status"] == "diverged"
    assert f"{wild.sum()} of {(trials['status'] != 'failed').sum()} trials" in said
    assert re.search(r"for mlp, a learning rate of 0\.0\d+ and more, where \d+\s%? ?.*diverged, elsewhere none", said)


def test_a_sweep_without_divergence_says_so(made_up: Made, recipe: Any) -> None:
    """The answer alone: no empty figure, no empty table; their files are there, as for every run of the sweep."""
    said, folder = built(made_up(SECTION, recipe(accidents=False)))
    assert said.startswith("Nowhere: none of the")
    for name in ("index.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search("<figure|<table|figures/|tables/", text)
    assert (folder / "tables" / "divergence.csv").is_file()
    assert "No trial of the search diverged" in (folder / "figures" / "divergence-map.svg").read_text(encoding="utf-8")


def test_how_trials_ended_is_counted_by_cause(made_up: Made, recipe: Any) -> None:
    path = made_up(SECTION, recipe(families=("mlp",), search=30))
    _, folder = built(path)
    table = pd.read_csv(folder / "tables" / "divergence.csv", keep_default_na=False)
    assert list(table["cause"]) == ["nan"]
    assert table["trials"][0] == (read(path).trials["status"] == "diverged").sum()
    assert table["median_last_finite_loss"][0] == 40.0 and table["lowest_learning_rate"][0] > 0.12


def test_rates_count_every_trial_of_the_search_once(made_up: Made, recipe: Any) -> None:
    path = made_up(SECTION, recipe(families=("mlp",), search=30))
    _, folder = built(path)
    table = pd.read_csv(folder / "tables" / "divergence-rates.csv")
    rate = table[table["hyperparameter"] == "learning_rate"]
    ended = divergence.outcomes(read(path))
    assert rate["trials"].sum() == len(ended) and rate["diverged"].sum() == ended["wild"].sum()
    assert list(rate["low"]) == sorted(rate["low"])


def test_the_map_draws_few_of_many_trials(made_up: Made, recipe: Any) -> None:
    _, folder = built(made_up(SECTION, recipe(families=("mlp",), search=150)))
    drawn = (folder / "figures" / "divergence-map.svg").read_text(encoding="utf-8")
    assert len(drawn) < 100_000
    figures = json.loads((folder / "contents.json").read_text(encoding="utf-8"))["sections"][0]["figures"]
    assert figures == ["divergence-map"]
