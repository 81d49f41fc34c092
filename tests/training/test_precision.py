from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from orchestrator.data.load import Data
from orchestrator.errors import UserError
from orchestrator.training.fit import Job, fit
from orchestrator.training.precision import autocast_type, under_autocast

CPU = torch.device("cpu")


def test_automatic_is_full_precision_without_a_gpu() -> None:
    assert autocast_type("auto", CPU) is None
    assert autocast_type("float32", CPU) is None
    assert autocast_type("bfloat16", CPU) is torch.bfloat16


def test_float16_without_a_gpu_and_unknown_words_are_refused() -> None:
    with pytest.raises(UserError, match="needs a GPU"):
        autocast_type("float16", CPU)
    with pytest.raises(UserError, match=r"unknown precision 'fp16'; .*float16"):
        autocast_type("fp16", CPU)  # type: ignore[arg-type]


def test_losses_are_computed_in_half_precision_and_updates_in_full() -> None:
    seen = []

    def losses() -> Iterator[tuple[str, Tensor]]:
        for _ in range(2):
            seen.append((torch.randn(2, 2) @ torch.randn(2, 2)).dtype)
            yield "", torch.zeros(())

    for _ in under_autocast(losses(), CPU, torch.bfloat16):
        seen.append((torch.randn(2, 2) @ torch.randn(2, 2)).dtype)
    assert seen == [torch.bfloat16, torch.float32] * 2


def test_training_in_bfloat16_learns_and_keeps_weights_in_float32(few_digits: Data) -> None:
    job = Job("mlp", "s", {"learning_rate": 3e-3}, seed=0, max_epochs=8, precision="bfloat16")
    epochs = fit(job, few_digits)
    rows = []
    while True:
        try:
            rows.append(next(epochs))
        except StopIteration as end:
            outcome = end.value
            break
    assert rows[-1]["train_loss"] < 0.6 * rows[0]["train_loss"]
    assert {tensor.dtype for tensor in outcome.weights.values()} == {torch.float32}
    full = next(fit(Job("mlp", "s", {"learning_rate": 3e-3}, seed=0, max_epochs=8), few_digits))
    assert full["train_loss"] != rows[0]["train_loss"]
    assert full["train_loss"] == pytest.approx(rows[0]["train_loss"], rel=0.02)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float16", "float32"])
def test_training_on_a_gpu_agrees_with_the_cpu(few_digits: Data, precision: str) -> None:
    config = {"learning_rate": 3e-3, "gradient_clip": 1.0}
    first, last = [
        list(fit(Job("lenet", "s", config, 0, 5, precision=chosen), few_digits, device))[-1]  # type: ignore[arg-type]
        for chosen, device in (("float32", "cpu"), (precision, "cuda"))
    ]
    assert last["train_loss"] == pytest.approx(first["train_loss"], rel=0.05)
