"""pipelines/scaling.yaml in small: tuned cells, larger ones from where smaller ones lead, and their report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.projects import finish, launch

ROOT = Path(__file__).parents[1]
SMALL = ("data=digits", "families=[mlp, lenet]", "sizes=[xs, s]", "data_fractions=[0.2, 1.0]", "trials=6")
SHORT = ("max_epochs=3", "finalists=2", "tracking=false")


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the ladder was run with transfer and without, and its report was made."""
    folder = tmp_path_factory.mktemp("ladder")
    changes = [word for change in (*SMALL, *SHORT) for word in ("--set", change)]
    pipeline = str(ROOT / "pipelines" / "scaling.yaml")
    finish(launch(folder, "sweep", pipeline, *changes))
    finish(launch(folder, "sweep", pipeline, *changes, "--set", "transfer=false", "--set", "name=scaling_alone"))
    (folder / "reports").mkdir()
    report = yaml.safe_load((ROOT / "reports" / "scaling.yaml").read_text())
    (folder / "reports" / "scaling.yaml").write_text(yaml.safe_dump(report))
    finish(launch(folder, "report", "reports/scaling.yaml"))
    return folder


def test_larger_cells_begin_where_smaller_ones_lead(ladder: Path) -> None:
    finish(launch(ladder, "export", "runs/scaling", "--out", "tables"))
    trials = pd.read_csv(ladder / "tables" / "trials.csv")
    origins = trials[trials["kind"] == "search"].groupby("cell")["origin"].agg(set)
    for family in ("mlp", "lenet"):
        assert origins[f"{family}-xs-0.2"] == {"sampled"}
        # A copy is left out where it is what was predicted.
        assert {"predicted", "sampled"} <= origins[f"{family}-s-1"]
    assert len(trials) == 8 * (6 + 2)


def test_its_report_has_every_section(ladder: Path) -> None:
    contents = json.loads((ladder / "reports" / "scaling" / "contents.json").read_text())
    asked = yaml.safe_load((ROOT / "reports" / "scaling.yaml").read_text())["sections"]
    assert [section["section"] for section in contents["sections"]] == asked
