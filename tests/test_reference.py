"""`make reference`: a sweep for every floor, and the table of what came out. The sweeps themselves take hours."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import copied, finished_run, spec

from orchestrator import history
from orchestrator import spec as specifications
from orchestrator.data import CATALOG, Card, from_entry
from orchestrator.data.prepare import prepare
from orchestrator.journal import Event, events
from orchestrator.models import FAMILIES
from orchestrator.tasks import TASKS
from orchestrator.training.parameters import describe, way

FILE = Path(__file__).parents[1] / "benchmarks" / "reference.py"


@pytest.fixture(scope="module")
def reference() -> Any:
    found = importlib.util.spec_from_file_location("reference", FILE)
    assert found and found.loader
    module = sys.modules["reference"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    yield module
    del sys.modules["reference"]


def test_every_floor_has_its_sweep_and_every_sweep_its_floor(reference) -> None:
    sweeps = {sweep.name: sweep for sweep, _ in specifications.load(reference.PIPELINE)}
    wanted = {reference.sweep_of(floor, family) for floor in reference.FLOORS for family in floor.families}
    assert set(reference.BEFORE) <= wanted
    assert wanted | {name for names in reference.BEFORE.values() for name in names} == set(sweeps)
    assert {floor.bound for floor in reference.FLOORS if isinstance(floor.bound, str)} <= set(sweeps)
    for floor in reference.FLOORS:
        for family in floor.families:
            sweep = sweeps[reference.sweep_of(floor, family)]
            assert (sweep.data, sweep.families) == (floor.data, [family])
            assert sweep.finalists == 3 and sweep.data_fractions[-1] == 1.0
            task = way(family, CATALOG[floor.data].task)
            assert task and floor.metric in TASKS[task].metrics
    assert {family for sweep in sweeps.values() for family in sweep.families} == set(FAMILIES)


@pytest.mark.parametrize(("bound", "met"), [(10.0, True), (0.0, False)])
def test_a_floor_is_met_by_the_mean_of_the_finalists_on_the_whole_data(
    reference, tmp_path: Path, data_root: Path, bound: float, met: bool
) -> None:
    """The made-up sweep's larger cell has all of the data; its metric is a loss."""
    prepare(CATALOG["digits"], data_root)
    finished_run(tmp_path / "reference-digits-mlp", spec(finalists=3, max_epochs=8))
    floor = reference.Floor("digits", ("mlp",), "loss", bound, "a guess 2.3")
    line = reference.line_of(floor, tmp_path, data_root / "prepared")
    told = history.of(tmp_path / "reference-digits-mlp")
    row = next(row for row in history.cell_rows(told) if row["cell"] == "mlp-m-1")
    card = Card.read(data_root / "prepared" / "digits")
    parameters = describe("mlp", "m", card.input_shape, card.outputs).params
    expected = (row["test"], row["test_sd"], 3, parameters)
    assert (line.mean, line.sd, line.seeds, line.parameters) == pytest.approx(expected)
    assert (line.sign, line.met) == ("≤", met) and line.minutes is not None
    text = reference.table([line])
    assert f"| digits | mlp | {parameters:,} | loss | {row['test']:.4g} ±" in text
    assert f"| ≤ {bound:g} (a guess 2.3) | {'yes' if met else '**no**'} |" in text


def test_a_floor_is_not_met_by_a_sweep_that_goes_on_nor_by_the_finalists_that_survived(
    reference, tmp_path: Path, data_root: Path
) -> None:
    prepare(CATALOG["digits"], data_root)
    floor, runs = reference.Floor("digits", ("mlp",), "loss", 10.0), {}
    whole = list(events(finished_run(tmp_path / "whole", spec(finalists=3))))
    final = next(one.trial for one in whole if one.kind == "ended" and (one.trial or "").startswith("mlp-m-1-f"))

    def diverged(event: Event) -> Event:
        return replace(event, content={"status": "diverged", "reason": "nan", "test": {}})

    runs["going on"] = [event for event in whole if event.kind != "closed"]
    runs["one diverged"] = [diverged(one) if (one.kind, one.trial) == ("ended", final) else one for one in whole]
    for name, told in runs.items():
        copied(told, tmp_path / name / "reference-digits-mlp")
    lines = {name: reference.line_of(floor, tmp_path / name, data_root / "prepared") for name in runs}
    assert (lines["going on"].mean, lines["going on"].met) == (None, None)
    assert (lines["one diverged"].seeds, lines["one diverged"].met) == (2, False)


def test_finalists_of_a_configuration_that_another_has_overtaken_do_not_count(reference, tmp_path: Path) -> None:
    told = history.of(finished_run(tmp_path, spec(finalists=3)))
    first = reference.finalists(told)
    assert [one.trial.cell for one in first] == ["mlp-m-1"] * 3
    other = next(
        one for one in told.trials.values() if one.trial.cell == "mlp-m-1" and one.trial.config != first[0].trial.config
    )
    other.status, other.value = "complete", 0.0  # a loss
    assert reference.finalists(told) == []


@pytest.mark.parametrize(("value", "sign", "met"), [(1.0, "≥", True), (1.0, ">", False), (1.0, "<", False)])
def test_some_floors_must_be_passed_not_reached(reference, value: float, sign: str, met: bool) -> None:
    assert reference._meets(value, sign, 1.0) is met


