"""The specification of a sweep: strict, and every mistake named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import records, spec
from orchestrator.errors import UserError

WHOLE = """\
name: demo
data: digits
families: [mlp, lenet]
sizes:
  - s
  - m
data_fractions: [0.25, 1]
trials: 4
early_stopping: {name: median}
"""


def loaded(folder: Path, text: str, *overrides: str) -> spec.Sweep:
    path = folder / "demo.yaml"
    path.write_text(text)
    return spec.load(path, overrides)[0][0]


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        loaded(folder, text, *overrides)
    message = str(caught.value)
    assert "\n" not in message and "pydantic" not in message and "nput should" not in message
    return message.removeprefix(str(folder / "demo.yaml"))


def test_what_is_written_is_what_is_run_and_the_rest_has_defaults(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, WHOLE)
    assert (sweep.name, sweep.data, sweep.families, sweep.sizes) == ("demo", "digits", ["mlp", "lenet"], ["s", "m"])
    assert (sweep.data_fractions, sweep.trials, sweep.early_stopping.name) == ([0.25, 1.0], 4, "median")
    assert (sweep.finalists, sweep.patience, sweep.workers, sweep.resources.gpus) == (3, None, None, None)


def test_the_sizes_are_those_of_the_schema(tmp_path: Path) -> None:
    sizes = ", ".join(records.SIZES)
    assert loaded(tmp_path, WHOLE, f"sizes=[{sizes}]").sizes == list(records.SIZES)
    assert refused(tmp_path, WHOLE.replace("- m", "- big")) == f":6: sizes.1: unknown value 'big'; valid: {sizes}"


def test_a_users_own_data_is_a_mapping(tmp_path: Path) -> None:
    mine = {"name": "churn", "file": "churn.csv"}
    assert loaded(tmp_path, WHOLE, "data={name: churn, file: churn.csv}").data == mine


def test_overrides_are_yaml_and_reach_below(tmp_path: Path) -> None:
    sweep = loaded(tmp_path, WHOLE, "trials=9", "sampler.name=random", "early_stopping.min_epochs=3", "families=[mlp]")
    assert (sweep.trials, sweep.sampler.name, sweep.families) == (9, "random", ["mlp"])
    assert (sweep.early_stopping.name, sweep.early_stopping.min_epochs) == ("median", 3), "beside what the file says"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials: 4", "trails: 4", ":8: unknown key 'trails'; did you mean 'trials'? valid: name, data, families, "),
        ("families:", "familys:", ":3: unknown key 'familys'; did you mean 'families'? valid: "),
        (
            "{name: median}",
            "{nmae: median}",
            ":9: unknown key 'early_stopping.nmae'; did you mean 'name'? valid: name, min",
        ),
        ("trials: 4", "1: 4", ": unknown key '1'; valid: name, data, "),
        ("name: demo\n", "", ": the key 'name' is missing"),
        ("trials: 4", "trials: ten", ":8: trials: expected a whole number, found 'ten'"),
        ("trials: 4", "trials: '10'", ":8: trials: expected a whole number, found '10' (a word to YAML; write 10)"),
        ("trials: 4", "trials: 4.0", ":8: trials: expected a whole number, found 4.0"),
        ("trials: 4", "trials: true", ":8: trials: expected a whole number, found True"),
        ("trials: 4", "trials:", ":8: trials: expected a whole number, found nothing"),
        ("trials: 4", "trials: 0", ":8: trials: must be 1 or more, found 0"),
        ("trials: 4", "finalists: -1", ":8: finalists: must be 0 or more, found -1"),
        ("trials: 4", "patience: 0", ":8: patience: must be 1 or more, found 0"),
        ("trials: 4", "resources: {cpus: 0}", ":8: resources.cpus: must be above 0, found 0"),
        ("trials: 4", "resources: {cpus: .inf}", ":8: resources.cpus: expected a finite number, found inf"),
        ("[0.25, 1]", "[0.25, 1.5]", ":7: data_fractions.1: must be 1 or less, found 1.5"),
        ("[0.25, 1]", "[0]", ":7: data_fractions.0: must be above 0, found 0"),
        ("[0.25, 1]", "[1e-1]", ":7: data_fractions.0: expected a number, found '1e-1' (a word to YAML; write 0.1)"),
        ("[0.25, 1]", "0.25", ":7: data_fractions: expected a list, found 0.25"),
        ("[0.25, 1]", "[]", ":7: data_fractions: must hold at least one entry, found an empty list"),
        ("[0.25, 1]", "[1, 1.0]", ":7: data_fractions: holds an entry twice, found a list (1, 1.0)"),
        ("[mlp, lenet]", "mlp", ":3: families: expected a list, found 'mlp'"),
        ("[mlp, lenet]", "[mlp, mlp]", ":3: families: holds an entry twice"),
        (
            "trials: 4",
            "trials: 4\ntransfer_trials: 2",
            ":9: transfer_trials: needs `transfer: true`: else no cell begins",
        ),
        (
            "trials: 4",
            "trials: 4\ntransfer: true\ntransfer_trials: 5",
            ":10: transfer_trials: must be no more than trials",
        ),
        (
            "trials: 4",
            "trials: 4\nfinalists_on: [0.5]",
            ":9: finalists_on: 0.5 is none of the data_fractions; there are: 0.25, 1",
        ),
        (
            "{name: median}",
            "median",
            ":9: early_stopping: expected a mapping of name, min_epochs, reduction_factor, found",
        ),
        ("data: digits", "data: 3", ":2: data: expected a data set's name or a mapping that describes yours, found 3"),
        ("data: digits", "data: [digits]", ":2: data: expected a data set's name or a mapping that describes yours, "),
        ("name: demo", "name: ../demo", ":1: name: is a folder's name too: letters, digits, "),
        ("name: demo", "name: 2024", ":1: name: expected a word, found 2024"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_valid(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in WHOLE
    assert refused(tmp_path, WHOLE.replace(old, new)).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trails=3", "--set trails: unknown key 'trails'; did you mean 'trials'? valid: "),
        ("trials=0", "--set trials: must be 1 or more, found 0"),
        ("sampler.nmae=x", "--set sampler.nmae: unknown key 'sampler.nmae'; did you mean 'name'? valid: name, startup"),
        ("sizes=[big]", "--set sizes: sizes.0: unknown value 'big'; valid: xs, s, m, l, xl"),
        ("trials.x=3", "--set trials.x: 'trials' holds 4, not keys; give the whole of it"),
        (
            "families.0=mlp",
            "--set families.0: 'families' holds a list ('mlp', 'lenet'), not keys; give the whole of it",
        ),
        ("transfer=yes please", "--set transfer: expected true or false, found 'yes please'"),
        ("trials", "--set trials: expected key=value, such as trials=10 or sampler.name=random"),
        ("=3", "--set =3: expected key=value, such as "),
        ("sampler.=3", "--set sampler.=3: expected key=value, such as "),
        ("trials=[", "--set trials=[: the value is not valid YAML"),
        ("trials=2024-13-45", "--set trials=2024-13-45: the value is not valid YAML"),
    ],
)
def test_a_mistake_on_the_command_line_is_placed_there(tmp_path: Path, override: str, message: str) -> None:
    assert refused(tmp_path, WHOLE, override).startswith(message)


SEVERAL = """\
data: digits
families: [mlp, lenet]
trials: 4
early_stopping: {name: median, min_epochs: 2}
sweeps:
  one:
    sizes: [xs]
  two:
    families: [mlp]
    early_stopping: {name: none}
    data: wine
