"""Published answers on public tables, and noise-free surfaces, to the tolerances of the tables' README."""

import time

import numpy as np
import pytest

from orchestrator.report.scaling import FitOptions, Objective, Points, fit
from orchestrator.report.scaling.frontier import Cost, allocation, budget_route, envelope_route

SURFACES = ((1.69, 406.4, 410.7, 0.34, 0.28), (1.69, 406.4, 410.7, 0.465, 0.155), (1.69, 400.0, 400.0, 0.31, 0.31))


def values(fitted):
    return {name: estimate.value for name, estimate in fitted.parameters.items()}


def surface(truth) -> Points:
    """Five budgets, fifteen sizes within a factor 16 of the optimum."""
    floor, a, b, alpha, beta = truth
    budgets = np.repeat(np.geomspace(1e17, 1e21, 5), 15)
    optimum = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (budgets / 6) ** (beta / (alpha + beta))
    size = optimum * np.tile(np.geomspace(1 / 16, 16, 15), 5)
    data = budgets / (6 * size)
    return Points({"N": size, "D": data}, floor + a * size**-alpha + b * data**-beta)


def test_chinchilla_huber_reaches_the_published_minimum(public):
    points = public.chinchilla()
    assert len(points) == 240
    fitted = fit("chinchilla", points)
    assert fitted.status == "converged"
    assert fitted.objective <= 1.01827404e-3
    found = values(fitted)
    assert found["A"] == pytest.approx(477.83, abs=0.1)
    assert found["B"] == pytest.approx(2143.4, abs=1)
    assert found["E"] == pytest.approx(1.8172, abs=1e-4)
    assert found["alpha"] == pytest.approx(0.3473, abs=1e-4)
    assert found["beta"] == pytest.approx(0.3672, abs=1e-4)
    size, data = allocation(found, "chinchilla", Cost(), np.array([5.76e23]))
    assert data[0] / size[0] == pytest.approx(17.9, abs=0.05)


def test_chinchilla_least_absolute_deviation_is_another_answer(public):
    fitted = fit("chinchilla", public.chinchilla(), FitOptions(Objective("lad")))
    found = values(fitted)
    assert found["A"] == pytest.approx(482.0, abs=0.1)
    assert found["B"] == pytest.approx(2085.4, abs=1)
    assert found["E"] == pytest.approx(1.81686, abs=1e-5)
    assert fitted.objective / 240 == pytest.approx(0.0047061784, rel=2e-5)


def test_single_fit_of_240_rows_takes_under_a_second_of_one_core(public):
    points = public.chinchilla()
    begun = time.process_time()
    fit("chinchilla", points)
    assert time.process_time() - begun < 1.0


def test_bootstrap_of_1000_repeats_agrees_with_the_published_errors_and_is_quick(public):
    begun = time.process_time()
    fitted = fit("chinchilla", public.chinchilla(), FitOptions(bootstrap=1000))
    assert time.process_time() - begun < 30.0
    published = public.expected["chinchilla_points.csv"]["bootstrap_standard_errors_published_4000"]
    found = {name: fitted.parameters[name].standard_error for name in published}
    assert found == pytest.approx(published, rel=0.10)


@pytest.mark.parametrize("which", ["hot", "cool_begin", "cool_end"])
@pytest.mark.parametrize("embeddings", [True, False])
def test_gemstones_objective_is_not_above_the_published(public, which, embeddings):
    fitted = fit("chinchilla", public.gemstones(which, embeddings))
    name = which if embeddings else f"{which}_no_embeds"
    assert fitted.objective <= public.expected["gemstones"]["huber_1e-3_sum"][name]["objective"]
    assert fitted.status == "converged"


@pytest.mark.parametrize("dataset", ["c4_original", "rw_original"])
def test_over_trained_7b_run_is_predicted_from_five_small_ones(public, dataset):
    frame, points = public.overtraining(dataset)
    small = ["d=96_l=8_h=4", "d=512_l=8_h=4", "d=576_l=24_h=8", "d=1024_l=24_h=8"]
    chosen = (frame["model"].isin(small) & (frame["cc_mult"] == 1)) | (
        (frame["model"] == small[0]) & (frame["cc_mult"] == 16)
    )
    fitted = fit("overtraining", points.rows(chosen.to_numpy()), FitOptions(Objective("squared", on="linear")))
    wanted = public.expected["overtraining.csv"][dataset]
    assert len(fitted.points) == 5
    assert values(fitted)["E"] == pytest.approx(wanted["E"], abs=1e-3)
    assert values(fitted)["eta"] == pytest.approx(wanted["eta"], abs=1e-3)
    large = (frame["model"] == "open_lm_7b").to_numpy()
    assert fitted.value(points.rows(large).columns)[0] == pytest.approx(wanted["predicted_7b_loss"], abs=1e-3)


@pytest.mark.parametrize(
    "experiment", ["kaplan_accounting", "last_layer_flops", "short_warmup", "cosine_decay", "tuned"]
)
def test_best_size_per_budget_follows_the_published_exponent(public, experiment):
    route = budget_route(public.isoflop(experiment))
    wanted = public.expected["isoflop_profiles.csv"]["experiments"][experiment]
    assert route.exponent == pytest.approx(wanted["exponent"], abs=0.005)
    assert route.low == pytest.approx(wanted["low95"], abs=0.01)
    assert route.high == pytest.approx(wanted["high95"], abs=0.01)


@pytest.mark.parametrize("which", ["hot", "cooldown"])
def test_lower_hull_has_the_published_slopes(public, which):
    route = envelope_route(public.gemstones(f"envelope_{which}"))
    wanted = public.expected["gemstones"]["envelope"][which]
    assert route.exponent == pytest.approx(wanted["params"], abs=1e-6)
    assert route.data_exponent == pytest.approx(wanted["tokens"], abs=1e-6)


@pytest.mark.parametrize("truth", SURFACES)
@pytest.mark.parametrize(
    "objective", [Objective(), Objective("lad"), Objective("squared"), Objective("squared", on="linear")], ids=str
)
def test_noise_free_surface_comes_back(truth, objective):
    fitted = fit("chinchilla", surface(truth), FitOptions(objective))
    assert fitted.status == "converged", fitted.reasons
    wanted = dict(zip(("E", "A", "B", "alpha", "beta"), truth, strict=True))
    assert values(fitted) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.slow
def test_4000_bootstrap_repeats_agree_with_the_published_errors(public):
    fitted = fit("chinchilla", public.chinchilla(), FitOptions(bootstrap=4000))
    published = public.expected["chinchilla_points.csv"]["bootstrap_standard_errors_published_4000"]
    assert {name: fitted.parameters[name].standard_error for name in published} == pytest.approx(published, rel=0.10)