def test_a_sweep_that_was_not_run_to_its_end_fails_the_whole(
    reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reference.py", "--family", "unet", "--runs", str(tmp_path)])
    monkeypatch.setattr(reference, "run", lambda name, chosen: 2)
    monkeypatch.setattr(reference, "all_met", lambda lines: True)
    with pytest.raises(SystemExit) as ended:
        reference.main()
    assert ended.value.code == 1
    assert "not run to the end, see above: reference-nuclei-unet" in capsys.readouterr().out


def test_the_best_of_several_families_counts_and_what_was_not_run_is_said(
    reference, tmp_path: Path, data_root: Path
) -> None:
    prepare(CATALOG["digits"], data_root)
    floor = reference.Floor("digits", ("lenet", "mlp"), "loss", 1.0)
    nothing = reference.line_of(floor, tmp_path, data_root / "prepared")
    assert (nothing.family, nothing.met, nothing.mean) == ("lenet or mlp", None, None)
    assert "| not run |" in reference.table([nothing])
    finished_run(tmp_path / "reference-digits-mlp", spec(finalists=2))
    one = reference.line_of(floor, tmp_path, data_root / "prepared")
    assert one.family == "mlp, the best of lenet, mlp" and one.seeds == 2
    reference.write([nothing, one], tmp_path / "reference")
    assert json.loads((tmp_path / "reference" / "table.json").read_text())[1]["family"] == one.family
    assert (tmp_path / "reference" / "table.md").read_text() == reference.table([nothing, one]) + "\n"


def test_a_floor_may_be_what_another_sweep_has_reached(reference, tmp_path: Path, data_root: Path) -> None:
    prepare(CATALOG["digits"], data_root)
    floor = reference.Floor("digits", ("mlp",), "loss", "other", "elsewhere")
    finished_run(tmp_path / "reference-digits-mlp", spec(finalists=3))
    alone = reference.line_of(floor, tmp_path, data_root / "prepared")
    assert (alone.floor, alone.met) == (None, None)
    assert "not known yet (elsewhere) | not run |" in reference.table([alone])
    finished_run(tmp_path / "other", spec(finalists=3, seed=1))
    line = reference.line_of(floor, tmp_path, data_root / "prepared")
    other = reference.tested(reference.finalists(history.of(tmp_path / "other")), "loss")
    assert line.floor == pytest.approx(sum(other) / 3) and line.met == (line.mean <= line.floor)
    assert (line.mean, line.minutes) == (alone.mean, alone.minutes)


def test_errors_of_standardized_targets_are_told_in_their_own_unit(
    reference, tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = Card.read(prepare(CATALOG["diabetes"], data_root)).normalization["target_scale"][0]
    finished_run(tmp_path / "reference-diabetes-mlp")
    plain, scaled = (
        reference.line_of(
            reference.Floor("diabetes", ("mlp",), "loss", 1.0, scaled=unit), tmp_path, data_root / "prepared"
        )
        for unit in (False, True)
    )
    assert scaled.mean == pytest.approx(plain.mean * scale) and scaled.sd == pytest.approx(plain.sd * scale)


def test_floors_of_generators_come_from_the_images(reference, data_root: Path) -> None:
    folder = prepare(CATALOG["digits_images"], data_root)
    # The Gaussian of the digits' pixels is at 9.4 in docs/log.md; a thousand draws of it vary a little.
    assert reference.half_the_distance_of_a_gaussian(folder) == pytest.approx(9.4 / 2, rel=0.15)
    nats = reference.better_than_bernoulli_by_60_nats(folder)
    # The cross-entropy is linear in the image: that of the mean image is the mean.
    train, test = (np.load(folder / f"{name}_inputs.npy").reshape(-1, 64).mean(0) / 16 for name in ("train", "test"))
    train, test = train[train > 0], test[train > 0]  # no digit has ink in the corners
    losses = -(test * np.log(train) + (1 - test) * np.log(1 - train))
    assert nats + 60 == pytest.approx(losses.sum(), abs=0.01)


def anomalies(folder: Path) -> Path:
    """A prepared table of 400 rows, of which an isolation forest finds the anomalies."""
    labels = (np.arange(400) % 10 == 3).astype(np.int64)
    inputs = np.random.RandomState(0).randn(400, 3) + 4 * labels[:, np.newaxis]
    np.savez(folder / "a.npz", X=inputs, y=labels)
    return prepare(from_entry({"name": "mine", "file": "a.npz", "task": "anomaly_detection"}, folder), folder)


def test_the_floor_of_anomalies_is_a_forest_that_was_shown_normal_rows_alone(reference, tmp_path: Path) -> None:
    folder = anomalies(tmp_path)
    assert 0.95 < reference.isolation_forest(folder) <= 1
    # With what is normal and what is not the other way round, it is as far on the wrong side.
    targets = np.load(folder / "test_targets.npy")
    np.save(folder / "test_targets.npy", 1 - targets)
    assert reference.isolation_forest(folder) < 0.05


def test_of_a_group_some_floors_are_enough(reference) -> None:
    floors = [floor for floor in reference.FLOORS if floor.group]
    assert {floor.data for floor in floors} == {name for name in CATALOG if name.startswith("adbench")}

    def lines(*met: bool | None) -> list[Any]:
        nothing = (None, None, 0, "≥", 0.9)
        return [reference.Line("a", "vae", "roc_auc", *nothing, one, None, None, "", "adbench") for one in met]

    assert reference.all_met(lines(True, True, True, False, None))
    assert not reference.all_met(lines(True, True, False, False, None))
    alone = reference.Line("b", "vae", "loss", None, None, 0, "≥", 0.9, False, None, None, "")
    assert not reference.all_met([*lines(True, True, True), alone])
    text = reference.table([*lines(True, True, True, False, None), alone])
    assert text.endswith("\n\nadbench: 3 of 5 floors met; 3 are enough.")
