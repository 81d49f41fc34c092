from __future__ import annotations

import pytest
import torch

from orchestrator.data.load import Split
from orchestrator.training import batches
from orchestrator.training.batches import batch_sizes, shuffled


@pytest.mark.parametrize(
    ("rows", "batch_size", "sizes"),
    [
        (10, 5, [5, 5]),
        (12, 5, [5, 5, 2]),
        (11, 5, [5, 6]),
        (3, 5, [3]),
        (1, 5, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_lone_last_row_joins_the_batch_before(rows: int, batch_size: int, sizes: list[int]) -> None:
    assert batch_sizes(rows, batch_size) == sizes


@pytest.mark.parametrize("gathered_bytes", [1, 100, 1 << 20])
@pytest.mark.parametrize("shape", [(3,), (3, 4, 5)])
def test_every_row_comes_once_with_its_target_in_the_order_given(
    gathered_bytes: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_GATHERED_BYTES", gathered_bytes)
    split = Split(torch.randn(53, *shape), torch.arange(53))
    order = torch.randperm(53)
    found = list(shuffled(split, order, batch_sizes(53, 4)))
    assert [len(inputs) for inputs, _ in found] == [4] * 12 + [5]
    targets = torch.cat([targets for _, targets in found])
    assert torch.equal(targets, order)
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), split.inputs[order])


def test_overlapping_windows_of_a_series_are_gathered_too() -> None:
    series = torch.arange(100.0)
    split = Split(series.as_strided((90, 10, 1), (1, 1, 1)), torch.arange(90))
    for inputs, targets in shuffled(split, torch.randperm(90), batch_sizes(90, 32)):
        assert torch.equal(inputs[:, 0, 0], targets.float())
