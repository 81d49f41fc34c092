"""One law on points: the right answer where there is one, a status without an exponent where there is none."""

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.report.scaling import FitOptions, Points, fit

SIZES = np.geomspace(1e5, 1e9, 24)


def power_floor(noise: float = 0.0, floor: float = 1.7) -> Points:
    rng = np.random.default_rng(0)
    return Points({"N": SIZES}, (floor + 400 * SIZES**-0.34) * np.exp(noise * rng.normal(size=24)))


def test_noise_free_power_law_with_floor_comes_back():
    fitted = fit("power_floor", power_floor())
    assert fitted.status == "converged"
    values = {name: estimate.value for name, estimate in fitted.parameters.items()}
    assert values == pytest.approx({"E": 1.7, "A": 400, "alpha": 0.34}, rel=1e-9)


def test_noisy_power_law_interval_holds_the_truth():
    alpha = fit("power_floor", power_floor(0.003), FitOptions(bootstrap=200)).parameters["alpha"]
    assert alpha.low < 0.34 < alpha.high
    assert alpha.high - alpha.low < 0.02


def test_floor_that_runs_to_zero_is_a_boundary_without_exponent():
    fitted = fit("power_floor", power_floor(floor=0.0))
    assert fitted.status == "boundary"
    assert fitted.parameters["E"].value == 0.0
    assert fitted.parameters["alpha"].value is None


def test_same_seed_same_fit():
    first, second = (fit("power_floor", power_floor(0.01), FitOptions(bootstrap=20, seed=7)) for _ in range(2))
    assert first.parameters == second.parameters


def test_missing_column_is_named():
    with pytest.raises(UserError, match="needs the column N"):
        fit("chinchilla", Points({"D": SIZES}, SIZES**-0.1))


def test_too_few_rows_are_refused():
    with pytest.raises(UserError, match="3 rows for 3 parameters"):
        fit("power_floor", power_floor().rows([0, 1, 2]))
