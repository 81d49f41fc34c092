"""Points of the scaling section and the power laws read from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report import frames, ladder


def table(sizes: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"family": "mlp", "params": sizes, "train_samples": 100.0, "flops": sizes, "loss": losses,
                         "data_fraction": 1.0, "cell": [f"c{n}" for n in range(len(sizes))]})  # fmt: skip


def test_an_exact_power_law_is_found_again() -> None:
    sizes = np.geomspace(1e3, 1e6, 5)
    law = ladder.power_law(table(sizes, 3 * sizes**-0.2 * np.array([1, 1.001, 0.999, 1.001, 1])), "mlp", "params")
    assert law.exponent is not None and law.exponent.value == pytest.approx(0.2, abs=0.002)
    assert law.floor is None


def test_a_floor_is_found_where_the_points_show_one() -> None:
    sizes = np.geomspace(1e2, 1e8, 10)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.002, 10))
    law = ladder.power_law(table(sizes, (0.5 + 20 * sizes**-0.5) * noise), "mlp", "params")
    assert law.floor is not None and law.floor.value == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("sizes", [1, 2, 3])
def test_too_few_points_give_no_exponent_but_a_reason(sizes: int) -> None:
    x = np.geomspace(1e3, 1e5, sizes)
    law = ladder.power_law(table(x, x**-0.2), "mlp", "params")
    assert law.exponent is None and law.curve is None
    assert "needs 4 or more" in law.reason


def test_noise_without_a_trend_gives_no_exponent() -> None:
    x = np.geomspace(1e3, 1e5, 5)
    law = ladder.power_law(table(x, np.array([0.50, 0.55, 0.48, 0.56, 0.51])), "mlp", "params")
    assert law.exponent is None and law.reason


def test_a_family_whose_larger_networks_do_worse_gets_no_law() -> None:
    """The envelope alone would follow a fine law; the cells that it leaves out say that the search missed."""
    x = np.geomspace(1e3, 1e6, 6)
    losses = x**-0.2 * np.array([1, 1.001, 0.999, 1.001, 0.999, 1])
    fine = table(x, losses).assign(loss_sd=0.001, luck_sd=np.nan, seeds=3)
    assert ladder.overtaken(fine, "mlp") == []
    assert all(law.exponent for law in ladder.laws(fine, ("mlp",)) if law.axis == "flops")
    missed = pd.concat(
        [fine, table(x[2:3] * 1.1, losses[2:3] * 1.5).assign(cell="missed", loss_sd=0.001, luck_sd=np.nan, seeds=3)]
    )
    assert ladder.overtaken(missed, "mlp") == [("missed", "c2")]
    law = next(law for law in ladder.laws(missed, ("mlp",)) if law.axis == "flops")
    assert law.exponent is None and "missed does worse than the smaller c2" in law.reason


def test_seed_noise_alone_does_not_overtake() -> None:
    noisy = table(np.array([1e3, 2e3]), np.array([0.50, 0.53])).assign(loss_sd=0.05, luck_sd=np.nan, seeds=3)
    assert ladder.overtaken(noisy, "mlp") == []


def test_nor_does_the_luck_of_the_searches() -> None:
    close = table(np.array([1e3, 2e3]), np.array([0.50, 0.53])).assign(loss_sd=0.001, luck_sd=0.02, seeds=3)
    assert ladder.overtaken(close, "mlp") == []
    assert ladder.overtaken(close.assign(luck_sd=0.005), "mlp") == [("c1", "c0")]


def test_the_law_in_compute_is_read_from_the_lower_envelope() -> None:
    rows = ladder.along(table(np.array([1e3, 2e3, 3e3]), np.array([0.5, 0.6, 0.4])), "mlp", "flops")
    assert list(rows["loss"]) == [0.5, 0.4]


def test_a_point_is_the_mean_over_finalists_alone(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe())
    read = frames.read([path.parents[1] / "runs" / "demo"])
    points = ladder.points(read).set_index("cell")
    finals = read.trials[(read.trials["cell"] == "lenet-m-1") & (read.trials["kind"] == "final")]
    assert points.loc["lenet-m-1", "loss"] == pytest.approx(finals["test_loss"].mean())
    assert points.loc["lenet-m-1", "loss_sd"] == pytest.approx(finals["test_loss"].std())
    assert points.loc["lenet-m-1", "seeds"] == 2


def test_the_interval_of_an_exponent_holds_for_few_points() -> None:
    """Nominal 90 % over five points; a covariance that wants many rows gives 83 %."""
    random, sizes, inside = np.random.default_rng(0), np.geomspace(1e6, 1e9, 5), []
    for _ in range(150):
        losses = 2 * sizes**-0.2 * np.exp(0.03 * random.normal(size=5))
        exponent = ladder.power_law(table(sizes, losses), "mlp", "params").exponent
        assert exponent is not None and exponent.low is not None and exponent.high is not None
        inside.append(exponent.low <= 0.2 <= exponent.high)
    assert 0.86 <= np.mean(inside) <= 0.95


def test_a_loss_that_does_not_depend_on_compute_rarely_gets_a_law_along_it() -> None:
    """The points that no cheaper one beats fall with compute all the same: alone they give a law in one of seven."""
    random, told = np.random.default_rng(0), 0
    sizes, rows = (values.ravel() for values in np.meshgrid([1e3, 4e3, 16e3], [250.0, 1e3, 4e3]))
    for _ in range(200):
        losses = np.exp(0.1 * random.normal(size=9))
        made = table(sizes, losses).assign(
            train_samples=rows, flops=sizes * rows, data_fraction=rows / 4e3, loss_sd=0.05, luck_sd=0.1, seeds=3
        )
        told += ladder.law_along(made, "mlp", "flops").exponent is not None
    assert told <= 16


def test_cells_that_share_a_size_count_by_their_mean() -> None:
    """As those of two sweeps of one family may: neither the worse nor the better of them stands for the size."""
    sizes, losses = np.array([1e3, 1e4, 1e4]), np.array([4.0, 1.0, 3.0])
    assert ladder.improvement(table(sizes, losses), "mlp", "params") == 2.0
