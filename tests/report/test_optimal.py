"""How compute is best split: a known surface is found again, and where points lack, the answer says what."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report import optimal, render
from orchestrator.report.scaling import FitOptions, Objective, Points, few, fit

Made = Callable[..., Path]
ALPHA, BETA, EPOCHS = 0.4, 0.3, 12


def table(sizes: int = 6, fractions: int = 5, noise: float = 0.001) -> pd.DataFrame:
    """Cells of one family on E + A·N^-α + B·D^-β; a cell costs 6·N·D of each of its epochs."""
    size, rows = (part.ravel() for part in np.meshgrid(np.geomspace(1e3, 1e6, sizes),
                                                       np.geomspace(1e3, 1e5, fractions)))  # fmt: skip
    loss = 0.2 + 12 * size**-ALPHA + 9 * rows**-BETA
    loss *= np.exp(noise * np.random.default_rng(0).normal(size=len(loss)))
    return pd.DataFrame({"family": "mlp", "cell": [f"c{place}" for place in range(len(loss))], "params": size,
                         "train_samples": rows, "flops": 6 * EPOCHS * size * rows, "loss": loss,
                         "loss_sd": noise * loss, "luck_sd": np.nan, "seeds": 3})  # fmt: skip


def test_a_known_surface_gives_its_exponent_by_the_joint_fit() -> None:
    found = optimal.optima(table(), ("mlp",))[0]
    joint = next(route for route in found.routes if route.name == "joint fit")
    assert joint.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=0.03)
    assert joint.low is not None and joint.high is not None and joint.low < BETA / (ALPHA + BETA) < joint.high
    assert joint.exponent is not None and joint.data_exponent == pytest.approx(1 - joint.exponent, abs=0.01)
    assert found.main is joint


def test_routes_are_compared_at_ten_times_the_largest_cost() -> None:
    found = optimal.optima(table(), ("mlp",))[0]
    assert found.budget == pytest.approx(10 * 6 * EPOCHS * 1e6 * 1e5)
    sizes = [route.size(found.budget) for route in found.taken]
    assert len(sizes) >= 2 and found.ratio == pytest.approx(max(sizes) / min(sizes))  # type: ignore[type-var]
    assert [route.name for route in found.routes] == ["joint fit", "budgets (akima)", "envelope"]


def test_the_next_run_costs_no_more_than_the_dearest_and_tells_more_than_others() -> None:
    """What is left of the interval: checked by fitting again with the run added, and with the smallest one instead."""
    points = table(noise=0.01)
    found = optimal.optima(points, ("mlp",))[0].then
    assert found is not None and found.target == pytest.approx(1e7)
    assert found.flops <= points["flops"].max() * 1.001 and 0 < found.left < 1
    assert found.params > 1e5, "far from the largest networks a run tells least about one that is larger still"

    def spread(params: float, rows: float) -> float:
        added = {"params": params, "train_samples": rows, "flops": 6 * EPOCHS * params * rows}
        added["loss"] = 0.2 + 12 * params**-ALPHA + 9 * rows**-BETA
        columns = {"N": "params", "D": "train_samples"}
        both = pd.concat([points, pd.DataFrame([added] * 3)])
        given = Points(
            {name: both[column].to_numpy(float) for name, column in columns.items()}, both["loss"].to_numpy()
        )
        made = few.restated(fit("chinchilla", given, FitOptions(Objective("squared"))))
        slope = made.model.log_loss(made.theta, {"N": np.array([1e7]), "D": np.array([1e5])})[1][0, 0]
        return float(slope @ made.covariance @ slope)

    assert spread(found.params, found.train_samples) < spread(1e3, 1e3)


def test_too_few_sizes_or_amounts_of_data_give_no_route() -> None:
    found = optimal.optima(table(fractions=2), ("mlp",))[0]
    assert found.routes == () and found.main is None and "6 sizes and 2 amounts of data" in found.reason


def test_a_family_whose_larger_networks_do_worse_gets_no_route() -> None:
    rows = table()
    rows.loc[rows.index[-1], "loss"] *= 2
    found = optimal.optima(rows, ("mlp",))[0]
    assert not found.routes and "does worse than the smaller" in found.reason


def answer(path: Path) -> str:
    text = render.build(path, path.parents[1] / "runs").read_text(encoding="utf-8")
    found = re.search(r'<p class="answer">(.*?)</p>', text, re.S)
    assert found
    return re.sub(r"<[^>]*>", "", found[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "here are 3 sizes and 2 data fractions"),
        ({"fractions": (0.1, 0.3, 1.0), "finals": 0}, "0 sizes and 0 amounts of data have tested finalists"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(made_up: Made, recipe: Any, change: dict[str, Any], said: str) -> None:
    path = made_up("sweeps: [demo]\nsections: [frontier]\n", recipe(families=("mlp",), **change))
    assert said in answer(path)


def test_a_ladder_of_sizes_and_data_gets_an_answer_and_a_table(made_up: Made, recipe: Any) -> None:
    grid = {"sizes": ("xs", "s", "m", "l", "xl"), "fractions": (0.1, 0.2, 0.4, 1.0), "search": 12, "seed_noise": 0.002}
    path = made_up("sweeps: [demo]\nsections: [frontier]\n", recipe(families=("mlp",), finals=3, **grid))
    assert re.search(r"ten times the compute|Cannot tell how compute is best split\. mlp: \w+", answer(path))
    made = pd.read_csv(path.parent / "demo" / "tables" / "compute-optimal.csv")
    assert set(made["family"]) == {"mlp"}
    then = pd.read_csv(path.parent / "demo" / "tables" / "next-run.csv")
    assert list(then["family"]) == ["mlp"] and then["left"].notna().item() != then["lacking"].notna().item()


def test_routes_that_disagree_settle_nothing(made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and ever larger networks: the envelope follows the sizes that were run, not the best ones."""
    grid = {"sizes": ("xs", "s", "m", "l", "xl"), "fractions": (0.1, 0.2, 0.4, 1.0), "search": 3, "finals": 1}
    path = made_up("sweeps: [demo]\nsections: [frontier]\n", recipe(families=("mlp",), accidents=False, **grid))
    monkeypatch.setattr("orchestrator.report.ladder.points", lambda _: table().assign(
        train_samples=table()["train_samples"] / 1e3, trials=[()] * 30))  # fmt: skip
    said = answer(path)
    assert said.startswith("Not settled: the routes disagree for mlp") and "joint fit" in said
