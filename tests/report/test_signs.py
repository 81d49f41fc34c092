"""Signs of trouble: what finalists note of themselves at their best epoch, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.report import contents, frames
from orchestrator.report.pieces import Context, Section, Table
from orchestrator.report.sections import SECTIONS, signs, summary
from orchestrator.report.theme import Dress

Made = Callable[..., Path]
Noted = Callable[[Mapping[str, Any]], Mapping[str, float]]
ENTROPY, UNITS = "validation_attention_entropy", "validation_active_units"


@pytest.fixture
def context(made_up: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[[Noted], Context]:
    """A function: the made-up sweep whose reports hold, beside the rest, what is noted of each."""

    def make(noted: Noted) -> Context:
        path = made_up()
        asked = contents.load(path, path.parents[1] / "runs", SECTIONS)
        usual = frames.read_run

        def read_run(folder: Path) -> Any:
            header, tables = usual(folder)
            reports = [dict(row) | {"gradient_norm": 1.0} | dict(noted(row)) for row in tables["reports"]]
            return header, dict(tables) | {"reports": reports}

        monkeypatch.setattr(frames, "read_run", read_run)
        read = frames.read(asked.runs)
        return Context(read, asked.options, Dress(read.families))

    return make


def said(context: Context) -> tuple[Section, str]:
    found = signs.section(context)
    assert found is not None
    return found, found.answer.striptags()


def test_networks_without_signs_of_their_own_have_no_place_on_the_page(context: Any) -> None:
    assert signs.section(context(lambda row: {})) is None


def test_a_sign_beyond_its_bound_is_named_with_the_cells_that_show_it(context: Any) -> None:
    found, answer = said(context(lambda row: {ENTROPY: 0.04 if row["trial"].startswith("mlp-xs") else 0.7}))
    assert answer.startswith("mlp-xs-0.25 and mlp-xs-1: attention has collapsed to single places")
    assert found.numbers == {"signs_of_trouble": 1}


def test_where_nothing_shows_it_is_said_what_was_looked_for(context: Any) -> None:
    made = context(lambda row: {ENTROPY: 0.7, UNITS: 0.9})
    _, answer = said(made)
    tested = made.frames.finals["cell"].nunique()
    assert answer == f"No sign of it in attention entropy and active units ({tested} cells)."


def test_the_mean_is_of_the_finalists_at_their_best_epochs(context: Any) -> None:
    made = context(lambda row: {UNITS: row["epoch"] / 100} if "-f" in row["trial"] else {UNITS: 1.0})
    table = signs.of_cells(made)
    finals = made.frames.finals
    expected = finals.groupby("cell")["best_epoch"].mean() / 100
    assert table.set_index("cell")[UNITS].to_dict() == pytest.approx(expected.to_dict())
    assert set(table["finalists"]) == {2}


def test_what_a_sweep_is_judged_by_is_no_sign(context: Any) -> None:
    made = context(lambda row: {ENTROPY: 0.04, "validation_coverage": 0.2})
    found, answer = said(replace(made, frames=replace(made.frames, metric="coverage")))
    assert "attention has collapsed" in answer and "leaves out" not in answer
    assert found.numbers == {"signs_of_trouble": 1}


def test_what_networks_note_of_themselves_is_no_column_of_the_verdict(context: Any) -> None:
    made = context(lambda row: {ENTROPY: 0.7})
    trials = made.frames.trials
    for name in summary.NOTED:
        trials[name] = 0.7
    tables = [piece for piece in summary.section(made).pieces if isinstance(piece, Table)]
    assert not {name for table in tables for name in table.frame.columns} & set(summary.NOTED)
    assert set(summary.NOTED) <= {sign.column.replace("validation", "test") for sign in signs.SIGNS}


def test_a_family_without_the_sign_is_not_in_the_table(context: Any) -> None:
    found, _ = said(context(lambda row: {UNITS: 0.2} if row["trial"].startswith("mlp") else {}))
    [table] = [piece for piece in found.pieces if isinstance(piece, Table)]
    assert isinstance(table.frame, pd.DataFrame)
    assert set(table.frame["family"]) == {"mlp"}
