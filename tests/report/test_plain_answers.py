"""What the report says to a reader who knows no statistics: what is hardly known, what is left out, what is empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.models import FAMILIES
from orchestrator.report import answers, anytime, frames, luck, render, theme, verdict
from orchestrator.report.contents import Options
from orchestrator.report.optimal import Optimum
from orchestrator.report.pieces import Context, Figure
from orchestrator.report.scaling import LAWS, Points
from orchestrator.report.scaling.fit import floor_sentence
from orchestrator.report.scaling.frontier import Route, budget_route, envelope_route, joint_route
from orchestrator.report.sections import cells, frontier, hyperparameters, scaling
from orchestrator.report.theme import Dress

Made = Callable[..., Path]
TRIALS = 8


def standing(name: str, mean: float, freedom: float = 1.5, deviation: float = 0.05, flops: float = 1e9) -> Any:
    """A family of two short searches, each with 8 trials of which 2.5 tell the luck."""
    search = anytime.Search(tuple(np.linspace(0.5, 0.9, TRIALS)), (), TRIALS, 1.0, flops)
    told = luck.Luck(deviation**2, freedom, 1.0, deviation, 5.0, 2)
    values = (mean - 0.001, mean, mean + 0.001)
    names = tuple(f"{name}-m-1-f{number:03d}" for number in range(3))
    return verdict.Standing(name, f"{name}-m-1", "m", 1.0, values, names, (0, 1, 2), search, told)


def decided(*standings: Any, metric: str = "accuracy") -> verdict.Verdict:
    return verdict.decide(standings, metric, "max", 0.95)


def context_of(made_up: Made, recipe: Any) -> Context:
    path = made_up("sweeps: [demo]\n", recipe)
    read = frames.read([path.parents[1] / "runs" / "demo"])
    return Context(read, Options(), Dress(read.families))


# ---- the luck of a search is itself hardly known ------------------------------------------------------------------


def test_where_the_luck_is_a_guess_it_says_so_and_how_many_trials_would_tell() -> None:
    """By hand: 2.5 of 8 trials count; 4 degrees over two searches take 5 that count in each, so 16 trials."""
    found = decided(standing("a", 0.97), standing("b", 0.94))
    pair = found.comparisons[0]
    assert pair.obstacle == verdict.LUCK and pair.guess == verdict.Guess(5.0, 16)
    said = answers.text(found)
    assert "only about 5 trials of a family count for it; with about 16 trials a cell" in said
    assert "hardly known" in said and answers.interval(pair, "accuracy") == "hardly known"
    told = answers.as_json(found)["pairs"][0]
    assert told["interval"] == list(pair.interval or ()) and told["trials_a_cell_to_know_the_luck"] == 16


def test_where_the_luck_is_known_it_is_just_luck() -> None:
    pair = decided(standing("a", 0.97, freedom=8), standing("b", 0.94, freedom=8)).comparisons[0]
    assert (pair.obstacle, pair.guess) == (verdict.LUCK, None)
    assert "hardly known" not in answers.of_pair(pair, None)


def test_so_many_trials_do_tell_the_luck() -> None:
    """All of them to their end, in one search."""
    values = [float(score) for score in luck.expected_order(TRIALS)]
    now = luck.of_search(values, [], TRIALS, [values[0]])
    assert now is not None and now.freedom < luck.ENOUGH
    enough = now.trials_to_know(TRIALS)
    many = [float(score) for score in luck.expected_order(enough)]
    then = luck.of_search(many, [], enough, [many[0]])
    assert then is not None and luck.ENOUGH <= then.freedom <= luck.ENOUGH + 0.5


@pytest.mark.parametrize(("metric", "shown"), [("accuracy", "−1.0 to 1.0"), ("r2", "−1.4 to 1.5")])
def test_no_printed_interval_of_a_share_goes_beyond_one(metric: str, shown: str) -> None:
    far = verdict.Comparison("a", "b", 0.03, (-1.42, 1.48))
    assert answers.interval(far, metric) == shown


# ---- who is not in it ----------------------------------------------------------------------------------------------


def test_a_family_that_equal_compute_leaves_out_is_named() -> None:
    found = decided(standing("a", 0.97), standing("b", 0.94, flops=1e12), standing("c", 0.9))
    assert "not in it: b, of which one trial alone costs more" in answers.equal_spend(found)
    told = answers.as_json(found)
    assert told["equal_compute"]["left_out"] == ["b"] and told["equal_spend"]["left_out"] == []
    assert set(told["equal_compute"]["expected_best_validation"]) == {"a", "c"}


def test_trials_of_a_cell_are_those_of_its_search(made_up: Made, recipe: Any) -> None:
    context = context_of(made_up, recipe(search=6, finals=2))
    table = cells.cells(context)
    assert set(table["searched"]) == {6} and set(table["asked"]) == {8}
    parts = [f"searched_{status}" for status in ("complete", "pruned", "diverged", "failed")]
    assert (table[parts].sum(axis=1) == table["searched"]).all()


# ---- which cell is best --------------------------------------------------------------------------------------------


def test_the_best_cell_is_chosen_by_validation_and_is_the_verdicts(made_up: Made, recipe: Any) -> None:
    context = context_of(made_up, recipe(accidents=False))
    trials = context.frames.trials.copy()
    before = verdict.judge(context.frames, 0.95).standings[0]
    lucky = next(cell for cell in sorted(set(trials["cell"])) if cell not in (before.cell,))
    trials.loc[(trials["cell"] == lucky) & trials["test_accuracy"].notna(), "test_accuracy"] = 0.9999
    context = replace(context, frames=replace(context.frames, trials=trials))
    lead = verdict.judge(context.frames, 0.95).standings[0]
    said = str(cells.section(context).answer)
    assert lead.cell != lucky and lucky not in said
    assert f"<strong>{lead.cell}</strong>" in said and f"{lead.mean:.4f}" in said


def test_where_validation_prefers_another_familys_cell_both_are_named(made_up: Made, recipe: Any) -> None:
    context = context_of(made_up, recipe(families=("mlp", "lenet"), accidents=False))
    trials = context.frames.trials.copy()
    ends = trials["test_accuracy"].notna()
    by_validation = verdict.best_cell(verdict.tested(context.frames), "max")
    trials.loc[ends & (trials["cell"] == by_validation), "test_accuracy"] = 0.3
    context = replace(context, frames=replace(context.frames, trials=trials))
    lead = verdict.judge(context.frames, 0.95).standings[0]
    said = str(cells.section(context).answer)
    assert lead.cell != by_validation
    assert f"By validation <strong>{by_validation}</strong>" in said and f"<strong>{lead.cell}</strong>" in said


# ---- laws and what they rest on ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("last", "warned"), [(15, True), (9, False)])
def test_laws_of_networks_that_were_still_learning_say_so(made_up: Made, recipe: Any, last: int, warned: bool) -> None:
    context = context_of(made_up, recipe(families=("mlp",), sizes=("xs", "s", "m", "l", "xl"), accidents=False))
    trials = context.frames.trials.assign(best_epoch=float(last))
    said = str(scaling.section(replace(context, frames=replace(context.frames, trials=trials))).answer)
    assert "power laws. Exponents" in said
    assert ("In 10 of 10 cells the finalists were still at their best in their last epoch" in said) == warned


def test_the_loss_is_not_taken_for_the_metric(made_up: Made, recipe: Any) -> None:
    context = context_of(made_up, recipe())
    assert "chosen by accuracy" in scaling.section(context).answer
    by_loss = replace(context, frames=replace(context.frames, metric="loss", direction="min"))
    assert "chosen by" not in scaling.section(by_loss).answer


def test_one_amount_of_data_draws_no_column_of_points(made_up: Made, recipe: Any) -> None:
    for fractions, panels in ((1.0,), 2), ((0.25, 1.0), 3):
        blocks = scaling.section(context_of(made_up, recipe(fractions=fractions))).blocks
        drawn = next(block for block in blocks if isinstance(block, Figure))
        assert len(drawn.panels) == panels
        assert ("Against training rows nothing is drawn" in drawn.caption) == (panels == 2)


def test_a_route_without_an_interval_heads_nothing(made_up: Made, recipe: Any) -> None:
    context, sizes = context_of(made_up, recipe(families=("mlp",))), np.array([1e4, 1e4, 3e4, 9e4])
    envelope = Route("envelope", 0.33, None, None, 1.0, 0.67, budgets=np.geomspace(1e9, 1e12, 4), optima=sizes)
    one = Optimum("mlp", pd.DataFrame(), (envelope,), 1e13, None, "")
    said = str(frontier._answer(context, [one]))
    assert "lower envelope alone" in said and "through 3 sizes" in said and "no interval" in said
    assert "2.1" not in said
    sure = replace(one, routes=(replace(envelope, name="joint fit", low=0.3, high=0.4),))
    assert "2.1 times as large (2.0 to 2.5)" in str(frontier._answer(context, [sure]))


def test_what_the_fit_warns_of_is_said_in_words_of_the_page() -> None:
    """Asked of the fit itself: should it say something else one day, this fails."""
    x = np.geomspace(1e3, 1e6, 6)
    points = Points({"N": np.repeat(x[:2], 3), "D": x}, x**-0.2)
    bounds = f"{floor_sentence(LAWS['chinchilla'], 'E')}; alpha runs to its bound 5: no power of this variable is seen"
    made: Any = SimpleNamespace(law=LAWS["chinchilla"], identified=False, status="boundary", reasons=(bounds,))
    routes = joint_route(made), budget_route(points), envelope_route(points, x)
    said = [frontier._plain(warning) for route in routes for warning in route.warnings]
    assert len(said) == 3
    for text in said:
        assert not re.search(r"hull|boundary|exponent|alpha|budgets|\bN\b|\bD\b|\bE\b", text), text


# ---- what is empty, what is drawn ----------------------------------------------------------------------------------


def test_a_section_that_knows_nothing_shows_its_answer_alone(made_up: Made, recipe: Any) -> None:
    """Its files are there all the same, as for every run of the sweep."""
    asked = "sweeps: [demo]\nsections: [summary, scaling, catch_up, hyperparameters]\n"
    path = made_up(asked, recipe(finals=0, search=2))
    page = render.build(path, path.parents[1] / "runs")
    text = page.read_text(encoding="utf-8")
    shown = re.findall(r"<section .*?</section>", text, re.S)
    assert len(shown) == 4
    for section in shown:
        assert not re.search(r"<figure|<table|class=\"lacking\"|>SVG<|>CSV<", section)
    assert (page.parent / "figures" / "loss-against-scale.svg").is_file()
    assert (page.parent / "tables" / "power-laws.csv").is_file()


def test_too_few_trials_of_one_optimizer_are_said_to_be_that(made_up: Made, recipe: Any) -> None:
    context = context_of(made_up, recipe(search=4, accidents=False))
    both = np.where(context.frames.trials["number"] % 2, "sgd", "adam")
    read = replace(context.frames, trials=context.frames.trials.assign(**{"config.optimizer": both}))
    said = hyperparameters.section(replace(context, frames=read))
    assert (
        "of the one that won most often no cell has 3. (A cell has up to 4 trials, over 2 optimizers.)" in said.answer
    )
    assert said.answered


def test_a_family_has_one_colour_on_every_page() -> None:
    pages = [["perceptron", "mlp", "lenet"], ["lenet", "mlp"], ["resnet", "lenet", "vgg", "mlp"], ["mlp"]]
    assert len({Dress(page).colour("mlp") for page in pages}) == 1
    everybody = list(FAMILIES)
    for start in range(len(everybody)):
        page = [*everybody, *everybody][start : start + theme.FAMILY_COLOURS]
        assert len({Dress(page).colour(family) for family in page}) == theme.FAMILY_COLOURS
    known = [name for name in FAMILIES if name in theme.USUAL_ORDER]
    assert list(theme.USUAL_ORDER) == known


def test_a_line_that_leaves_the_panel_has_an_arrow_where_it_does() -> None:
    _, axes = theme.panel()
    axes.set(xlim=(0, 4), ylim=(0, 1))
    theme.mark_leaving(axes, [0, 1, 2, 3], [0.5, 1.5, 0.5, -0.5], "#000000")
    drawn: list[Any] = list(axes.lines)
    arrows = [(line.get_marker(), *np.round(line.get_xydata()[0], 6).tolist()) for line in drawn]
    assert arrows == [("v", 2.5, 0.0), ("^", 0.5, 1.0), ("^", 1.5, 1.0)]
