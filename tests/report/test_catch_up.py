"""How much more compute a family needs: known laws are found again, luck is no gain, and nothing is read far."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report import catch_up, render

Made = Callable[..., Path]


def cells(
    family: str,
    scale: float,
    alpha: float,
    noise: float = 0.0,
    span: tuple[float, float] = (1e8, 1e11),
    points: int = 6,
) -> pd.DataFrame:
    """Cells of a family on loss = scale · compute^-alpha."""
    flops = np.geomspace(*span, points)
    loss = scale * flops**-alpha * np.exp(noise * np.random.default_rng(len(family)).normal(size=points))
    names = [f"{family}{place}" for place in range(points)]
    sizes = ["xs", "s", "m", "l", "xl", "xl"][:points]
    return pd.DataFrame({"family": family, "cell": names, "size": sizes, "data_fraction": 1.0, "params": flops,
                         "train_samples": 100.0, "flops": flops, "loss": loss, "loss_sd": 0.05 * loss,
                         "luck_sd": np.nan, "seeds": 3, "trials": [(f"{name}-f000",) for name in names]})  # fmt: skip


def gain(*parts: pd.DataFrame, confidence: float = 0.9) -> catch_up.Gain:
    table = pd.concat(parts, ignore_index=True)
    families = tuple(dict.fromkeys(table["family"]))
    return catch_up.gains(catch_up.laws(table, families), catch_up.ends_of(table, families), confidence)[0]


def test_a_known_gain_is_found_with_its_interval() -> None:
    """The second needs three times the compute for any loss."""
    found = gain(cells("b", 20 * 3**0.2, 0.2, 0.01), cells("a", 20, 0.2, 0.01))
    assert (found.ahead, found.behind) == ("a", "b")
    assert found.low is not None and found.high is not None and found.low < 3 < found.high < 4.5
    assert found.told and found.times == pytest.approx(3, rel=0.2)
    assert found.cost == pytest.approx(1e11) and found.changes is not None and found.changes < 0.05


def test_equal_families_are_not_told_apart() -> None:
    found = gain(cells("a", 20, 0.2, 0.05), cells("bb", 20, 0.2, 0.05))
    assert not found.told and found.low is not None and found.low < 1


def test_a_crossing_is_found_where_it_lies() -> None:
    """20·C^-0.2 and 20·(1e10)^0.1·C^-0.3 are equal at 1e10."""
    found = gain(cells("a", 20, 0.2, 0.002), cells("b", 20 * 1e10**0.1, 0.3, 0.002))
    assert found.ahead == "b" and found.crossing == pytest.approx(1e10, rel=0.1)
    assert found.changes is not None and found.changes > 0.95


def test_far_beyond_what_was_run_nothing_is_read() -> None:
    found = gain(cells("a", 10, 0.2, 0.01), cells("b", 20, 0.2, 0.01))
    assert found.limit == pytest.approx(10) and found.times == np.inf and found.low == np.inf and found.told


def test_ranges_that_do_not_overlap_are_not_compared() -> None:
    found = gain(cells("a", 20, 0.2, 0.01, (1e6, 1e7)), cells("b", 20, 0.2, 0.01, (1e9, 1e11)))
    assert found.times is None and "do not overlap" in found.reason


def test_a_family_without_a_law_gives_a_reason() -> None:
    found = gain(cells("a", 20, 0.2, 0.01), cells("b", 20, 0.2, 0.01, points=3))
    assert found.times is None and found.reason.startswith("no law of b: 3 points")


def test_intervals_hold_at_once() -> None:
    pair = cells("a", 20, 0.2, 0.03), cells("bb", 25, 0.2, 0.03)
    alone, among = gain(*pair), gain(*pair, cells("ccc", 22, 0.2, 0.03))
    assert alone.low is not None and among.low is not None and among.low < alone.low


def test_the_plain_ranking_is_as_measured() -> None:
    table = pd.concat([cells("a", 20, 0.2), cells("b", 10, 0.2, span=(1e9, 1e12), points=5).iloc[:4]])
    ranked = catch_up.ranking(table, ("a", "b", "untested")).set_index("family")
    assert list(ranked.index) == ["b", "a"]
    assert (ranked.loc["a", "cell"], ranked.loc["b", "cell"]) == ("a3", "b3"), "l is the largest size that both have"
    most = table.loc[table["cell"] == "a5", "flops"].item()
    within = table[(table["family"] == "b") & (table["flops"] <= most)]
    assert ranked.loc["b", "cell_within"] == within.loc[within["loss"].idxmin(), "cell"]
    assert ranked.loc["a", "trial_within"] == "a5-f000"


def built(path: Path) -> tuple[str, Path]:
    page = render.build(path, path.parents[1] / "runs")
    found = re.search(r'<p class="answer">(.*?)</p>', page.read_text(encoding="utf-8"), re.S)
    assert found
    return re.sub(r"<[^>]*>", "", found[1]), page.parent


def test_the_page_tells_it_with_interval_and_crossing(made_up: Made, recipe: Any) -> None:
    """Two families of one law."""
    grid: dict[str, Any] = {"sizes": ("xs", "s", "m", "l"), "fractions": (0.1, 0.3, 1.0), "families": ("gru", "lstm")}
    path = made_up("sweeps: [demo]\nsections: [catch_up]\n", recipe(search=40, seed_noise=0.002, **grid))
    said, folder = built(path)
    table = pd.read_csv(folder / "tables" / "compute-to-catch-up.csv")
    assert len(table) == 1 and said.startswith("Cannot tell whether") and " times as much" in said
    row = table.iloc[0]
    assert row["low"] < 1 < row["high"] and row["low"] < row["times"] < row["high"] and 0 < row["changes"] <= 1
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert any("times_the_compute_of" in name for name in numbers)
    assert len(pd.read_csv(folder / "tables" / "plain-ranking.csv")) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [({"finals": 0}, "Not known"), ({"families": ("mlp",)}, "Not known"), ({}, "Cannot tell: no two families")],
)
def test_what_is_not_known_is_said(made_up: Made, recipe: Any, change: dict[str, Any], said: str) -> None:
    assert built(made_up("sweeps: [demo]\nsections: [catch_up]\n", recipe(sizes=("xs",), **change)))[0].startswith(said)
