"""What a law is: what it depends on, its parameters, its formula, its paper.

A formula gives the logarithm of the loss from parameters and variables. Variables are logarithms, centred on their mean
over the table, so that a coefficient and its exponent are nearly uncorrelated; `shifts` says how the uncentred
parameter comes back: log A = a + alpha · mean(log N) is written {"A": (("alpha", "N"),)}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from orchestrator.report.scaling.derivative import Array, Form, Formula, log_sum

Columns = Mapping[str, Array]


@dataclass(frozen=True)
class Parameter:
    """A parameter: its role in the law and its bounds in the solver's coordinates.

    Roles: coefficient, floor, location (a scale of a variable), break (a location that must lie inside the data) and
    sharpness are solved for as logarithms and shown as numbers; exponent, bend (a change of exponent at a break) and
    level are shown as they are.
    """

    name: str
    role: str
    low: float = -np.inf
    high: float = np.inf

    @property
    def logarithmic(self) -> bool:
        return self.role not in ("exponent", "bend", "level")


def coefficient(name: str) -> Parameter:
    return Parameter(name, "coefficient", -300.0, 300.0)


def floor(name: str = "E") -> Parameter:
    return Parameter(name, "floor")  # its lower bound follows from the smallest loss of the table


def exponent(name: str, low: float = 1e-3, high: float = 5.0) -> Parameter:
    return Parameter(name, "exponent", low, high)


@dataclass(frozen=True)
class Term:
    """coefficient · Π variable^(sign · exponent); a floor is a term without powers."""

    coefficient: str
    powers: Mapping[str, str] = field(default_factory=dict)
    sign: float = -1.0


Draw = Callable[[np.random.Generator, Mapping[str, Array], Array], dict[str, float]]
Shift = tuple[tuple[str | float, str], ...]


@dataclass(frozen=True)
class Law:
    """A law over table columns `columns`; `variables`: what the formula reads, as centred logs, raw if in `linear`."""

    name: str
    formula_text: str
    columns: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    source: str
    formula: Formula
    terms: tuple[Term, ...] = ()
    shifts: Mapping[str, Shift] = field(default_factory=dict)
    variables: Mapping[str, Callable[[Columns], Array]] = field(default_factory=dict)
    linear: frozenset[str] = frozenset()
    target: str = "loss"
    draw: Draw | None = None
    interchangeable: tuple[tuple[str, ...], ...] = ()  # groups that may swap places: ordered by the first of each
    within_run: bool = False  # a curve within one run: its rows need not come from many runs

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def exponents(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters if parameter.role == "exponent")

    @property
    def floor(self) -> str | None:
        return next((parameter.name for parameter in self.parameters if parameter.role == "floor"), None)

    def raw_variables(self, columns: Columns) -> dict[str, Array]:
        """Uncentred variables [rows]: natural logarithms, or as they are where `linear`."""
        made = {}
        for name, compute in self.variables.items():
            values = np.asarray(compute(columns), dtype=float)
            made[name] = values if name in self.linear else np.log(values)
        return made


def column(name: str) -> Callable[[Columns], Array]:
    return lambda columns: columns[name]


def sum_of_powers(
    name: str,
    text: str,
    terms: tuple[Term, ...],
    parameters: tuple[Parameter, ...],
    source: str,
    variables: Mapping[str, Callable[[Columns], Array]] | None = None,
    columns: tuple[str, ...] = (),
    target: str = "loss",
) -> Law:
    """A law that is a sum of products of powers: formula, centring and starts all follow from the terms."""

    def formula(p: Mapping[str, Form], x: Mapping[str, Array]) -> Form:
        logs = []
        for term in terms:
            total = p[term.coefficient]
            for variable, power in term.powers.items():
                total = total + p[power] * (term.sign * x[variable])
            logs.append(total)
        return log_sum(*logs) if len(logs) > 1 else logs[0]

    used = tuple(dict.fromkeys(variable for term in terms for variable in term.powers))
    made = variables or {variable: column(variable) for variable in used}
    # the formula subtracts exponent · mean (sign −1), so the uncentred coefficient adds it back
    shifts = {
        term.coefficient: tuple(
            (power if term.sign < 0 else f"-{power}", variable) for variable, power in term.powers.items()
        )
        for term in terms
        if term.powers
    }
    return Law(name, text, columns or used, parameters, source, formula, terms, shifts, made, target=target)
