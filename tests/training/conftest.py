"""Small real data: scikit-learn's digits and diabetes, standardized by the training rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def divide(inputs: Tensor, targets: Tensor, task: str, outputs: int) -> Data:
    """Every fifth row is for validation, the one after it for the test."""
    place = torch.arange(len(inputs)) % 5
    splits = [Split(inputs[where], targets[where]) for where in (place > 1, place == 0, place == 1)]
    names = ("train", "validation", "test")
    card = Card(
        name="small",
        task=task,
        input_shape=tuple(inputs.shape[1:]),
        outputs=outputs,
        classes=tuple(map(str, range(outputs))) if task == "classification" else (),
        sizes={name: len(split.inputs) for name, split in zip(names, splits, strict=True)},
        licence="",
        source={},
        fingerprint="",
        normalization={},
    )
    return Data(card, *splits)


@pytest.fixture(scope="session")
def digits() -> Data:
    loaded: Any = load_digits()
    inputs = torch.tensor(loaded.images, dtype=torch.float32)[:, None]
    return divide((inputs - 4.9) / 6.0, torch.tensor(loaded.target), "classification", 10)


@pytest.fixture(scope="session")
def diabetes() -> Data:
    loaded: Any = load_diabetes()
    inputs = torch.tensor(loaded.data, dtype=torch.float32) * len(loaded.data) ** 0.5
    targets = torch.tensor(loaded.target, dtype=torch.float32)[:, None]
    return divide(inputs, (targets - 152) / 77, "regression", 1)


@pytest.fixture(scope="session")
def few_digits(digits: Data) -> Data:
    """200 training rows: where the numbers matter less than the loop."""
    few = {
        name: Split(split.inputs[:200], split.targets[:200])
        for name, split in (("train", digits.train), ("validation", digits.validation), ("test", digits.test))
    }
    return Data(digits.card, **few)