"""


def test_several_sweeps_of_one_file_share_what_stands_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "several.yaml"
    path.write_text(SEVERAL)
    (one, first), (two, second) = spec.load(path, ("trials=7",))
    assert (one.name, one.data, one.families, one.sizes) == ("one", "digits", ["mlp", "lenet"], ["xs"])
    assert (two.name, two.data, two.families, two.sizes) == ("two", "wine", ["mlp"], ["m"])
    assert (one.early_stopping.min_epochs, two.early_stopping.min_epochs) == (2, 1), "a key is taken whole"
    assert one.trials == two.trials == 7
    assert (first.where("data"), second.where("data")) == (f"{path}:1", f"{path}:11")
    assert second.where("families", 1) == f"{path}:9", "not the line of the shared list's second entry"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("data: wine", "dta: wine", ":11: unknown key 'dta'; did you mean 'data'? valid: "),
        ("sweeps:", "sweps:", ":5: unknown key 'sweps'; did you mean 'sweeps'? valid: "),
        ("data: digits\n", "", ":5: the key 'data' is missing"),
        ("sizes: [xs]", "sizes: [big]", ":7: sizes.0: unknown value 'big'; valid: "),
        ("sizes: [xs]", "name: uno", ":7: 'one' is this sweep's name; leave out the key 'name'"),
        ("data: digits", "name: all", ":1: 'name' is of one sweep; those under 'sweeps' have their own"),
        ("    sizes: [xs]\n", "", ":6: sweeps.one: expected a name and its keys, found nothing"),
        ("  one:", "  .one:", ":6: name: is a folder's name too: "),
        ("  two:", "  one:", ":8: 'one' is given twice"),
        ("    sizes: [xs]", "    sweeps: {a: {}}", ":7: unknown key 'sweeps'; "),
    ],
)
def test_a_mistake_in_one_of_several_sweeps_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in SEVERAL
    assert refused(tmp_path, SEVERAL.replace(old, new, 1)).startswith(message)


def test_several_sweeps_are_not_given_one_name(tmp_path: Path) -> None:
    said = refused(tmp_path, SEVERAL, "name=test")
    assert said.startswith("--set name: ") and said.endswith(
        "has 2 sweeps, and each its own name; choose some with --only"
    )
    assert refused(tmp_path, WHOLE, "name=.test").startswith("--set name: is a folder's name too")


def test_a_budget_without_a_limit_is_none(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(WHOLE.replace("trials: 4\n", "budget: {hours: null}\n"))
    assert path.read_text() != WHOLE
    ((sweep, _),) = spec.load(path)
    assert sweep.trials == spec.TRIALS and sweep.budget.limits() == {}


def test_of_several_sweeps_one_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "several.yaml"
    path.write_text(SEVERAL)
    assert [sweep.name for sweep, _ in spec.load(path, only=("two",))] == ["two"]
    with pytest.raises(UserError, match=r"--only tow: .*several.yaml has no sweep of this name; did you mean 'two'\? "):
        spec.load(path, only=("tow",))


@pytest.mark.parametrize(("given", "found"), [("[a, b]", "a list ('a', 'b')"), ("{}", "a mapping ()"), ("", "nothing")])
def test_several_sweeps_have_names(tmp_path: Path, given: str, found: str) -> None:
    said = refused(tmp_path, f"data: digits\nsweeps: {given}\n")
    assert said == f":2: sweeps: expected a mapping of names, each with keys of its own, found {found}"


def test_overrides_leave_the_document_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "demo.yaml"
    path.write_text(WHOLE)
    ((_, document),) = spec.load(path, ("early_stopping.name=none", "trials=1"))
    assert document.content["early_stopping"] == {"name": "median"} and document.content["trials"] == 4
    assert document.where("trials") == "--set trials" and document.where("name") == f"{path}:1"


def test_the_fingerprint_is_of_what_results_depend_on(tmp_path: Path) -> None:
    before = loaded(tmp_path, WHOLE).fingerprint({})
    for free in ("workers=3", "resources.cpus=2", "search_spaces=elsewhere"):
        assert loaded(tmp_path, WHOLE, free).fingerprint({}) == before, free
    for binding in ("trials=5", "seed=1", "max_epochs=3", "sampler.name=random", "early_stopping.min_epochs=2"):
        assert loaded(tmp_path, WHOLE, binding).fingerprint({}) != before, binding
    assert loaded(tmp_path, WHOLE).fingerprint({"mlp": {}}) != before


def test_a_specification_cannot_be_changed_by_accident(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="frozen"):
        loaded(tmp_path, WHOLE).trials = 5  # type: ignore[misc]


def test_a_transfer_needs_an_end_of_the_smaller_searches(tmp_path: Path) -> None:
    assert loaded(tmp_path, WHOLE, "transfer=true").transfer
    without = WHOLE.replace("trials: 4", "budget: {hours: 1}")
    assert refused(tmp_path, without, "transfer=true").startswith("--set transfer: needs the number of trials")
    gridded = refused(tmp_path, WHOLE, "transfer=true", "sampler.name=grid")
    assert gridded.startswith("--set transfer: excludes a grid")
