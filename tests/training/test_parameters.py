from __future__ import annotations

import math
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.training.parameters import describe, parameters, split_config


def test_names_come_with_their_types_or_their_words() -> None:
    names = parameters("mlp", "classification")
    assert names["learning_rate"] is float and names["batch_size"] is int and names["batch_norm"] is bool
    assert names["optimizer"] == ("sgd", "adam", "adamw", "rmsprop")
    assert names["label_smoothing"] is float


def test_what_the_size_sets_is_not_to_be_varied() -> None:
    assert not {"width", "depth"} & set(parameters("mlp", "classification"))


def test_each_task_has_its_own() -> None:
    classification, regression = (set(parameters("mlp", task)) for task in ("classification", "regression"))
    assert classification - regression == {"label_smoothing", "classification_loss"}
    assert regression - classification == {"loss_function", "huber_delta"}


def test_a_flat_configuration_is_handed_to_whom_it_concerns() -> None:
    config = {"dropout": 0.25, "activation": "gelu", "label_smoothing": 0.1, "learning_rate": 1, "batch_size": 32}
    settings = split_config("mlp", "l", "classification", config)
    assert (settings.model.width, settings.model.dropout, settings.model.activation) == (128, 0.25, "gelu")
    assert settings.task.label_smoothing == 0.1  # type: ignore[attr-defined]
    assert settings.hyperparameters.batch_size == 32
    assert type(settings.hyperparameters.learning_rate) is float


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"lerning_rate": 0.1}, "did you mean 'learning_rate'"),
    ({"width": 64}, "set by the size"),
    ({"loss_function": "mse"}, "unknown hyperparameter 'loss_function'"),
    ({"batch_size": 32.0}, "batch_size: expected a whole number, found 32.0"),
    ({"batch_size": True}, "batch_size: expected a whole number"),
    ({"batch_size": 0}, "batch_size must be 1 or more"),
    ({"learning_rate": "0.1"}, "learning_rate: expected a number, found '0.1'"),
    ({"learning_rate": True}, "learning_rate: expected a number"),
    ({"learning_rate": math.nan}, "finite"),
    ({"learning_rate": -1.0}, "learning_rate must be above 0"),
    ({"momentum": 1.0}, "momentum must be"),
    ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
    ({"batch_norm": 1}, "batch_norm: expected true or false"),
    ({"optimizer": "lion"}, "valid: sgd, adam, adamw, rmsprop"),
    ({"activation": ["relu"]}, "not possible"),
    ({"nesterov": True, "optimizer": "sgd"}, "nesterov needs a momentum"),
]


@pytest.mark.parametrize(("config", "message"), MISTAKES, ids=[str(config) for config, _ in MISTAKES])
def test_a_mistake_is_one_line_that_names_it(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        split_config("mlp", "m", "classification", config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("family", "size", "task", "message"),
    [
        ("mlpp", "m", "classification", "did you mean 'mlp'"),
        ("mlp", "xxl", "classification", "valid: xs, s, m, l, xl"),
        ("mlp", "m", "clasification", "did you mean 'classification'"),
    ],
)
def test_an_unknown_family_size_or_task_is_refused(family: str, size: str, task: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_config(family, size, task, {})


def test_a_family_that_cannot_do_a_task_says_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from orchestrator.models import FAMILIES

    monkeypatch.setitem(FAMILIES, "lenet", replace(FAMILIES["lenet"], tasks=("classification",)))
    with pytest.raises(UserError, match="lenet can't do regression; it does classification"):
        parameters("lenet", "regression")


def test_describing_disturbs_no_random_numbers() -> None:
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    describe("lenet", "s", (1, 9, 9), 7)
    assert torch.equal(torch.rand(3), expected)


def test_a_network_too_large_to_try_is_described_all_the_same() -> None:
    described = describe("mlp", "xl", (100_000,), 10)
    layers = [100_000 * 256, 256 * 256, 256 * 256, 256 * 10]
    assert described.params == sum(layers) + 3 * 256 + 10
    assert described.flops_per_sample == 2 * (3 * sum(layers) - layers[0])
