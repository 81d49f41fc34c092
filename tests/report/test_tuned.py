"""The best learning rate against scale: a true trend is told with its size, and chance is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.records import PREDICTED
from orchestrator.report import frames, render, tuned

Made = Callable[..., Path]
SECTION = "sweeps: [demo]\nsections: [hyperparameters]\n"


def table(random: np.random.Generator, noise: float, powers: tuple[float, float] = (0.0, 0.0)) -> pd.DataFrame:
    """Three sizes by three data fractions; the best learning rate is 0.01·(N/1e4)^a·(D/1e3)^b times noise."""
    size, rows = (values.ravel() for values in np.meshgrid([1e3, 1e4, 1e5], [250.0, 1000.0, 4000.0]))
    best = 0.01 * (size / 1e4) ** powers[0] * (rows / 1e3) ** powers[1] * np.exp(noise * random.normal(size=9))
    return pd.DataFrame({"hyperparameter": "learning_rate", "family": "mlp", "params": size, "train_samples": rows,
                         "best": best, "cell": [f"c{place}" for place in range(9)], "optimizer": ""})  # fmt: skip


def by_axis(rows: pd.DataFrame) -> dict[str, tuned.Trend]:
    return {one.axis: one for one in tuned.trends(rows, ("mlp",))}


def test_a_trend_is_told_with_its_size() -> None:
    found = by_axis(table(np.random.default_rng(0), 0.05, (-0.4, 0.25)))
    for axis, truth in (("params", -0.4), ("train_samples", 0.25)):
        low, high = found[axis].ends
        assert found[axis].told and low is not None and high is not None and low < truth < high
        assert high - low < 0.2
    assert found["params"].tenfold is not None
    assert found["params"].tenfold[0] == pytest.approx(10**-0.4, rel=0.05)


def test_along_one_axis_alone_the_sign_is_that_of_the_trend() -> None:
    rows = table(np.random.default_rng(0), 0.02, (-0.3, 0.0))
    found = by_axis(rows[rows["train_samples"] == 1000.0].pipe(lambda part: pd.concat([part, part.assign(
        params=part["params"] * 3, best=part["best"] * 3**-0.3)])))  # fmt: skip
    power = found["params"].power
    assert power is not None and power.value == pytest.approx(-0.3, abs=0.03) and found["params"].told
    assert found["train_samples"].power is None and "the same" in found["train_samples"].reason


@pytest.mark.parametrize("noise", [0.1, 0.7])
def test_chance_is_told_as_a_trend_in_at_most_one_sweep_in_twenty(noise: float) -> None:
    random = np.random.default_rng(0)
    false = sum(any(one.told for one in tuned.trends(table(random, noise), ("mlp",))) for _ in range(100))
    assert false <= 9


def test_too_few_cells_give_no_power_but_a_reason() -> None:
    found = by_axis(table(np.random.default_rng(0), 0.1).head(5))
    assert all(one.power is None and "6 are needed" in one.reason for one in found.values())


def test_a_value_that_is_best_everywhere_is_no_trend() -> None:
    found = by_axis(table(np.random.default_rng(0), 0.0))
    assert all(one.power is None and "same value" in one.reason for one in found.values())


def read(path: Path) -> frames.Frames:
    return frames.read([path.parents[1] / "runs" / "demo"])


def answer(path: Path) -> str:
    text = render.build(path, path.parents[1] / "runs").read_text(encoding="utf-8")
    found = re.search(r'<p class="answer">(.*?)</p>', text, re.S)
    assert found
    return re.sub(r"<[^>]*>", "", found[1])


def test_a_point_is_the_mean_of_the_best_trials_with_the_usual_optimizer(made_up: Made, recipe: Any) -> None:
    frame = read(made_up(SECTION, recipe(families=("mlp",), search=40)))
    points = tuned.points(frame)
    row = points[(points["cell"] == "mlp-s-1") & (points["hyperparameter"] == "learning_rate")].iloc[0]
    trials = frame.search[(frame.search["cell"] == "mlp-s-1") & (frame.search["config.optimizer"] == row["optimizer"])]
    best = trials[trials["status"].isin(("complete", "pruned"))].sort_values("value", ascending=False).head(3)
    rates = best["config.learning_rate"].to_numpy(float)
    assert row["best"] == pytest.approx(np.exp(np.log(rates).mean()))
    assert (row["low"], row["high"]) == (rates.min(), rates.max())
    assert points["optimizer"].nunique() == 1
    # In the made-up sweep 0.01 is best at every scale.
    assert points.loc[points["hyperparameter"] == "learning_rate", "best"].between(0.002, 0.05).all()


def test_what_smaller_cells_led_to_is_no_witness_of_a_trend(made_up: Made, recipe: Any) -> None:
    frame = read(made_up(SECTION, recipe(families=("mlp",), search=40)))
    row = tuned.points(frame).query("cell == 'mlp-s-1' and hyperparameter == 'learning_rate'").iloc[0]
    origins = frame.trials["origin"].mask(frame.trials["trial"] == row["best_trial"], PREDICTED)
    without = tuned.points(replace(frame, trials=frame.trials.assign(origin=origins)))
    other = without.query("cell == 'mlp-s-1' and hyperparameter == 'learning_rate'").iloc[0]
    assert other["best_trial"] != row["best_trial"] and other["trials"] == row["trials"] - 1


def test_a_sweep_without_a_trend_is_not_given_one(made_up: Made, recipe: Any) -> None:
    said = answer(made_up(SECTION, recipe(families=("mlp", "lenet"), search=30)))
    assert "Cannot tell whether the best learning rate or batch size rises or falls" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": ("s",), "fractions": (1.0,)}, "one size and one amount of data"),
        ({"search": 2}, "no cell has 3 trials"),
    ],
)
def test_what_is_missing_is_said(made_up: Made, recipe: Any, change: dict[str, Any], said: str) -> None:
    assert said in answer(made_up(SECTION, recipe(**change)))


def test_a_best_value_at_the_end_of_the_range_is_flagged(
    made_up: Made, recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made_up(SECTION, recipe(families=("mlp",), search=120, accidents=False))
    header, tables = frames.read_run(path.parents[1] / "runs" / "demo")
    for row in tables["trials"]:
        row["value"] = row["config.learning_rate"]  # type: ignore[index]
    monkeypatch.setattr(frames, "read_run", lambda _: (header, tables))
    points = tuned.points(read(path))
    assert points.loc[points["hyperparameter"] == "learning_rate", "at_edge"].mean() > 0.5
    assert "lies at the end of what was tried" in answer(path)
