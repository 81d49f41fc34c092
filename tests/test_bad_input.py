"""Every kind of bad input: one line that names the place and what is valid, exit code 2, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from made_up import finished_run

from orchestrator import journal

PIPELINE = """\
name: small
data: digits
families: [mlp]
sizes: [xs]
trials: 3
finalists: 1
max_epochs: 2
"""
SPACE = """\
family: mlp
parameters:
  learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
  batch_size: {type: int, low: 16, high: 64}
"""
ROWS = [f"{n},{n * 7 % 11},{'yes' if n % 3 else 'no'}" for n in range(60)]


class Project:
    """A user's folder: a pipeline, a search space, a file of data, and perhaps an earlier run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("pipelines", "search_spaces"):
            (folder / name).mkdir()
        self.write("pipelines/small.yaml", PIPELINE)
        self.write("search_spaces/mlp.yaml", SPACE)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def own_data(self, rows: list[str], header: str = "a,b,label", **keys: str) -> None:
        """Put a CSV beside the pipeline and name it there."""
        self.write("pipelines/rows.csv", "\n".join([header, *rows]) + "\n")
        entry = {"name": "rows", "file": "rows.csv", "task": "classification", "target": "label", **keys}
        self.replace("pipelines/small.yaml", "data: digits", f"data: {json.dumps(entry)}")

    def files(self) -> dict[str, bytes]:
        """All that lies here; beside a journal SQLite keeps two files for those who read and write it together."""
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in paths if not path.name.endswith(("-wal", "-shm"))}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_root: Path) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCHESTRATOR_DATA", str(data_root))
    return Project(tmp_path)


def one_line(said, holds: tuple[str, ...]) -> None:
    """Check that a command failed as it should."""
    assert said.code == 2, said
    assert said.err.count("\n") == 1 and said.err.startswith("error: "), said.err
    assert "Traceback" not in said.out + said.err
    for word in holds:
        assert word in said.err, f"{word!r} is not in: {said.err}"


@pytest.fixture
def refuses(orchestrate, project: Project):
    """Checks that a command fails as it should, and that it leaves everything as it was."""

    def check(*arguments: str, holds: tuple[str, ...]) -> None:
        before = project.files()
        one_line(orchestrate(*arguments), holds)
        assert project.files() == before, "something was written or lost"

    return check


SWEEP = ("sweep", "pipelines/small.yaml")


# ---- the specification ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "holds"),
    [
        # an unknown key
        ("trials: 3", "trails: 3", ("small.yaml:5: unknown key 'trails'; did you mean 'trials'?", "max_epochs")),
        ("trials: 3", "sampler: {nmae: tpe}", ("small.yaml:5: unknown key 'sampler.nmae'; did you mean 'name'?",)),
        # a wrong type
        ("trials: 3", "trials: three", ("small.yaml:5: trials: expected a whole number, found 'three'",)),
        ("[mlp]", "mlp", ("small.yaml:3: families: expected a list, found 'mlp'",)),
        # an impossible range
        ("trials: 3", "trials: -1", ("small.yaml:5: trials: must be 1 or more, found -1",)),
        ("sizes: [xs]", "data_fractions: [1.5]", ("small.yaml:4: data_fractions.0: must be 1 or less, found 1.5",)),
        ("trials: 3", "budget: {hours: 0}", ("small.yaml:5: budget.hours: must be above 0, found 0",)),
        ("trials: 3", "budget: {hour: 2}", ("small.yaml:5: unknown key 'budget.hour'; did you mean 'hours'?",)),
        ("trials: 3", "budget: {trials: 1}", ("small.yaml:5: budget.trials: one trial and", "need 2; found 1")),
        ("trials: 3", "budget: {flops: 1.0}", ("small.yaml:5: budget.flops: one trial and", "need", "found 1")),
        ("trials: 3", "storage: s3:/x", ("small.yaml:5: storage: expected an absolute folder or s3://bucket/folder",)),
        # an unknown family, size, data set, sampler, rule
        ("[mlp]", "[mpl]", ("small.yaml:3: families.0: there is no family 'mpl'; did you mean 'mlp'?", "lenet")),
        ("[xs]", "[xss]", ("small.yaml:4: sizes.0: unknown value 'xss'; did you mean 'xs'?", "xl")),
        ("digits", "digit", ("small.yaml:2: data: unknown data set 'digit'; did you mean 'digits'?", "wine")),
        ("trials: 3", "sampler: {name: tp}", ("small.yaml:5: sampler.name: there is no sampler 'tp'", "tpe", "random")),
        (
            "trials: 3",
            "early_stopping: {name: x}",
            ("small.yaml:5: early_stopping.name: there is no rule 'x'", "halving"),
        ),
        # families that can do the task, but not with these data
        (
            "[mlp]",
            "[bert]",
            ("small.yaml:3: bert takes text (token ids), found inputs of 1×8×8, those of digits; ",),
        ),
        (
            "[mlp]",
            "[unet]",
            ("small.yaml:3: unet can't do classification, the task of digits; these can: ",),
        ),
        # a metric that nobody reports
        (
            "trials: 3",
            "metric: validation_f1",
            ("small.yaml:5: metric: classification reports no metric 'validation_f1'", "validation_accuracy"),
        ),
        ("trials: 3", "metric: validation_r2", ("small.yaml:5: metric: classification reports no metric",)),
        # no YAML at all
        ("[mlp]", "[mlp", ("small.yaml:4: not valid YAML",)),
    ],
)
def test_a_bad_specification(refuses, project: Project, old: str, new: str, holds: tuple[str, ...]) -> None:
    project.replace("pipelines/small.yaml", old, new)
    refuses(*SWEEP, holds=("pipelines/", *holds))


