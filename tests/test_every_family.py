"""`pipelines/all.yaml`, as it is committed: each family there is trains, is tuned, tracked and reported."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
from projects import finish, launch

from orchestrator import history, records, spec
from orchestrator.data import from_entry
from orchestrator.data.catalog import CATALOG
from orchestrator.models import FAMILIES
from orchestrator.report import contents
from orchestrator.tracking.verify import verify

ROOT = Path(__file__).parents[1]
PIPELINE, REPORT = ROOT / "pipelines" / "all.yaml", ROOT / "reports" / "all.yaml"
# What some families report beside the task's metrics; which of a GAN is one of them.
DIAGNOSTICS = {
    **dict.fromkeys(("gpt", "bert", "vit", "transformer", "seq2seq"), "attention_entropy"),
    **{"gnn": "smoothness", "vae": "active_units", "gan": "coverage"},
}
SWEEPS = {sweep.name: sweep for sweep, _ in spec.load(PIPELINE)}


def test_every_family_has_a_part_and_every_part_a_page() -> None:
    assert {family for sweep in SWEEPS.values() for family in sweep.families} == set(FAMILIES)
    pages = [document.content["sweeps"] for document in contents.pages(REPORT).values()]
    assert [name for page in pages for name in page] == list(SWEEPS)


def test_nothing_of_it_is_downloaded() -> None:
    for sweep in SWEEPS.values():
        given = sweep.data
        data = CATALOG[given] if isinstance(given, str) else from_entry(given, PIPELINE.parent)
        for file in data.files:
            assert file.url.startswith("sklearn:") or data.own[file.name].resolve().is_relative_to(ROOT), file


@pytest.mark.timeout(1200)
def test_every_family_is_tuned_tracked_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    finish(launch(tmp_path, "sweep", str(PIPELINE), "--workers", "2"), seconds=1000)
    finish(launch(tmp_path, "report", str(REPORT), "--out", "report"))
    for (page, document), sweep in zip(contents.pages(REPORT).items(), SWEEPS.values(), strict=True):
        run_dir = tmp_path / "runs" / sweep.name
        found = history.of(run_dir)
        finals = [told for told in found.trials.values() if told.trial.kind == records.FINAL]
        tested = {found.cells[told.trial.cell].family: told.test[found.test_metric] for told in finals}
        assert set(tested) == set(sweep.families)
        assert all(math.isfinite(value) for value in tested.values()), tested
        for told in finals:
            if noted := DIAGNOSTICS.get(found.cells[told.trial.cell].family):
                assert all(-1 <= row[f"validation_{noted}"] <= 1 for row in told.reports), noted
        searched = [told for told in found.trials.values() if told.trial.kind == records.SEARCH]
        assert len(searched) == sweep.trials * len(sweep.families)
        assert {told.status for told in searched} <= {records.COMPLETE, records.DIVERGED}

        counts = verify(run_dir)
        assert counts["mlflow"] == counts["journal"] and counts["mlflow"]["models"] == len(finals)

        assert document.content["title"] in (tmp_path / "report" / page / "index.html").read_text(encoding="utf-8")
        with open(tmp_path / "report" / page / "tables" / "best-of-each-family.csv", encoding="utf-8") as file:
            shown = {row["family"]: float(row[found.test_metric]) for row in csv.DictReader(file)}
        assert shown == tested
