"""Intervals that turn out true: measured on held-back larger runs of the public tables."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.report.scaling import FitOptions, Points, fit, law_named
from orchestrator.report.scaling.backtest import (
    MEASURED_COVERAGE,
    MEASURED_WIDTH,
    compare_laws,
    cuts_inside,
    held_back,
    own_coverage,
    predict,
)
from orchestrator.report.scaling.intervals import profile

EXPERIMENTS = ("kaplan_accounting", "last_layer_flops", "short_warmup", "cosine_decay", "tuned")


def joint(points: Points) -> Points:
    """Only N and D, so that cost is 6ND throughout."""
    return Points({name: points.columns[name] for name in ("N", "D")}, points.loss, points.run)


def tables(public):
    yield public.chinchilla()
    for experiment in EXPERIMENTS:
        yield joint(public.isoflop(experiment))
    for which in ("hot", "cool_begin", "cool_end"):
        yield joint(public.gemstones(which))
    for dataset in ("c4_original", "rw_original"):
        yield public.overtraining(dataset)[1]


def test_intervals_cover_held_back_larger_runs_as_stated(public):
    covered, width, parameters_only = [], [], []
    for points in tables(public):
        for share in (0.15, 0.3, 0.45):
            held = held_back(points, (share,))[0]
            larger = points.rows(held)
            fitted = fit("chinchilla", points.rows(~held))
            prediction = predict(fitted, larger.columns, beyond=4.0)
            covered.append(np.mean((prediction.low <= larger.loss) & (larger.loss <= prediction.high)))
            width.append(np.median((prediction.high - prediction.low) / prediction.value))
            slope = fitted.model.log_loss(fitted.theta, larger.columns)[1][0]
            narrow = 1.645 * np.sqrt(np.einsum("np,pq,nq->n", slope, fitted.covariance, slope))
            parameters_only.append(np.mean(np.abs(np.log(larger.loss / prediction.value)) <= narrow))
    assert len(covered) == 33
    assert 0.85 <= np.mean(covered) <= 0.97
    assert np.mean(covered) == pytest.approx(MEASURED_COVERAGE, abs=0.01)
    assert np.median(width) == pytest.approx(MEASURED_WIDTH, abs=0.02)
    assert np.mean(parameters_only) < 0.5  # why a parameter bootstrap is not the default


def test_law_without_error_has_an_interval_of_no_width():
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    fitted = fit("chinchilla", Points({"N": size, "D": data}, 1.7 + 400 * size**-0.34 + 900 * data**-0.33))
    prediction = predict(fitted, {"N": 3e9, "D": 3e11})
    assert prediction.value[0] == pytest.approx(1.7 + 400 * 3e9**-0.34 + 900 * 3e11**-0.33, rel=1e-9)
    assert prediction.high[0] - prediction.low[0] < 1e-6


def test_extrapolation_is_refused_unless_asked_for(public):
    fitted = fit("chinchilla", public.chinchilla())
    with pytest.raises(UserError, match="decades of cost beyond the largest run"):
        predict(fitted, {"N": 1e12, "D": 1e14})
    assert predict(fitted, {"N": 1e12, "D": 1e14}, beyond=5.0).low[0] > 1.0


def test_interval_widens_with_the_distance(public):
    fitted = fit("chinchilla", public.chinchilla())
    near, far = (predict(fitted, {"N": n, "D": 20 * n}) for n in (1e10, 1e11))
    assert far.decades[0] > 1 > 0.01 > near.decades[0]
    assert np.log(far.high[0] / far.low[0]) > 1.2 * np.log(near.high[0] / near.low[0])


def test_each_interval_says_what_coverage_was_measured(public):
    fitted = fit("chinchilla", public.chinchilla())
    basis = predict(fitted, {"N": 1e10, "D": 2e11}).basis
    assert "covered on this table's own cuts" in basis
    assert f"{MEASURED_COVERAGE:.0%}" in basis


def test_too_few_rows_to_hold_any_back_are_said_to_be_unmeasured():
    size = np.array([1e6, 1e7, 1e8, 1e9])
    fitted = fit("power_floor", Points({"N": size}, 1.7 + 40 * size**-0.3))
    assert "coverage not measured" in predict(fitted, {"N": 2e9}).basis
    assert own_coverage(cuts_inside(fitted), 0.9) is None


def test_runs_are_held_back_whole(public):
    points = public.gemstones("hot")
    for mask in held_back(points):
        assert not set(points.runs[mask]) & set(points.runs[~mask])
        assert points.cost[mask].max() >= points.cost[~mask].max()


def test_profile_likelihood_agrees_with_the_bootstrap(public):
    fitted = fit("chinchilla", public.chinchilla(), FitOptions(bootstrap=100))
    for name in ("alpha", "beta", "E"):
        low, high = profile(fitted.model, fitted.theta, name)
        estimate = fitted.parameters[name]
        assert low < estimate.value < high
        assert 0.4 < (high - low) / (estimate.high - estimate.low) < 1.6


def test_bootstrap_interval_holds_the_truth_about_as_often_as_stated():
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(1e8, 1e11, 5)))
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(20):
        loss = (1.7 + 400 * size**-0.34 + 900 * data**-0.33) * np.exp(0.003 * rng.normal(size=25))
        alpha = fit(
            "chinchilla", Points({"N": size, "D": data}, loss), FitOptions(bootstrap=40, starts=4, seed=seed)
        ).parameters["alpha"]
        held += alpha.low <= 0.34 <= alpha.high
    assert held >= 14  # of 20 at nominal 90 %: 13 or fewer has probability 0.002


def test_laws_are_ranked_by_their_error_on_held_back_larger_runs():
    rng = np.random.default_rng(0)
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 7)))
    loss = (1.7 + 400 * size**-0.34 + 900 * data**-0.28) * np.exp(0.001 * rng.normal(size=49))
    points = Points({"N": size, "D": data}, loss)
    ranked = compare_laws(
        [law_named(name, points.columns) for name in ("power", "kaplan", "chinchilla")], points, FitOptions()
    )
    assert [entry.law for entry in ranked] == ["chinchilla", "kaplan", "power"]
    assert ranked[0].error < 0.01 < ranked[-1].error


def test_a_law_that_cannot_be_fitted_comes_last_with_its_reason():
    size = np.geomspace(1e6, 1e9, 6)
    points = Points({"N": size}, 1.7 + 400 * size**-0.34)
    ranked = compare_laws(
        [law_named(name, points.columns) for name in ("broken_2", "power_floor")], points, FitOptions()
    )
    assert ranked[0].law == "power_floor"
    assert "6 rows for 9 parameters" in ranked[1].reason


def proportional(ratio: float = 20.0) -> Points:
    sizes = np.geomspace(1e6, 1e9, 12)
    return Points({"N": sizes, "D": ratio * sizes}, 1.69 + 406.4 * sizes**-0.34 + 410.7 * (ratio * sizes) ** -0.28)


def test_aside_of_runs_that_all_lie_on_a_line_nothing_is_predicted():
    """Both columns stay inside their own ranges, and yet no run was near: what each does alone nobody knows."""
    fitted = fit("chinchilla", proportional())
    with pytest.raises(UserError, match="aside of the runs, whose N and D went up together"):
        predict(fitted, {"N": 1e7, "D": 2e10})
    on_it = predict(fitted, {"N": 1e8, "D": 2e9})
    assert on_it.decades[0] == pytest.approx(0, abs=1e-9)
    assert on_it.low[0] < 1.69 + 406.4 * 1e8**-0.34 + 410.7 * 2e9**-0.28 < on_it.high[0]


@pytest.mark.parametrize(
    ("target", "where"),
    [({"N": 1e3, "D": 3e14}, "of D above the largest"), ({"N": 1e2, "D": 1e10}, "of N below the smallest")],
)
def test_each_column_by_itself_may_be_too_far(target: dict[str, float], where: str):
    """The first costs no more than the largest run."""
    rng = np.random.default_rng(0)
    sizes, data = (10.0 ** rng.uniform(low, low + 3, 40) for low in (6, 8))
    points = Points({"N": sizes, "D": data}, 1.69 + 406.4 * sizes**-0.34 + 410.7 * data**-0.28)
    with pytest.raises(UserError, match=where):
        predict(fit("chinchilla", points), target)