def test_a_pipeline_that_is_not_there(refuses) -> None:
    refuses("sweep", "pipelines/smal.yaml", holds=("pipelines/smal.yaml: cannot be read (No such file or directory)",))


@pytest.mark.parametrize(
    ("override", "holds"),
    [
        ("trails=3", ("--set trails: unknown key 'trails'; did you mean 'trials'?",)),
        ("trials=3.5", ("--set trials: expected a whole number, found 3.5",)),
        ("trials", ("--set trials: expected key=value",)),
        ("metric=accuracy", ("--set metric: classification reports no metric 'accuracy'",)),
    ],
)
def test_a_bad_override(refuses, override: str, holds: tuple[str, ...]) -> None:
    refuses(*SWEEP, "--set", override, holds=holds)


def test_more_gpus_than_there_are(refuses) -> None:
    """Not even an empty run is made, under which what is put right would be a change."""
    refuses(
        *SWEEP, "--set", "resources.gpus=100", holds=("resources.gpus: a trial asks for 100 GPUs; this machine has",)
    )


# ---- the search space -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "holds"),
    [
        # a name that the family lacks
        ("learning_rate", "leraning_rate", (":3: mlp has no hyperparameter 'leraning_rate'; did you mean", "dropout")),
        # an unknown key, a wrong type, an impossible range
        ("low: 16", "lwo: 16", (":4: batch_size: unknown key 'lwo'; did you mean 'low'? valid: low, high",)),
        ("type: int", "type: integer", (":4: batch_size: unknown type 'integer'; did you mean 'int'?", "choice")),
        ("low: 16", "low: '16'", (":4: batch_size: 'low' must be a whole number, found '16'",)),
        ("low: 16", "low: 128", (":4: batch_size: impossible range: low 128 is above high 64",)),
        ("low: 1.0e-3", "low: 0", (":3: learning_rate: a logarithmic range must begin above 0, found low 0",)),
        # a value that the trainer refuses
        ("low: 16", "low: 0", (":4: ", "batch_size must be 1 or more, found 0")),
        ("family: mlp", "family: mpl", (":1: this file is named for 'mlp', found 'mpl'",)),
    ],
)
def test_a_bad_space(refuses, project: Project, old: str, new: str, holds: tuple[str, ...]) -> None:
    project.replace("search_spaces/mlp.yaml", old, new)
    refuses(*SWEEP, holds=("error: search_spaces/mlp.yaml", *holds))


def test_a_space_that_is_not_there(refuses, project: Project) -> None:
    (project.folder / "search_spaces" / "mlp.yaml").unlink()
    refuses(
        *SWEEP, holds=("pipelines/small.yaml:3: the search space of mlp is missing: no file search_spaces/mlp.yaml",)
    )


# ---- the data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "keys", "holds"),
    [
        ([], {}, ("rows", "empty")),
        ([row.replace("yes", "no") for row in ROWS], {}, ("rows", "only one class ('no')", "two or more")),
        ([*ROWS[:7], "nan,1,yes", *ROWS[7:]], {}, ("rows", "column 'a'", "row 8", "empty or NaN", "drop")),
        ([*ROWS[:7], "inf,1,yes", *ROWS[7:]], {}, ("rows", "'a'", "row 8", "inf")),
        (ROWS, {"target": "lable"}, ("rows", "'lable'", "label")),
        (ROWS, {"tsak": "classification"}, ("small.yaml:2: ", "'tsak'", "task")),
        (ROWS, {"task": "sorting"}, ("small.yaml:2: ", "'task' is 'sorting'", "classification, regression")),
        (ROWS, {"file": "row.csv"}, ("there is no file pipelines/row.csv", "relative to the pipeline's folder")),
        (ROWS, {"file": "rows.doc"}, ("rows.doc", ".csv", "format")),
        (ROWS, {"name": "digits"}, ("digits", "the catalog has a data set of this name")),
    ],
)
def test_bad_data(refuses, project: Project, rows: list[str], keys: dict[str, str], holds: tuple[str, ...]) -> None:
    project.own_data(rows, **keys)
    refuses(*SWEEP, holds=holds)


