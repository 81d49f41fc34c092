"""Known traps: each gives the right status and no exponent."""

import numpy as np
import pytest

from orchestrator.report.scaling import FitOptions, Points, fit

TRUTH = {"E": 1.7, "A": 400.0, "B": 900.0, "alpha": 0.34, "beta": 0.33}


def law(size, data):
    return TRUTH["E"] + TRUTH["A"] * size ** -TRUTH["alpha"] + TRUTH["B"] * data ** -TRUTH["beta"]


def grid(noise=0.002, seed=0) -> Points:
    rng = np.random.default_rng(seed)
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 7), np.geomspace(1e8, 1e11, 7)))
    return Points({"N": size, "D": data}, law(size, data) * np.exp(noise * rng.normal(size=size.size)))


def assert_no_exponent(fitted):
    assert all(estimate.value is None for name, estimate in fitted.parameters.items() if name in fitted.law.exponents)


def test_a_start_that_is_almost_a_solution_is_not_returned_as_one():
    points = grid()
    best = fit("chinchilla", points)
    near = {name: 1.01 * estimate.value for name, estimate in best.parameters.items()}
    stopped = fit("chinchilla", points, FitOptions(initial=near, iterations=1))
    assert stopped.status == "not_converged"
    assert_no_exponent(stopped)


def test_from_almost_a_solution_the_solver_goes_all_the_way():
    points = grid()
    best = fit("chinchilla", points)
    near = {name: (1 + 1e-4) * estimate.value for name, estimate in best.parameters.items()}
    again = fit("chinchilla", points, FitOptions(initial=near))
    assert again.status == "converged"
    assert again.objective == pytest.approx(best.objective, rel=1e-9)
    assert again.starts.moved.all()


def test_no_step_at_all_is_said_to_be_the_start():
    stopped = fit("chinchilla", grid(), FitOptions(initial=TRUTH, iterations=0))
    assert stopped.status == "not_converged"
    assert "which is its start" in stopped.reasons[0]


@pytest.mark.parametrize("noise", [0.0, 0.002])
@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_a_ridge_identifies_no_exponent(noise, jitter):
    rng = np.random.default_rng(1)
    size = np.repeat(np.geomspace(1e6, 1e9, 12), 3)
    data = 20 * size * np.exp(jitter * rng.normal(size=size.size))
    fitted = fit(
        "chinchilla", Points({"N": size, "D": data}, law(size, data) * np.exp(noise * rng.normal(size=size.size)))
    )
    assert fitted.status == "unidentified"
    assert "several ratios" in fitted.reasons[0]
    assert_no_exponent(fitted)


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_a_floor_that_runs_to_zero_is_a_boundary(noise):
    rng = np.random.default_rng(2)
    size = np.geomspace(1e5, 1e9, 30)
    fitted = fit("power_floor", Points({"N": size}, 20 * size**-0.1 * np.exp(noise * rng.normal(size=30))))
    assert fitted.status == "boundary"
    assert "floor E" in fitted.reasons[0]
    assert_no_exponent(fitted)


def test_an_exponent_that_runs_to_its_bound_is_a_boundary():
    rng = np.random.default_rng(2)
    size = np.geomspace(1e6, 1e9, 40)
    loss = 2.0 + np.where(size < 1.3e6, 1.0, 0.0)  # one step at the smallest size, flat after it: no power
    fitted = fit("power_floor", Points({"N": size}, loss * np.exp(1e-3 * rng.normal(size=40))))
    assert fitted.status == "boundary"
    assert_no_exponent(fitted)


def test_untuned_repeats_of_cells_are_not_fitted_as_one_law():
    points = grid()
    rng = np.random.default_rng(3)
    thrice = np.tile(np.arange(len(points)), 3)
    mixed = points.rows(thrice)
    worse = np.concatenate([np.zeros(len(points)), rng.exponential(0.1, 2 * len(points))])
    fitted = fit("chinchilla", Points(mixed.columns, mixed.loss * np.exp(worse)))
    assert fitted.status == "unidentified"
    assert "untuned" in fitted.reasons[0]
    assert_no_exponent(fitted)


def test_untuned_runs_without_repeats_are_seen_by_their_side():
    points = grid()
    rng = np.random.default_rng(4)
    worse = np.where(rng.uniform(size=len(points)) < 0.3, rng.exponential(0.1, len(points)), 0.0)
    fitted = fit("chinchilla", Points(points.columns, points.loss * np.exp(worse)))
    assert fitted.status == "unidentified"
    assert "untuned" in fitted.reasons[0]


def test_seeds_of_one_cell_are_no_untuned_runs():
    points = grid()
    rng = np.random.default_rng(5)
    thrice = points.rows(np.tile(np.arange(len(points)), 3))
    fitted = fit("chinchilla", Points(thrice.columns, thrice.loss * np.exp(0.003 * rng.normal(size=len(thrice)))))
    assert fitted.status == "converged", fitted.reasons


def test_checkpoints_of_one_run_are_not_many_runs():
    rng = np.random.default_rng(6)
    data = np.geomspace(1e8, 1e11, 100)
    curve = (1.7 + 900 * data**-0.33) * np.exp(0.002 * rng.normal(size=100))
    one = fit("power_floor", Points({"D": data}, curve, run=np.repeat("run-1", 100)))
    assert one.status == "unidentified"
    assert "100 rows come from 1 run" in one.reasons[0]
    assert_no_exponent(one)


def test_checkpoints_of_few_sizes_are_not_many_runs():
    size, data = (part.ravel() for part in np.meshgrid(np.geomspace(1e6, 1e9, 4), np.geomspace(1e8, 1e11, 50)))
    fitted = fit("chinchilla", Points({"N": size, "D": data}, law(size, data), run=size.astype(str)))
    assert fitted.status == "unidentified"
    assert "200 rows come from 4 runs" in fitted.reasons[0]
    assert_no_exponent(fitted)


def test_resampling_is_by_run(public):
    points = public.gemstones("hot")
    by_run = fit("chinchilla", points, FitOptions(bootstrap=100)).parameters["alpha"].standard_error
    by_row = (
        fit("chinchilla", Points(points.columns, points.loss), FitOptions(bootstrap=100))
        .parameters["alpha"]
        .standard_error
    )
    assert by_run == pytest.approx(0.057, abs=0.012)
    assert by_row == pytest.approx(0.017, abs=0.004)


def test_two_minima_that_fit_alike_are_both_shown():
    # a plateau at both ends, a fall at one of two places: the saturating law can put its fall at either
    size = np.geomspace(1e4, 1e10, 41)
    bump = np.where(np.arange(41) % 2 == 0, 2.0 / (1 + (size / 1e6) ** 3) + 1, 2.0 / (1 + (size / 1e8) ** 3) + 1)
    fitted = fit("saturating", Points({"N": size}, bump), FitOptions(starts=32))
    assert fitted.status == "multimodal"
    assert len(fitted.minima) >= 2
    assert_no_exponent(fitted)


def test_a_break_at_the_edge_of_the_data_is_a_boundary():
    size = np.geomspace(1e5, 1e9, 40)
    bend = 1.0 + 50 * size**-0.3 * (1 + (size / 1e12) ** 2) ** -0.4  # its break lies far outside
    assert (
        fit("broken_1", Points({"N": size}, bend * np.exp(1e-3 * np.sin(np.arange(40.0) ** 2)))).status != "converged"
    )
