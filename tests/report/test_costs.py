"""What was spent is what the budget counts, and waste is told from what was worth it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up import finished_run, spec

from orchestrator import history
from orchestrator.report import costs, frames, render
from orchestrator.report.contents import Options
from orchestrator.report.pieces import Context
from orchestrator.report.sections import run
from orchestrator.report.theme import Dress

Made = Callable[..., Path]
SECTION = "sweeps: [demo]\nsections: [budget]\n"


def read(path: Path) -> frames.Frames:
    return frames.read([path.parents[1] / "runs" / "demo"])


def answer(path: Path) -> str:
    text = render.build(path, path.parents[1] / "runs").read_text(encoding="utf-8")
    found = re.search(r'<p class="answer">(.*?)</p>', text, re.S)
    assert found
    return re.sub(r"<[^>]*>", "", found[1]).replace("\u202f", " ")


def changed(
    patch: pytest.MonkeyPatch, path: Path, header: dict[str, Any], trials: Callable[[dict[str, Any]], Any]
) -> None:
    """Give the made-up sweep another header, and `trials` a chance to change each row."""
    old, tables = frames.read_run(path.parents[1] / "runs" / "demo")
    for row in tables["trials"]:
        trials(row)  # type: ignore[arg-type]
    patch.setattr(frames, "read_run", lambda _: (dict(old) | header, tables))


def test_uses_hold_every_trial_once(made_up: Made) -> None:
    frame = read(made_up(SECTION))
    table = costs.by_use(costs.of_trials(frame))
    assert table["trials"].sum() == len(frame.trials)
    assert table["worker_hours"].sum() == pytest.approx(frame.trials["seconds"].sum() / 3600)
    assert table["flops"].sum() == frame.trials["flops"].sum()
    diverged = frame.trials["status"] == "diverged"
    assert table.set_index("use").loc["diverged", "trials"] == diverged.sum()


def test_the_report_counts_as_the_budget_does(tmp_path: Path) -> None:
    """Through a journal as the engine writes it, with trials that diverge."""
    told = history.of(finished_run(tmp_path / "demo", spec(trials=12)))
    frame = frames.read([tmp_path / "demo"])
    table = costs.by_use(costs.of_trials(frame)).set_index("use")
    assert table.loc["diverged", "flops"] > frame.trials.loc[frame.trials["status"] == "diverged", "flops"].sum()
    assert table["flops"].sum() == told.spent.flops
    assert table["worker_hours"].sum() == pytest.approx(told.spent.worker_hours(told.last_event))
    assert frame.headers[0]["spent"]["trials"] == len(told.trials)
    spending = run.spending(Context(frame, Options(), Dress(frame.families))).set_index("status")
    assert spending["flops"].sum() == told.spent.flops and spending.loc["diverged", "flops"].sum() > 0
    assert set(frame.trials["attempts"]) == {1}


def test_time_beyond_the_usual_of_a_trial_begun_twice_is_work_done_again(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_up(SECTION, recipe(families=("mlp",)))

    def spend(row: dict[str, Any]) -> None:
        first = row["trial"] == "mlp-xs-1-f005"
        row |= {"worker_seconds": 2 * row["seconds"] + 100 * first, "attempts": 1 + first}

    changed(monkeypatch, path, {}, spend)
    frame = read(path)
    assert frame.trials["attempts"].max() == 2
    table = costs.by_use(costs.of_trials(frame)).set_index("use")
    assert table.loc["repeated", "worker_hours"] == pytest.approx(100 / 3600)
    assert table.loc["repeated", "trials"] == 1 and table.loc["repeated", "flops"] == 0
    whole = 2 * frame.trials["seconds"].sum() + 100
    assert table["worker_hours"].sum() == pytest.approx(whole / 3600)


def test_waste_is_what_diverged_failed_or_was_done_again() -> None:
    table = pd.DataFrame({"use": ["searched", "stopped", "diverged", "failed", "repeated"],
                          "worker_hours": [5.0, 2.0, 1.0, 1.5, 0.5], "flops": [8.0, 0.0, 1.0, 1.0, 0.0]})  # fmt: skip
    assert costs.share_of_waste(table, "worker_hours") == pytest.approx(0.3)
    assert costs.share_of_waste(table, "flops") == pytest.approx(0.2)
    assert costs.share_of_waste(table[:0], "flops") is None


def test_the_answer_sets_the_spending_against_the_budget(made_up: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_up(SECTION)
    spent = {"worker_hours": 0.5, "trials": 126, "flops": 1e9, "hours": 0.3}
    header = {"limits": {"worker_hours": 2.0}, "spent": spent, "exhausted": {"limit": "worker_hours"}}
    changed(monkeypatch, path, header, lambda row: None)
    said = answer(path)
    assert "demo used 25 % of 2 h 00 min (time of workers) of its budget, which ended the search" in said
    table = pd.read_csv(path.parent / "demo" / "tables" / "budget-limits.csv").set_index("cost")
    assert table.loc["worker_hours", "share"] == 0.25
    assert pd.isna(table.loc["trials", "limit"]) and table.loc["trials", "spent"] == 126


def test_without_a_budget_or_waste_the_answer_says_so(made_up: Made, recipe: Any) -> None:
    said = answer(made_up(SECTION, recipe(accidents=False)))
    assert "Nothing was wasted." in said and "no budget but its number of trials" in said