@pytest.mark.parametrize(
    ("name", "content", "is_what"),
    [
        ("rows.csv", b"PK\x03\x04 and so on", "is not a CSV file but a ZIP archive"),
        ("rows.csv", b"\x00\x01\x02", "is not a CSV file but a binary file"),
        ("rows.parquet", b"a,b,label\n1,2,yes\n", "is not a Parquet file but text"),
        ("rows.parquet", b"PAR1 and no more", "a damaged or unreadable Parquet file"),
        ("rows.npz", b"\x80\x04\x95", "is not an NPZ file but a Python pickle"),
        ("rows.csv", b"", "the file is empty, a CSV file was expected"),
    ],
)
def test_a_file_that_is_not_what_it_says(refuses, project: Project, name: str, content: bytes, is_what: str) -> None:
    project.own_data(ROWS, file=name)
    (project.folder / "pipelines" / name).write_bytes(content)
    if name.endswith("npz"):
        project.replace("pipelines/small.yaml", ', "target": "label"', "")
    refuses(*SWEEP, holds=(f"pipelines/{name}: ", is_what))


def test_pickled_objects_are_never_loaded(refuses, project: Project) -> None:
    project.own_data(ROWS, file="rows.npz", target="y")
    numpy.savez(project.folder / "pipelines" / "rows.npz", X=numpy.array([{"a": 1}] * 9), y=numpy.arange(9))
    refuses(*SWEEP, holds=("rows.npz: holds pickled Python objects, which are never loaded",))


def test_an_unknown_data_set_by_name(refuses) -> None:
    refuses("data", "prepare", "digitz", holds=("unknown data set 'digitz'; did you mean 'digits'?", "wine"))


def test_a_fraction_that_leaves_nothing_to_train_on(refuses, project: Project) -> None:
    project.replace("pipelines/small.yaml", "sizes: [xs]", "data_fractions: [0.0001]")
    refuses(*SWEEP, holds=("small.yaml:4: data_fractions.0: 0.0001 leaves 0 of the", "at least 10 are needed"))


# ---- folders --------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that anyone may read and only its owner may write to; the working folder."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        Project(Path(name))
        monkeypatch.chdir(name)
        yield Path(name)


def test_runs_in_a_folder_without_write_permission(orchestrate, closed: Path, without_rights) -> None:
    dry = orchestrate(*SWEEP, "--dry-run")  # loads, while this account may, what the sweep needs
    assert dry.code == 0 and (closed / "data" / "prepared" / "digits").is_dir()
    without_rights()
    one_line(
        orchestrate(*SWEEP), ("error: runs/small: cannot be written to (Permission denied); give a folder of yours",)
    )
    assert not (closed / "runs").exists()


def test_data_in_a_folder_without_write_permission(orchestrate, closed: Path, data_root: Path, without_rights) -> None:
    orchestrate("data", "prepare", "wine", "--data-root", data_root)
    without_rights()
    one_line(orchestrate("data", "prepare", "wine"), ("data", "Permission denied", "needs write permission"))
    assert not (closed / "data").exists()


def test_an_export_into_a_folder_without_write_permission(orchestrate, closed: Path, without_rights) -> None:
    finished_run(closed / "run")
    assert orchestrate("export", "run", "--out", "first").code == 0
    without_rights()
    one_line(orchestrate("export", "run", "--out", "out"), ("error: out: cannot be written to (Permission denied)",))


@pytest.mark.parametrize("where", ["runs", "runs/small"])
def test_a_file_where_a_folder_should_be(refuses, project: Project, where: str) -> None:
    path = project.folder / where
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    refuses(*SWEEP, holds=("runs",))


def test_a_data_folder_that_is_a_file(refuses, project: Project) -> None:
    project.write("data", "mine")
    refuses(*SWEEP, "--data-root", "data", holds=("'--data-root': Directory 'data' is a file",))


# ---- an unfinished sweep --------------------------------------------------------------------------------------


