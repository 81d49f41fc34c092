"""A law set on the rows of a table: centred variables, the solver's problem, and the way back to natural parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array, parameter_forms
from orchestrator.report.scaling.law import Columns, Law
from orchestrator.report.scaling.objective import Objective
from orchestrator.report.scaling.points import SYMBOLS, Points
from orchestrator.report.scaling.solve import Problem
from orchestrator.report.scaling.starts import bounds


@dataclass(frozen=True)
class Model:
    """`centre` is the mean of each variable over the rows; everything the solver sees is relative to it."""

    law: Law
    points: Points
    centre: Mapping[str, float]
    problem: Problem

    @classmethod
    def over(cls, law: Law, points: Points, objective: Objective) -> Model:
        missing = [name for name in law.columns if name not in points.columns]
        if missing:
            wanted = ", ".join(f"{name} ({SYMBOLS.get(name, name)})" for name in missing)
            raise UserError(f"law {law.name}: needs the column {wanted}; there are {', '.join(points.columns)}")
        if len(points) < len(law.parameters) + 1:
            raise UserError(
                f"law {law.name}: {counted(len(points), 'row')} for {counted(len(law.parameters), 'parameter')};"
                f" valid is at least {len(law.parameters) + 1}"
            )
        raw = law.raw_variables(points.columns)
        centre = {name: 0.0 if name in law.linear else float(values.mean()) for name, values in raw.items()}
        x = {name: values - centre[name] for name, values in raw.items()}
        low, high = bounds(law, x, points.loss)
        return cls(law, points, centre, Problem(evaluator(law, x, len(points)), points.loss, objective, low, high))

    def variables(self, columns: Columns) -> dict[str, Array]:
        """Centred variables of other rows."""
        return {name: values - self.centre[name] for name, values in self.law.raw_variables(columns).items()}

    def log_loss(self, theta: Array, columns: Columns) -> tuple[Array, Array]:
        """Log loss [batch, rows] and Jacobian at `theta` [batch, p] for other rows."""
        x = self.variables(columns)
        rows = len(next(iter(x.values())))
        return evaluator(self.law, x, rows)(np.atleast_2d(theta))

    def natural_map(self) -> tuple[Array, Array]:
        """Matrix [p, p] and offset [p] from the solver's parameters to uncentred ones (logs stay logs)."""
        names = self.law.names
        matrix, offset = np.eye(len(names)), np.zeros(len(names))
        for name, shift in self.law.shifts.items():
            for amount, variable in shift:
                mean = self.centre[variable]
                if isinstance(amount, str):
                    sign = -1.0 if amount.startswith("-") else 1.0
                    matrix[names.index(name), names.index(amount.lstrip("-"))] += sign * mean
                else:
                    offset[names.index(name)] += amount * mean
        return matrix, offset

    def natural(self, theta: Array) -> Array:
        """Parameters as shown to people, from `theta` [..., p]."""
        matrix, offset = self.natural_map()
        values = theta @ matrix.T + offset
        logarithmic = np.array([parameter.logarithmic for parameter in self.law.parameters])
        return np.where(logarithmic, np.exp(np.clip(values, -700, 700)), values)

    def internal(self, values: Mapping[str, float]) -> Array:
        """The solver's parameters [p] from those shown to people."""
        matrix, offset = self.natural_map()
        given = [np.log(values[p.name]) if p.logarithmic else values[p.name] for p in self.law.parameters]
        return np.linalg.solve(matrix, np.array(given) - offset)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def evaluator(law: Law, x: Mapping[str, Array], rows: int) -> Callable[[Array], tuple[Array, Array]]:
    """theta [batch, p] → log loss [batch, rows] and Jacobian [batch, rows, p]."""

    def evaluate(theta: Array) -> tuple[Array, Array]:
        return law.formula(parameter_forms(law.names, theta), x).dense(len(theta), rows, len(law.parameters))

    return evaluate
