from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.tasks.judged import GENERATED, METRICS, coverage, frechet, measure


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor
    judge: Any = torch.Tensor.double


def normal(rows: int, *deviations: float, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    points = torch.randn(rows, len(deviations), generator=chance, dtype=torch.float64)
    # Exactly uncorrelated, with exactly these deviations.
    centred = points - points.mean(0)
    return centred @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(centred.T))).T * torch.tensor(deviations)


class Maker(nn.Module):
    """Makes images of a supply, one after another, and of none twice."""

    def __init__(self, supply: Tensor) -> None:
        super().__init__()
        self.supply, self.made = supply, 0

    def generate(self, rows: int) -> Tensor:
        assert not self.training
        self.made += rows
        return self.supply[self.made - rows : self.made]


def test_the_distance_by_hand() -> None:
    points = normal(50, 1.0, 2.0, 3.0)
    assert frechet(points, points.flip(0)) == pytest.approx(0, abs=1e-9)
    assert frechet(points, points + torch.tensor([3.0, 0.0, 4.0])) == pytest.approx(25)
    # Deviations of 1, 2, 3 and of 1, 2, 7: (3 - 7)².
    assert frechet(points, normal(50, 1.0, 2.0, 7.0, seed=1)) == pytest.approx(16)


def test_the_distance_is_that_of_scipys_root() -> None:
    chance = torch.Generator().manual_seed(0)
    one, other = (torch.randn(40, 6, generator=chance) @ torch.randn(6, 6, generator=chance) for _ in range(2))
    first, second = np.cov(one.numpy().T), np.cov(other.numpy().T)
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum().item()
    expected += np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet(one, other) == pytest.approx(expected, rel=1e-4)
    assert frechet(other, one) == pytest.approx(expected, rel=1e-4)


def test_features_that_never_vary_are_no_trouble() -> None:
    points = torch.cat([normal(50, 1.0, 2.0), torch.zeros(50, 3, dtype=torch.float64)], 1)
    assert frechet(points, points) == pytest.approx(0, abs=1e-9)


def test_coverage_is_of_the_kinds_of_images_that_are_made() -> None:
    centres = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]], dtype=torch.float64)
    real = torch.cat([normal(100, 1.0, 1.0, seed=index) + centre for index, centre in enumerate(centres)])
    made = torch.cat([normal(100, 1.0, 1.0, seed=9 - index) + centre for index, centre in enumerate(centres)])
    assert coverage(real, made) > 0.9
    assert 0.2 < coverage(real, made[:100]) <= 0.25
    assert coverage(real, made[:1].repeat(400, 1)) < 0.1
    assert coverage(real, made + 20) == 0


def test_a_thousand_images_are_measured_whatever_the_batch_and_the_split() -> None:
    supply = torch.rand(GENERATED, 5, generator=torch.Generator().manual_seed(0))
    found = []
    for rows, batch_size in ((200, 64), (200, 4000), (3000, 1)):
        maker = Maker(supply).train()
        split = Rows(torch.rand(rows, 5, generator=torch.Generator().manual_seed(1)), torch.zeros(rows, 0))
        found.append(measure(maker, split, batch_size))
        assert maker.made == GENERATED and maker.training
        assert list(found[-1]) == list(METRICS)
    assert found[0] == found[1] != found[2]


def test_images_that_are_not_finite_have_no_distance() -> None:
    supply = torch.rand(GENERATED, 5)
    supply[70, 2] = torch.inf
    found = measure(Maker(supply), Rows(torch.rand(50, 5), torch.zeros(50, 0)), 100)
    assert all(value != value for value in found.values())


def test_without_a_judge_nothing_is_measured() -> None:
    with pytest.raises(UserError, match="has no judge"):
        measure(Maker(torch.rand(GENERATED, 5)), Rows(torch.rand(50, 5), torch.zeros(50, 0), None), 100)