@pytest.fixture
def unfinished(project: Project, data_root: Path) -> Path:
    """A run that was killed after its first trials, as `sweep.run` would have left it."""
    from orchestrator import history, sweep
    from orchestrator.engine import Engine

    (planned,) = sweep.prepare(Path("pipelines/small.yaml"), sweep.Options(data_root=data_root))
    run_dir = project.folder / "runs" / "small"
    writer = journal.Writer(run_dir)
    writer.append(("planned", "planned", None, {"id": "1", **planned.as_dict()}), ("session/1", "session", None, {}))
    engine = Engine(planned.spec, planned.cells, planned.spaces, writer, history.of(run_dir))
    for _ in range(2):
        engine.next()
    writer.close()
    return run_dir


@pytest.mark.parametrize(
    ("file", "old", "new", "change"),
    [
        ("pipelines/small.yaml", "trials: 3", "trials: 4", "'trials' (3 → 4)"),
        ("pipelines/small.yaml", "sizes: [xs]", "seed: 1", "'seed' (0 → 1)"),
        ("search_spaces/mlp.yaml", "high: 64", "high: 32", "the search space of mlp"),
        ("pipelines/small.yaml", "data: digits", "data: wine", "'data' (digits → wine)"),
    ],
)
def test_a_specification_changed_under_an_unfinished_sweep(
    refuses, project: Project, unfinished: Path, file: str, old: str, new: str, change: str
) -> None:
    project.replace(file, old, new)
    holds = ("runs/small: ", f"{change} changed under an unfinished sweep", "put it back", "--fresh", "kept aside")
    if "seed" in new:
        holds = ("runs/small: ", "changed under an unfinished sweep")  # the sizes changed as well
    refuses(*SWEEP, holds=holds)
    assert len(journal.events(unfinished)) == 4


def test_a_second_command_on_a_running_sweep(refuses, project: Project, unfinished: Path) -> None:
    writer = journal.Writer(unfinished)
    try:
        refuses(*SWEEP, holds=("runs/small: process ", f"{os.getpid()}", "is already running this sweep"))
        refuses(*SWEEP, "--fresh", holds=("runs/small: process ", "stop it before you start over"))
    finally:
        writer.close()


def test_going_on_with_what_is_not_there_or_not_that_way(refuses, unfinished: Path, data_root: Path) -> None:
    here = ("--data-root", data_root)
    refuses("resume", "runs/other", *here, holds=("runs/other: no sweep here",))
    refuses("extend", "runs/small", "--trials", "2", *here, holds=("--set trials: 2 is less than 3", "only grow"))
    refuses("extend", "runs/small", "--set", "seed=9", *here, holds=("--set seed: decides what the results so far",))
    refuses("extend", "runs/small", "--set", "trials=x", *here, holds=("--set trials: expected a whole number",))
    refuses("extend", "runs/small", "--spaces", "pipelines", *here, holds=("--spaces pipelines: holds no mlp.yaml",))


def test_going_on_without_the_data_or_with_another_version_of_it(
    orchestrate, unfinished: Path, data_root: Path, tmp_path: Path
) -> None:
    import shutil

    one_line(orchestrate("resume", "runs/small", "--data-root", tmp_path), ("no prepared data here",))
    elsewhere = tmp_path / "prepared" / "digits"
    shutil.copytree(data_root / "prepared" / "digits", elsewhere)
    card = elsewhere / "card.json"
    card.write_text(card.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    one_line(orchestrate("resume", "runs/small", "--data-root", tmp_path), ("of the data; the sweep in runs/small is",))


def test_a_damaged_journal(refuses, unfinished: Path) -> None:
    (unfinished / journal.FILE).write_bytes(b"scrambled" * 1000)
    refuses(*SWEEP, holds=("runs/small/journal.db: not a journal that can be read", "move it away"))
    refuses("status", "runs/small", holds=("runs/small/journal.db: not a journal that can be read",))


@pytest.mark.parametrize("command", [("status", "runs/x"), ("export", "runs/x", "--out", "out")])
def test_a_run_that_is_not_there(refuses, command: tuple[str, ...]) -> None:
    refuses(*command, holds=("runs/x: no sweep here (no journal.db)", "runs/demo"))


# ---- through a process of its own -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        (("sweep", "pipelines/small.yaml", "--set", "trails=3"), "error: --set trails: unknown key 'trails'"),
        (("sweep", "pipelines/missing.yaml"), "error: pipelines/missing.yaml: cannot be read"),
    ],
)
def test_the_shell_sees_the_same(project: Project, arguments: tuple[str, ...], holds: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "orchestrator.cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(holds) and done.stderr.count("\n") == 1
