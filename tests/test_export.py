"""The journal's tables as files."""

from __future__ import annotations

import math
from pathlib import Path

import pandas
import pytest
from made_up import finished_run

from orchestrator import export, history, records
from orchestrator.errors import UserError


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def out(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    written = export.write(run_dir, folder)
    names = {f"{table}.{kind}" for table in export.COLUMNS for kind in ("csv", "parquet")}
    assert {file.name for file in written} == {file.name for file in folder.iterdir()} == names
    return folder


@pytest.mark.parametrize("table", list(export.COLUMNS))
def test_both_formats_hold_the_journals_rows(run_dir: Path, out: Path, table: str) -> None:
    rows = history.tables(history.of(run_dir))[table]
    for read in (pandas.read_parquet(out / f"{table}.parquet"), pandas.read_csv(out / f"{table}.csv")):
        assert len(read) == len(rows) > 0
        assert tuple(read.columns[: len(export.COLUMNS[table])]) == export.COLUMNS[table]
        for said, held in zip(rows, read.to_dict("records"), strict=True):
            for name, value in held.items():
                told = said.get(name)
                if told is None or told == "":
                    assert pandas.isna(value) or value == ""
                else:
                    assert value == told, f"{name} of {table}"


def test_one_row_a_trial_and_one_a_trial_and_epoch(out: Path) -> None:
    trials, reports = (pandas.read_parquet(out / f"{name}.parquet") for name in ("trials", "reports"))
    assert trials["trial"].is_unique
    assert not reports.duplicated(["trial", "epoch"]).any()
    assert trials.set_index("trial")["epochs"].to_dict() == reports.groupby("trial").size().to_dict()


def test_what_is_beside_the_schema_stands_after_it_and_sorted(out: Path) -> None:
    beside = list(pandas.read_parquet(out / "trials.parquet").columns[len(records.TRIALS) :])
    assert beside == sorted(beside)
    assert {"config.learning_rate", "config.momentum", "test_loss"} <= set(beside)


def test_types_survive_parquet(out: Path) -> None:
    trials = pandas.read_parquet(out / "trials.parquet")
    for name, kind in (("seed", "integer"), ("epochs", "integer"), ("value", "floating"), ("status", "string")):
        assert pandas.api.types.infer_dtype(trials[name], skipna=True) == kind, name


@pytest.mark.parametrize("values", [[1, "none"], [True, 0.5, "x"], [True, 2]])
def test_a_choice_of_mixed_kinds_is_text_that_parquet_can_hold(tmp_path: Path, values: list[object]) -> None:
    made = export.frame([{"trial": str(n), "config.x": value} for n, value in enumerate([*values, None])], ("trial",))
    made.to_parquet(tmp_path / "x.parquet")
    read = pandas.read_parquet(tmp_path / "x.parquet")["config.x"]
    assert list(read[:-1]) == [str(value) for value in values] and pandas.isna(read.iloc[-1])


def test_a_columns_type_is_that_of_its_values_and_not_of_their_luck() -> None:
    rows = [{"whole": 1, "real": 1.0, "flag": True, "flops": 2**70, "word": "1"}, {"real": 2.0}]
    kinds = {name: str(kind) for name, kind in export.frame(rows, ()).dtypes.items()}
    assert kinds == {"whole": "Int64", "real": "Float64", "flag": "boolean", "flops": "Float64", "word": "string"}


def test_infinities_and_empty_tables_can_be_written(tmp_path: Path) -> None:
    made = export.frame([{"trial": "a", "value": math.inf}, {"trial": "b", "value": -math.inf}], ("trial", "value"))
    made.to_parquet(tmp_path / "x.parquet")
    assert list(pandas.read_parquet(tmp_path / "x.parquet")["value"]) == [math.inf, -math.inf]
    assert list(export.frame([], ("trial", "value")).columns) == ["trial", "value"]


def test_a_file_where_the_folder_should_be_is_named(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match=r"out: cannot be written to \(.+\); give another --out"):
        export.write(run_dir, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
