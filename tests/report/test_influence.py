"""Importance of hyperparameters: it finds what matters, and nothing in noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.report import frames, influence, render
from orchestrator.report.contents import Options
from orchestrator.report.influence import Influence
from orchestrator.report.pieces import Context
from orchestrator.report.sections import importance
from orchestrator.report.theme import Dress


def test_epsilon_squared_is_kelleys() -> None:
    """By hand: groups (1, 2, 3) and (4, 5, 6): total 17.5, within 4: 1 − (4/4) / (17.5/5)."""
    share, _ = influence.epsilon_squared(np.array([0, 0, 0, 1, 1, 1]), np.array([1.0, 2, 3, 4, 5, 6]))
    assert share == pytest.approx(1 - 1 / 3.5)


def test_noise_stands_out_in_few_of_many_tries() -> None:
    random = np.random.default_rng(0)
    small = sum(influence.epsilon_squared(np.arange(40) % 4, random.random(40))[1] < 0.05 for _ in range(100))
    assert small <= 11


def test_an_optimum_in_the_middle_is_seen() -> None:
    """A rank correlation would miss it: the effect goes up and down again."""
    values = pd.Series(np.linspace(-3, 3, 60))
    share, p = influence.epsilon_squared(influence.grouped(values), -(values.to_numpy() ** 2))
    assert share > 0.6 and p < 0.01


def test_the_learning_rate_matters_most_and_dropout_not_at_all(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=8))
    found = influence.influences(frames.read([path.parents[1] / "runs" / "demo"]))
    for family in ("perceptron", "mlp", "lenet"):
        mine = [one for one in found if one.family == family]
        assert mine[0].hyperparameter == "learning_rate" and mine[0].stands_out
        assert not next(one for one in mine if one.hyperparameter == "dropout").stands_out


def test_few_trials_are_refused(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=2))
    found = influence.influences(frames.read([path.parents[1] / "runs" / "demo"]))
    assert found and all(one.share is None and one.p is None for one in found)


def test_a_conditional_hyperparameter_is_judged_on_the_trials_that_have_it(
    made_up: Callable[..., Path], recipe: Any
) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=40, families=("mlp",)))
    found = {one.hyperparameter: one for one in influence.influences(frames.read([path.parents[1] / "runs" / "demo"]))}
    assert found["momentum"].trials < 0.5 * found["learning_rate"].trials


def test_fanova_and_ped_anova_see_what_the_made_up_sweep_depends_on(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=40, families=("mlp",)))
    found = influence.influences(frames.read([path.parents[1] / "runs" / "demo"]))
    for measure in ("fanova", "ped_anova"):
        shares = {one.hyperparameter: getattr(one, measure) or 0.0 for one in found}
        assert max(shares, key=lambda name: shares[name]) == "learning_rate" and shares["learning_rate"] > 0.5
    by_name = {one.hyperparameter: one for one in found}
    assert by_name["momentum"].fanova is None and by_name["momentum"].ped_anova is not None


def test_few_trials_have_no_share_by_any_measure(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=2))
    found = influence.influences(frames.read([path.parents[1] / "runs" / "demo"]))
    assert all(one.fanova is None and one.ped_anova is None for one in found)


def test_a_measure_that_has_no_word_on_it_is_not_said_to_agree(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\n", recipe(search=4, families=("mlp",)))
    read = frames.read([path.parents[1] / "runs" / "demo"])
    context = Context(read, Options(), Dress(read.families))

    def said(fanova: float | None, ped_anova: float | None) -> str:
        best = Influence("mlp", "momentum", 40, 0.5, 0.01, fanova, ped_anova)
        return importance.answer(context, [best, Influence("mlp", "dropout", 40, 0.1, 0.9, 0.2, 0.2)]).striptags()

    assert said(0.6, 0.6).endswith("Two other measures, fANOVA and PED-ANOVA, say the same.")
    assert said(None, 0.6).endswith("Another measure, PED-ANOVA, says the same.")
    assert said(None, 0.1).endswith("Another measure, PED-ANOVA, does not say so: read the order with care.")
    assert said(0.6, 0.1).endswith("fANOVA and PED-ANOVA, do not both say so: read the order with care.")
    assert said(None, None) == "What mattered most was the momentum for mlp."


def test_the_answer_says_whether_the_measures_agree(made_up: Callable[..., Path], recipe: Any) -> None:
    path = made_up("sweeps: [demo]\nsections: [search]\n", recipe(search=40, families=("mlp",)))
    page = render.build(path, path.parents[1] / "runs").read_text(encoding="utf-8")
    assert "Two other measures, fANOVA and PED-ANOVA, say the same." in page
