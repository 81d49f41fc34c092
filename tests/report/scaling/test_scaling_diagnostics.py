"""The thirteen diagnostics, the fit card, the next run."""

import json

import numpy as np
import pytest

from orchestrator.report.scaling import FitOptions, Objective, Points, fit
from orchestrator.report.scaling.card import fingerprint, fit_card
from orchestrator.report.scaling.diagnostics import CHECKS, diagnose
from orchestrator.report.scaling.next_run import next_run

SIZE, DATA = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 8)))


def loss(size=SIZE, data=DATA, noise=0.002, seed=0):
    rng = np.random.default_rng(seed)
    return (1.7 + 400 * size**-0.34 + 900 * data**-0.33) * np.exp(noise * rng.normal(size=size.size))


def points(**more) -> Points:
    return Points({"N": SIZE, "D": DATA, **more}, loss())


def finding(made, name):
    return next(diagnostic for diagnostic in diagnose(made) if diagnostic.name == name)


def test_there_are_thirteen_and_a_fair_table_raises_no_warning():
    found = diagnose(fit("chinchilla", points()))
    assert [diagnostic.number for diagnostic in found] == list(range(1, 14))
    assert [d.text for d in found if d.level == "warning"] == []


def test_every_diagnostic_speaks_of_a_fit_that_is_not_identified_too():
    ridge = Points({"N": SIZE, "D": 20 * SIZE}, loss(SIZE, 20 * SIZE))
    found = {diagnostic.name: diagnostic for diagnostic in diagnose(fit("chinchilla", ridge))}
    assert list(found) == [name for name, _ in CHECKS]
    assert all(diagnostic.text for diagnostic in found.values())
    assert "several ratios D/N" in found["ridge"].text


def test_stopping_early_and_a_returned_start_are_seen():
    stopped = fit("chinchilla", points(), FitOptions(iterations=0))
    assert finding(stopped, "stopped early").level == "warning"
    assert finding(stopped, "returned its start").level == "warning"


def test_dropped_outliers_that_move_an_exponent_are_seen():
    spoiled = loss()
    spoiled[np.argsort(spoiled)[-5:]] *= 1.3
    made = fit("chinchilla", Points({"N": SIZE, "D": DATA}, spoiled), FitOptions(Objective("squared")))
    assert finding(made, "sensitivity to the loss").level == "warning"


def test_checkpoints_without_a_run_column_are_seen():
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 50)))
    made = fit("chinchilla", Points({"N": size, "D": data}, loss(size, data, noise=0.0)))
    assert "checkpoints" in finding(made, "rows of one run").text


def test_a_cost_that_is_not_6nd_is_seen():
    same = fit("chinchilla", points(C=6 * SIZE * DATA))
    other = fit("chinchilla", points(C=6 * SIZE**1.1 * DATA))
    assert finding(same, "what is counted").level == "ok"
    assert "N^+0.100" in finding(other, "what is counted").text
    assert finding(other, "what is counted").level == "warning"


def test_rounding_is_measured(public):
    found = finding(fit("chinchilla", public.chinchilla()), "rounded parameters")
    assert found.level == "note"
    assert "18.7; with parameters rounded to two digits 16.9" in found.text


def test_card_repeats_the_fit():
    options = FitOptions(bootstrap=20, seed=5)
    card = json.loads(json.dumps(fit_card(fit("chinchilla", points(), options)), allow_nan=False))
    assert card["status"] == "converged"
    assert card["points_sha256"] == fingerprint(points())
    again = fit(
        card["law"], points(), FitOptions(bootstrap=card["bootstrap"], seed=card["seed"], starts=card["starts"])
    )
    assert again.theta.tolist() == card["solver"]["theta"]
    assert again.parameters["alpha"].low == card["parameters"]["alpha"]["low"]


def test_card_predicts_without_refitting():
    made = fit("chinchilla", points())
    solver = fit_card(made)["solver"]
    theta = dict(zip(solver["names"], solver["theta"], strict=True))
    n, d = np.log(3e8) - solver["centre"]["N"], np.log(1e10) - solver["centre"]["D"]
    by_hand = np.exp(theta["E"]) + np.exp(theta["A"] - theta["alpha"] * n) + np.exp(theta["B"] - theta["beta"] * d)
    assert made.value({"N": [3e8], "D": [1e10]})[0] == pytest.approx(by_hand, rel=1e-12)


def test_card_of_a_fit_that_is_not_identified_holds_no_exponent():
    made = fit("chinchilla", Points({"N": SIZE, "D": 20 * SIZE}, loss(SIZE, 20 * SIZE)))
    card = fit_card(made)
    assert "solver" not in card
    assert all("parameters" not in minimum for minimum in card["minima"])
    assert card["parameters"]["alpha"]["value"] is None


def test_card_changes_with_a_single_loss():
    changed = loss()
    changed[3] *= 1 + 1e-12
    assert fingerprint(points()) != fingerprint(Points({"N": SIZE, "D": DATA}, changed))


def test_next_run_shrinks_the_spread_of_the_prediction_about_as_promised():
    few = np.isin(SIZE, SIZE[:7:2]) & np.isin(DATA, np.unique(DATA)[::2])
    size, data, target = SIZE[few], DATA[few], {"N": 1e10, "D": 1e12}
    made = fit("chinchilla", Points({"N": size, "D": data}, loss(size, data)), FitOptions(Objective("squared")))
    runs = next_run(made, 6e21, target)["runs"]
    left = [run["interval_left"] for run in runs]
    assert left == sorted(left)
    assert left[0] < 0.7
    assert all(run["cost"] <= 6e21 for run in runs)
    now = refitted_spread(size, data, target)
    best = refitted_spread(np.append(size, runs[0]["columns"]["N"]), np.append(data, runs[0]["columns"]["D"]), target)
    middle = refitted_spread(np.append(size, 3e7), np.append(data, 3e9), target)
    assert best < 0.8 * now
    assert best < 0.8 * middle


def refitted_spread(size, data, target, repeats=40):
    """Spread of the prediction at the target over repeats of the whole table."""
    options = FitOptions(Objective("squared"), starts=2)
    asked = {name: [value] for name, value in target.items()}
    return np.std([
        np.log(fit("chinchilla", Points({"N": size, "D": data}, loss(size, data, seed=seed)), options).value(asked)[0])
        for seed in range(repeats)
    ])  # fmt: skip


def test_next_run_within_a_budget_below_every_candidate_is_said():
    assert "no candidate costs at most" in next_run(fit("chinchilla", points()), 1.0, {"N": 1e10, "D": 1e12})["note"]
