from __future__ import annotations

import errno
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.load import Data
from orchestrator.models import FAMILIES, Family, mlp
from orchestrator.training.fit import Job, fit
from orchestrator.training.memory import OutOfMemory, out_of_memory


def real_lack() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemory("anything"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to"),
        real_lack(),
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=lambda error: str(error)[:40],
)
def test_a_lack_of_memory_is_known_by_all_its_names(error: BaseException) -> None:
    assert out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("out of memory"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
    ],
    ids=str,
)
def test_other_failures_are_not(error: BaseException) -> None:
    assert not out_of_memory(error)


class Hungry(nn.Module):
    """Fails as `error` says when it has seen enough rows; keeps count of what it held."""

    held: ClassVar[list[weakref.ref[Any]]] = []
    error: ClassVar[Callable[[], Exception]]

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.layer, self.left = nn.Linear(64, 10), rows

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= len(inputs)
        outputs: Tensor = self.layer(inputs.flatten(1))
        self.held += [weakref.ref(self.layer.weight), weakref.ref(outputs)]
        if self.left < 0:
            raise type(self).error()
        return outputs


def hungry(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> Job:
    tasks = FAMILIES["mlp"].tasks
    family = Family(mlp.Config, lambda *_: Hungry(rows=100), FAMILIES["mlp"].sizes, tasks, "")
    monkeypatch.setitem(FAMILIES, "hungry", family)  # type: ignore[arg-type]
    monkeypatch.setattr(Hungry, "held", [])
    monkeypatch.setattr(Hungry, "error", staticmethod(error), raising=False)
    return Job("hungry", "s", {"batch_size": 10}, 0, 2)


def test_all_that_a_training_held_is_free_when_its_lack_of_memory_is_told(
    few_digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "CUDA out of memory. Tried to allocate 2.00 GiB\nof 1 GiB"
    epochs = fit(hungry(monkeypatch, lambda: torch.OutOfMemoryError(message)), few_digits)
    with pytest.raises(OutOfMemory) as caught:
        next(epochs)
    assert len(Hungry.held) > 20 and all(held() is None for held in Hungry.held)
    assert str(caught.value) == "CUDA out of memory. Tried to allocate 2.00 GiB"
    assert caught.value.__context__ is None and caught.value.__cause__ is None
    assert out_of_memory(caught.value)


def test_another_error_comes_as_it_is(few_digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as caught:
        next(fit(hungry(monkeypatch, lambda: error), few_digits))
    assert caught.value is error
