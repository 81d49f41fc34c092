"""Where the solver begins: seeded draws of the exponents, with the coefficients solved for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import nnls

from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.law import Law


def starting_points(law: Law, x: Mapping[str, Array], loss: Array, control: tuple[int, int]) -> Array:
    """[starts, p] in the solver's coordinates; `control` is (number, seed)."""
    number, seed = control
    rng = np.random.default_rng(seed)
    if law.draw is not None:
        drawn = [law.draw(rng, x, loss) for _ in range(number)]
        return np.array([[start[name] for name in law.names] for start in drawn])
    return np.array([term_start(law, x, loss, rng) for _ in range(number)])


def term_start(law: Law, x: Mapping[str, Array], loss: Array, rng: np.random.Generator) -> list[float]:
    """Given the exponents a sum of powers is linear in its coefficients: non-negative least squares gives them."""
    start = {name: rng.uniform(0.05, 1.0) for name in law.exponents}
    design = []
    for term in law.terms:
        power = sum((term.sign * start[p] * x[v] for v, p in term.powers.items()), np.zeros(len(loss)))
        design.append(np.exp(power))
    matrix = np.stack(design, axis=1)
    try:
        amounts = nnls(matrix / loss[:, None], np.ones(len(loss)))[0]
    except RuntimeError:
        amounts = np.full(len(law.terms), loss.mean() / len(law.terms))
    smallest = 1e-3 * loss.min()
    for term, amount in zip(law.terms, amounts, strict=True):
        start[term.coefficient] = float(np.log(max(amount, smallest)) + rng.normal(0.0, 0.1))
    return [start[name] for name in law.names]


def bounds(law: Law, x: Mapping[str, Array], loss: Array) -> tuple[Array, Array]:
    """Lower and upper bounds [p]: a floor below the smallest loss, a break within the range of its variable."""
    low = np.array([parameter.low for parameter in law.parameters])
    high = np.array([parameter.high for parameter in law.parameters])
    for j, parameter in enumerate(law.parameters):
        if parameter.role == "floor":
            low[j], high[j] = np.log(loss.min()) - 14.0, np.log(loss.max())
        elif parameter.role == "break":
            values = x[law.shifts[parameter.name][0][1]]
            low[j], high[j] = values.min(), values.max()
    return low, high
