from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch

from orchestrator.data.load import Data, Split
from orchestrator.training.divergence import STEPS_BETWEEN_CHECKS, Diverged, LossWatch
from orchestrator.training.fit import Job, fit

WILD = {"optimizer": "sgd", "learning_rate": 1e30, "batch_size": 10}


def test_a_rate_far_too_high_is_noticed_within_the_epoch(few_digits: Data) -> None:
    with pytest.raises(Diverged) as caught:
        next(fit(Job("mlp", "s", WILD, seed=0, max_epochs=5), few_digits))
    diverged = caught.value
    assert diverged.epoch == 1 and 1 < diverged.step <= 20
    assert diverged.kind in ("nan", "inf")
    assert diverged.last_finite is not None and math.isfinite(diverged.last_finite)


def test_rows_before_the_divergence_are_kept_and_the_step_counts_from_the_start(few_digits: Data) -> None:
    inputs = few_digits.train.inputs.clone()
    data = Data(few_digits.card, Split(inputs, few_digits.train.targets), few_digits.validation, few_digits.test)
    epochs = fit(Job("mlp", "s", {"batch_size": 10}, seed=0, max_epochs=5), data)
    first, second = next(epochs), next(epochs)
    inputs[:] = math.nan
    with pytest.raises(Diverged) as caught:
        next(epochs)
    assert (caught.value.kind, caught.value.epoch, caught.value.step) == ("nan", 3, 41)
    assert caught.value.last_finite is not None
    assert second["train_loss"] < first["train_loss"]


def test_a_validation_loss_that_is_not_finite_is_a_divergence_too(few_digits: Data) -> None:
    bad = Split(few_digits.validation.inputs * math.inf, few_digits.validation.targets)
    data = Data(few_digits.card, few_digits.train, bad, few_digits.test)
    with pytest.raises(Diverged, match="validation nan loss at epoch 1, step 4"):
        next(fit(Job("mlp", "s", {}, seed=0, max_epochs=2, metric="validation_accuracy", direction="max"), data))


def test_it_crosses_processes_whole() -> None:
    original = Diverged("inf", 3, 77, 0.5)
    copy = pickle.loads(pickle.dumps(original))
    assert vars(copy) == vars(original) and str(copy) == str(original)
    assert "the last finite loss was 0.5" in str(copy)


def test_the_mean_is_weighted_by_rows_and_names_the_first_bad_step() -> None:
    watch = LossWatch(epoch=2, steps_before=10, last_finite=None)
    watch.add(torch.tensor(1.0), 30)
    watch.add(torch.tensor(4.0), 10)
    assert watch.mean() == pytest.approx(1.75)
    watch.add(torch.tensor(2.0), 10)
    watch.add(torch.tensor(math.inf), 10)
    watch.add(torch.tensor(math.nan), 10)
    with pytest.raises(Diverged) as caught:
        watch.check()
    assert (caught.value.kind, caught.value.step, caught.value.last_finite) == ("inf", 14, 2.0)


def test_losses_are_read_once_in_many_steps(few_digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading waits for the device; of 200 steps few may."""
    readings = {"count": 0}

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def read(self: torch.Tensor, *arguments: Any) -> Any:
            readings["count"] += 1
            return original(self, *arguments)

        return read

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    next(fit(Job("mlp", "s", {"batch_size": 1, "gradient_clip": 1.0}, seed=0, max_epochs=1), few_digits))
    assert readings["count"] <= 200 // STEPS_BETWEEN_CHECKS + 5
