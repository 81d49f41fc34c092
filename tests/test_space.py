"""Search spaces: what loads, what is drawn when, and what is refused where."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import space
from orchestrator.errors import UserError
from orchestrator.space import Choice, Float, Int, Space, is_active

WHOLE = """
family: mlp
parameters:
  learning_rate: {type: float, low: 1.0e-4, high: 1, log: true}
  batch_size: {type: int, low: 16, high: 128, step: 16}
  optimizer: {type: choice, values: [sgd, adam]}
  momentum: {type: float, low: 0.0, high: 0.95, when: {optimizer: sgd}}
  nesterov: {type: choice, values: [true, false], when: {optimizer: [sgd]}}
  label_smoothing: {type: float, low: 0.0, high: 0.2, when: {task: [classification]}}
"""


def loaded(folder: Path, text: str) -> Space:
    path = folder / "mlp.yaml"
    path.write_text(text)
    return space.load(path)


def refused(folder: Path, entry: str) -> str:
    """What is said about `parameter: entry`, which stands on line 4 below a choice named optimizer."""
    with pytest.raises(UserError) as caught:
        loaded(folder, f"family: mlp\nparameters:\n  optimizer: {{type: choice, values: [sgd, adam]}}\n  p: {entry}\n")
    message = str(caught.value)
    assert message.startswith(f"{folder / 'mlp.yaml'}:4: p: ") and "\n" not in message
    return message.removeprefix(f"{folder / 'mlp.yaml'}:4: p: ")


def test_every_kind_of_parameter_loads(tmp_path: Path) -> None:
    whole = loaded(tmp_path, WHOLE)
    sgd = (("optimizer", ("sgd",)),)
    assert whole.family == "mlp"
    assert dict(whole.parameters) == {
        "learning_rate": Float(1e-4, 1.0, log=True),
        "batch_size": Int(16, 128, step=16),
        "optimizer": Choice(("sgd", "adam")),
        "momentum": Float(0.0, 0.95, when=sgd),
        "nesterov": Choice((True, False), when=sgd),
        "label_smoothing": Float(0.0, 0.2, when=(("task", ("classification",)),)),
    }


def test_the_order_of_the_file_is_the_order_of_drawing(tmp_path: Path) -> None:
    names = ["learning_rate", "batch_size", "optimizer", "momentum", "nesterov", "label_smoothing"]
    assert list(loaded(tmp_path, WHOLE).parameters) == names


def test_conditions_on_the_task_are_decided_once_and_for_all(tmp_path: Path) -> None:
    whole = loaded(tmp_path, WHOLE)
    assert "label_smoothing" not in whole.given(task="regression").parameters
    assert whole.given(task="classification").parameters["label_smoothing"].when == ()
    assert whole.given(task="regression").parameters["momentum"].when == (("optimizer", ("sgd",)),)


def test_what_depends_on_a_parameter_that_the_task_does_not_have_is_gone_with_it() -> None:
    smoothing = Choice((True, False), when=(("task", ("classification",)),))
    amount = Float(0.0, 0.2, when=(("smooth", (True,)), ("optimizer", ("sgd",))))
    decay = Float(0.0, 1.0, when=(("amount", (0.1,)),))
    whole = Space("mlp", {"optimizer": Choice(("sgd", "adam")), "smooth": smoothing, "amount": amount, "decay": decay})
    assert list(whole.given(task="regression").parameters) == ["optimizer"]
    assert list(whole.given(task="classification").parameters) == list(whole.parameters)


def test_a_parameter_is_drawn_where_all_its_conditions_hold() -> None:
    both = Float(0, 1, when=(("optimizer", ("sgd",)), ("schedule", ("step", "cosine"))))
    assert is_active(both, {"optimizer": "sgd", "schedule": "cosine"})
    assert not is_active(both, {"optimizer": "sgd", "schedule": "constant"})
    assert not is_active(both, {"schedule": "step"}), "what was not drawn holds no condition"


def test_plain_data_tells_spaces_apart(tmp_path: Path) -> None:
    plain = loaded(tmp_path, WHOLE).as_dict()
    assert plain == loaded(tmp_path, WHOLE).as_dict()
    assert plain["momentum"] == {
        "type": "float",
        "low": 0.0,
        "high": 0.95,
        "log": False,
        "when": {"optimizer": ["sgd"]},
    }
    for old, new in (("high: 1,", "high: 2,"), ("log: true", "log: false"), ("step: 16", "step: 8"), ("sgd]", "adam]")):
        assert loaded(tmp_path, WHOLE.replace(old, new)).as_dict() != plain, f"{old} → {new}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("3", "expected a mapping with 'type' (float, int, choice), found 3"),
        ("{low: 0, high: 1}", "unknown type None; valid: float, int, choice"),
        ("{type: flaot, low: 0, high: 1}", "unknown type 'flaot'; did you mean 'float'?"),
        ("{type: [float], low: 0, high: 1}", "unknown type ['float']; did you mean 'float'? valid: float, int, choice"),
        ("{type: float, low: 0, hihg: 1}", "unknown key 'hihg'; did you mean 'high'? valid: low, high, log, when"),
        ("{type: float, low: 0, high: 1, step: 1}", "unknown key 'step'; valid: low, high, log, when"),
        ("{type: choice, values: [1], low: 0}", "unknown key 'low'; "),
        ("{type: float, low: 0}", "'high' must be a finite number, found None"),
        ("{type: float, low: 1e-3, high: 1}", "'low' must be a finite number, found '1e-3' (YAML reads 1e-3 as a word"),
        ("{type: float, low: .nan, high: 1}", "'low' must be a finite number, found nan"),
        ("{type: float, low: 0, high: .inf}", "'high' must be a finite number, found inf"),
        (f"{{type: float, low: 0, high: 1{'0' * 400}}}", "'high' must be a finite number, found 1"),
        ("{type: float, low: true, high: 2}", "'low' must be a finite number, found True"),
        ("{type: int, low: 1.5, high: 2}", "'low' must be a whole number, found 1.5"),
        ("{type: float, low: 2, high: 1}", "impossible range: low 2 is above high 1"),
        ("{type: float, low: 0, high: 1, log: true}", "a logarithmic range must begin above 0, found low 0"),
        ("{type: float, low: 1, high: 2, log: 'yes'}", "'log' must be true or false, found 'yes'"),
        ("{type: int, low: 1, high: 8, step: 0}", "'step' must be 1 or more"),
        ("{type: int, low: 1, high: 8, log: true, step: 2}", "'step' must be 1 or more, and 1 on a logarithmic range"),
        ("{type: choice}", "'values' must be a list of at least one value"),
        ("{type: choice, values: []}", "'values' must be a list of at least one value"),
        ("{type: choice, values: sgd}", "'values' must be a list of at least one value"),
        ("{type: choice, values: [[1], [2]]}", "'values' may hold numbers, words, true and false"),
        ("{type: choice, values: [a, b, a]}", "'values' holds a value twice"),
        ("{type: choice, values: [1, true]}", "'values' holds a value twice (1, 1.0 and true count as one)"),
        ("{type: float, low: 0, high: 1, when: sgd}", "'when' must map an earlier parameter to a list of its values"),
        ("{type: float, low: 0, high: 1, when: {optimiser: [sgd]}}", "'when' names 'optimiser', which is not defined"),
        ("{type: float, low: 0, high: 1, when: {p: [sgd]}}", "'when' names 'p', which is not defined above it"),
        (
            "{type: float, low: 0, high: 1, when: {optimizer: [sgdd]}}",
            "'when' expects optimizer to be 'sgdd'; did you mean",
        ),
        ("{type: float, low: 0, high: 1, when: {optimizer: []}}", "'when' lists no value of 'optimizer'"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_line(tmp_path: Path, entry: str, message: str) -> None:
    assert refused(tmp_path, entry).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "familiy: mlp\nparameters: {}\n",
            ":1: unknown key 'familiy'; did you mean 'family'? valid: family, parameters",
        ),
        ("family: 3\nparameters: {}\n", ":1: 'family' must name the family"),
        ("parameters: {a: {type: int, low: 1, high: 2}}\n", ": 'family' must name the family"),
        ("family: mlp\n", ": 'parameters' must map at least one name to its range"),
        ("family: mlp\nparameters: {}\n", ":2: 'parameters' must map at least one name to its range"),
        ("family: mlp\nparameters: [learning_rate]\n", ":2: 'parameters' must map at least one name to its range"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        loaded(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mlp.yaml'}{message}")
