"""Every law of the table: exact derivatives, and noise-free points give the parameters back."""

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.report.scaling import LAWS, FitOptions, Objective, Points, fit, law_named
from orchestrator.report.scaling.model import Model

TRUTH = {
    "power": {"A": 30.0, "alpha": 0.2},
    "power_floor": {"E": 1.7, "A": 400.0, "alpha": 0.34},
    "saturating": {"E": 0.5, "R": 2.0, "x0": 3e6, "alpha": 0.8},
    "broken_1": {"E": 0.4, "A": 20.0, "alpha": 0.1, "c1": 0.3, "d1": 1e7, "f1": 0.5},
    "broken_2": {"E": 0.3, "A": 20.0, "alpha": 0.1, "c1": 0.5, "d1": 1e6, "f1": 0.4, "c2": -0.4, "d2": 1e8, "f2": 0.5},
    "curve_power": {"E": 0.5, "A": 40.0, "alpha": 0.6, "T0": 50.0},
    "curve_exponential": {"E": 0.5, "A": 3.0, "tau": 700.0},
    "curve_stretched": {"E": 0.5, "A": 3.0, "tau": 700.0, "gamma": 0.6},
    "chinchilla": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "chinchilla_shared": {"E": 1.69, "A": 400.0, "B": 900.0, "alpha": 0.31},
    "kaplan": {"N_c": 8.8e13, "D_c": 5.4e13, "alpha": 0.076, "beta": 0.095},
    "data_constrained": {"E": 1.7, "A": 400.0, "B": 900.0, "alpha": 0.34, "beta": 0.33, "R_D": 15.0},
    "overtraining": {"E": 1.5, "a": 100.0, "b": 300.0, "eta": 0.24},
    "width_depth": {"E": 1.5, "A": 20.0, "G": 2.0, "B": 900.0, "alpha": 0.5, "gamma": 0.8, "beta": 0.35},
    "learning_rate": {"c": 1.79, "a": -0.713, "b": 0.307},
    "batch_size": {"c": 0.58, "a": 0.01, "b": 0.571},
    "weight_decay": {"c": 3.0, "a": -0.2, "b": 0.4},
    "metric_sigmoid": {"low": 0.25, "rise": 0.6, "k": 4.0, "S0": 2.6},
}


def points_of(name: str) -> Points:
    """Noise-free points of a law, on a grid that shows all its parts."""
    rng = np.random.default_rng(1)
    rows = 120
    columns = {
        "N": np.geomspace(1e4, 1e10, rows)
        if len(LAWS[name].columns) == 1
        else np.exp(rng.uniform(*np.log([1e5, 1e9]), rows)),
        "D": np.exp(rng.uniform(*np.log([1e7, 1e11]), rows)),
        "T": np.geomspace(10, 1e4, rows),
        "W": rng.choice([128.0, 256, 512, 1024], rows),
        "H": rng.choice([2.0, 4, 8, 16, 32], rows),
        "S": np.linspace(1.5, 4.0, rows),
    }
    columns["U"] = columns["D"] / np.exp(rng.uniform(0, np.log(100), rows))
    columns = {symbol: columns[symbol] for symbol in LAWS[name].columns}
    model = Model.over(LAWS[name], Points(columns, np.ones(rows)), Objective())
    return Points(columns, np.exp(model.log_loss(model.internal(TRUTH[name]), columns)[0][0]))


def test_every_law_has_a_truth_here():
    assert set(TRUTH) == set(LAWS)


@pytest.mark.parametrize("name", LAWS)
def test_derivatives_are_those_of_the_formula(name):
    points = points_of(name)
    model = Model.over(LAWS[name], points, Objective())
    theta = model.internal(TRUTH[name])
    jacobian = model.log_loss(theta, points.columns)[1][0]
    for j in range(len(theta)):
        step = 1e-5 * np.eye(len(theta))[j]
        up, down = (model.log_loss(theta + sign * step, points.columns)[0][0] for sign in (1, -1))
        assert jacobian[:, j] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", LAWS)
def test_noise_free_points_give_the_parameters_back(name):
    fitted = fit(name, points_of(name), FitOptions(starts=16))
    assert fitted.status == "converged", fitted.reasons
    assert {n: e.value for n, e in fitted.parameters.items()} == pytest.approx(TRUTH[name], rel=1e-6)


def test_a_law_of_one_variable_takes_the_column_there_is():
    assert law_named("power", {"C": 0}).columns == ("C",)
    assert law_named("power", {"N": 0, "D": 0}).columns == ("N",)


def test_unknown_law_lists_the_known():
    with pytest.raises(UserError, match="not one of all, power, power_floor"):
        law_named("powr")
