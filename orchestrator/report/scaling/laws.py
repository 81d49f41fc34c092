"""The laws, each a small declaration. Symbols of columns are those of `points.SYMBOLS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling.derivative import Array, Form, exp, log, log_sigmoid, log_sum, softplus
from orchestrator.report.scaling.law import (
    Columns,
    Law,
    Parameter,
    Term,
    coefficient,
    column,
    exponent,
    floor,
    sum_of_powers,
)

Forms = Mapping[str, Form]
Variables = Mapping[str, Array]
ANY_SIGN = (-5.0, 5.0)


def power(v: str) -> Law:
    term = Term("A", {v: "alpha"})
    parameters = (coefficient("A"), exponent("alpha", *ANY_SIGN))
    return sum_of_powers("power", f"A·{v}^-alpha", (term,), parameters, "Hestness et al. 2017, arXiv 1712.00409")


def power_floor(v: str) -> Law:
    terms = (Term("E"), Term("A", {v: "alpha"}))
    parameters = (floor(), coefficient("A"), exponent("alpha"))
    return sum_of_powers(
        "power_floor", f"E + A·{v}^-alpha", terms, parameters, "Henighan et al. 2020, arXiv 2010.14701"
    )


def saturating(v: str) -> Law:
    """Flat at the small end (guessing), a power between, flat at the large end (floor)."""

    def formula(p: Forms, x: Variables) -> Form:
        return log_sum(p["E"], p["R"] - softplus(p["alpha"] * (x[v] - p["x0"])))

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        low = loss.min() * rng.uniform(0.3, 0.99)
        return {
            "E": np.log(low),
            "R": np.log(loss.max() * rng.uniform(1.0, 1.5) - low),
            "alpha": rng.uniform(0.2, 2.0),
            "x0": rng.uniform(x[v].min(), x[v].max()),
        }

    parameters = (floor(), coefficient("R"), exponent("alpha"), Parameter("x0", "location", -60.0, 60.0))
    return Law(
        "saturating",
        f"E + R/(1 + ({v}/x0)^alpha)",
        (v,),
        parameters,
        "Rosenfeld et al. 2020, arXiv 1909.12673",
        formula,
        shifts={"x0": ((1.0, v),)},
        variables={v: column(v)},
        draw=draw,
    )


def broken(v: str, breaks: int) -> Law:
    """Smoothly broken power law: the exponent changes by c_i around the break d_i over a width 1/f_i."""
    numbers = range(1, breaks + 1)

    def formula(p: Forms, x: Variables) -> Form:
        total = p["A"] - p["alpha"] * x[v]
        for i in numbers:
            sharp = exp(p[f"f{i}"])
            total = total - p[f"c{i}"] * sharp * softplus((p[f"d{i}"] * -1.0 + x[v]) / sharp)
        return log_sum(p["E"], total)

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        start = {"E": np.log(loss.min() * rng.uniform(0.2, 0.98)), "alpha": rng.uniform(0.01, 0.6)}
        start["A"] = np.log(np.median(loss)) + rng.normal(0.0, 0.3)
        low, high = np.quantile(x[v], [0.1, 0.9])
        places = np.sort(rng.uniform(low, high, size=breaks))
        for i, place in zip(numbers, places, strict=True):
            start |= {f"c{i}": rng.normal(0.0, 0.3), f"d{i}": place, f"f{i}": np.log(rng.uniform(0.2, 1.0))}
        return start

    parameters = [floor(), coefficient("A"), exponent("alpha", *ANY_SIGN)]
    shifts: dict[str, tuple[tuple[str | float, str], ...]] = {"A": (("alpha", v),)}
    for i in numbers:
        parameters += [
            Parameter(f"c{i}", "bend", *ANY_SIGN),
            Parameter(f"d{i}", "break"),
            Parameter(f"f{i}", "sharpness", -3.5, 2.0),
        ]
        shifts[f"d{i}"] = ((1.0, v),)
    text = f"E + A·{v}^-alpha" + "".join(f"·(1 + ({v}/d{i})^(1/f{i}))^(-c{i}·f{i})" for i in numbers)
    return Law(
        f"broken_{breaks}",
        text,
        (v,),
        tuple(parameters),
        "Caballero et al. 2023, arXiv 2210.14891",
        formula,
        shifts=shifts,
        variables={v: column(v)},
        draw=draw,
        interchangeable=tuple((f"d{i}", f"c{i}", f"f{i}") for i in numbers) if breaks > 1 else (),
    )


def curve_exponential(v: str, stretched: bool) -> Law:
    """A learning curve that decays exponentially, or as a stretched exponential, in the steps."""

    def formula(p: Forms, x: Variables) -> Form:
        age = p["tau"] * -1.0 + x[v]
        return log_sum(p["E"], p["A"] - exp(p["gamma"] * age if stretched else age))

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        low = loss.min() * rng.uniform(0.5, 0.99)
        start = {
            "E": np.log(low),
            "A": np.log(loss.max() * rng.uniform(1.0, 2.0) - low),
            "tau": rng.uniform(x[v].min(), x[v].max()),
        }
        return start | ({"gamma": rng.uniform(0.2, 1.2)} if stretched else {})

    parameters = [floor(), coefficient("A"), Parameter("tau", "location", -60.0, 60.0)]
    name, text = "curve_exponential", f"E + A·exp(-{v}/tau)"
    if stretched:
        parameters.append(exponent("gamma"))
        name, text = "curve_stretched", f"E + A·exp(-({v}/tau)^gamma)"
    return Law(
        name,
        text,
        (v,),
        tuple(parameters),
        "Domhan et al. 2015 (IJCAI); Viering and Loog 2023, arXiv 2103.10948",
        formula,
        shifts={"tau": ((1.0, v),)},
        variables={v: column(v)},
        draw=draw,
        within_run=True,
    )


def curve_power(v: str) -> Law:
    """A learning curve with a shifted power: the first steps count as if T0 had gone before."""

    def formula(p: Forms, x: Variables) -> Form:
        shifted = log_sum(p["T0"], p["T0"] * 0.0 + x[v])
        return log_sum(p["E"], p["A"] - p["alpha"] * shifted)

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        low = loss.min() * rng.uniform(0.5, 0.99)
        return {
            "E": np.log(low),
            "A": np.log(np.median(loss) - 0.9 * low),
            "alpha": rng.uniform(0.2, 1.5),
            "T0": rng.uniform(x[v].min() - 2.0, np.median(x[v])),
        }

    parameters = (floor(), coefficient("A"), exponent("alpha"), Parameter("T0", "location", -60.0, 60.0))
    return Law(
        "curve_power",
        f"E + A·({v} + T0)^-alpha",
        (v,),
        parameters,
        "Viering and Loog 2023, arXiv 2103.10948",
        formula,
        shifts={"T0": ((1.0, v),), "A": (("alpha", v),)},
        variables={v: column(v)},
        draw=draw,
        within_run=True,
    )


def kaplan() -> Law:
    def formula(p: Forms, x: Variables) -> Form:
        ratio = p["alpha"] / p["beta"]
        return p["beta"] * log_sum(ratio * (p["N_c"] - x["N"]), p["D_c"] - x["D"])

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        alpha, beta = rng.uniform(0.03, 0.4, size=2)
        level = float(np.log(np.median(loss)))
        return {"N_c": level / alpha - 0.5 / alpha, "D_c": level / beta - 0.5 / beta, "alpha": alpha, "beta": beta}

    parameters = (
        Parameter("N_c", "location", -300.0, 300.0),
        Parameter("D_c", "location", -300.0, 300.0),
        exponent("alpha"),
        exponent("beta"),
    )
    return Law(
        "kaplan",
        "((N_c/N)^(alpha/beta) + D_c/D)^beta",
        ("N", "D"),
        parameters,
        "Kaplan et al. 2020, arXiv 2001.08361",
        formula,
        shifts={"N_c": ((1.0, "N"),), "D_c": ((1.0, "D"),)},
        variables={"N": column("N"), "D": column("D")},
        draw=draw,
    )


def data_constrained() -> Law:
    """Repeated epochs: the value of a repetition decays, so D counts as U·(1 + R_D·(1 − exp(−R/R_D))), R = D/U − 1."""

    def formula(p: Forms, x: Variables) -> Form:
        repeats = exp(p["R_D"])
        worth = 1.0 - exp(exp(-p["R_D"]) * -x["repeats"])
        effective = log(1.0 + repeats * worth) + x["U"]
        return log_sum(p["E"], p["A"] - p["alpha"] * x["N"], p["B"] - p["beta"] * effective)

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        rest = float(np.median(loss) - 0.7 * loss.min())
        return {
            "E": np.log(loss.min() * rng.uniform(0.3, 0.98)),
            "A": np.log(rest * rng.uniform(0.2, 0.8)),
            "B": np.log(rest * rng.uniform(0.2, 0.8)),
            "alpha": rng.uniform(0.1, 0.7),
            "beta": rng.uniform(0.1, 0.7),
            "R_D": np.log(rng.uniform(2.0, 40.0)),
        }

    def repeats(columns: Columns) -> Array:
        return np.maximum(columns["D"] / columns["U"] - 1.0, 0.0)

    parameters = (
        floor(),
        coefficient("A"),
        coefficient("B"),
        exponent("alpha"),
        exponent("beta"),
        Parameter("R_D", "location", -3.0, 9.0),
    )
    return Law(
        "data_constrained",
        "E + A·N^-alpha + B·(U·(1 + R_D·(1 - exp(-(D/U - 1)/R_D))))^-beta",
        ("N", "D", "U"),
        parameters,
        "Muennighoff et al. 2023, arXiv 2305.16264, section 3 (data side)",
        formula,
        shifts={"A": (("alpha", "N"),), "B": (("beta", "U"),)},
        variables={"N": column("N"), "U": column("U"), "repeats": repeats},
        linear=frozenset({"repeats"}),
        draw=draw,
    )


def metric_sigmoid() -> Law:
    """A metric of a task against the loss: one that jumps with size may still be a smooth function of the loss."""

    def formula(p: Forms, x: Variables) -> Form:
        return log_sum(p["low"], p["rise"] + log_sigmoid(exp(p["k"]) * (p["S0"] - x["S"])))

    def draw(rng: np.random.Generator, x: Variables, loss: Array) -> dict[str, float]:
        bottom, top = loss.min(), loss.max()
        return {
            "low": np.log(bottom * rng.uniform(0.5, 1.0)),
            "rise": np.log((top - bottom) * rng.uniform(1.0, 1.5) + 1e-9),
            "k": np.log(rng.uniform(1.0, 10.0) / np.ptp(x["S"])),
            "S0": rng.uniform(x["S"].min(), x["S"].max()),
        }

    parameters = (
        coefficient("low"),
        coefficient("rise"),
        Parameter("k", "sharpness", -10.0, 10.0),
        Parameter("S0", "level"),
    )
    return Law(
        "metric_sigmoid",
        "low + rise/(1 + exp(-k·(S0 - S)))",
        ("S",),
        parameters,
        "Bhagia et al. 2024, arXiv 2412.04403",
        formula,
        variables={"S": column("S")},
        linear=frozenset({"S"}),
        target="metric",
        draw=draw,
    )


def best_hyperparameter(name: str, source: str) -> Law:
    """The best value of a hyperparameter, c·N^a·D^b: the table's target is the best value, not a loss."""
    term = Term("c", {"N": "a", "D": "b"}, sign=1.0)
    parameters = (coefficient("c"), exponent("a", *ANY_SIGN), exponent("b", *ANY_SIGN))
    return sum_of_powers(name, "c·N^a·D^b", (term,), parameters, source, target=name)


CHINCHILLA_TERMS = (Term("E"), Term("A", {"N": "alpha"}), Term("B", {"D": "beta"}))
OVERTRAINING_TERMS = (Term("E"), Term("a", {"N": "eta"}), Term("b", {"sqrt(6)·M·N": "eta"}))
SHAPE_TERMS = (Term("E"), Term("A", {"W": "alpha"}), Term("G", {"H": "gamma"}), Term("B", {"D": "beta"}))

JOINT = (
    sum_of_powers(
        "chinchilla",
        "E + A·N^-alpha + B·D^-beta",
        CHINCHILLA_TERMS,
        (floor(), coefficient("A"), coefficient("B"), exponent("alpha"), exponent("beta")),
        "Hoffmann et al. 2022, arXiv 2203.15556; Besiroglu et al. 2024, arXiv 2404.10102",
    ),
    sum_of_powers(
        "chinchilla_shared",
        "E + A·N^-alpha + B·D^-alpha",
        (Term("E"), Term("A", {"N": "alpha"}), Term("B", {"D": "alpha"})),
        (floor(), coefficient("A"), coefficient("B"), exponent("alpha")),
        "Muennighoff et al. 2023, arXiv 2305.16264",
    ),
    kaplan(),
    data_constrained(),
    sum_of_powers(
        "overtraining",
        "E + a·N^-eta + b·6^(-eta/2)·(M·N)^-eta, M = D/N",
        OVERTRAINING_TERMS,
        (floor(), coefficient("a"), coefficient("b"), exponent("eta")),
        "Gadre et al. 2024, arXiv 2403.08540, equation 4",
        variables={"N": column("N"), "sqrt(6)·M·N": lambda columns: np.sqrt(6.0) * columns["D"]},
        columns=("N", "D"),
    ),
    sum_of_powers(
        "width_depth",
        "E + A·W^-alpha + G·H^-gamma + B·D^-beta",
        SHAPE_TERMS,
        (
            floor(),
            coefficient("A"),
            coefficient("G"),
            coefficient("B"),
            exponent("alpha"),
            exponent("gamma"),
            exponent("beta"),
        ),
        "McLeish et al. 2025, arXiv 2502.06857",
    ),
    best_hyperparameter("learning_rate", "Li et al. 2025 (Step Law), arXiv 2503.04715"),
    best_hyperparameter("batch_size", "Bi et al. 2024 (DeepSeek), arXiv 2401.02954"),
    best_hyperparameter("weight_decay", "Bergsma et al. 2025 (Power Lines), arXiv 2505.13738"),
    metric_sigmoid(),
)

ONE_VARIABLE: dict[str, Callable[[str], Law]] = {
    "power": power,
    "power_floor": power_floor,
    "saturating": saturating,
    "broken_1": lambda v: broken(v, 1),
    "broken_2": lambda v: broken(v, 2),
    "curve_power": curve_power,
    "curve_exponential": lambda v: curve_exponential(v, False),
    "curve_stretched": lambda v: curve_exponential(v, True),
}

LAWS: dict[str, Law] = {name: make("T" if name.startswith("curve") else "N") for name, make in ONE_VARIABLE.items()} | {
    law.name: law for law in JOINT
}


def law_named(name: str, columns: Mapping[str, object] | None = None) -> Law:
    """A law by name; one of one variable is set on the column there is: C, else N, else D, else T (curves: T first)."""
    if name not in LAWS:
        raise UserError(f"law '{name}': not one of all, {', '.join(LAWS)}")
    if name not in ONE_VARIABLE or columns is None:
        return LAWS[name]
    order = ("T", "D", "C", "N", "W", "H") if name.startswith("curve") else ("C", "N", "D", "T", "W", "H")
    return ONE_VARIABLE[name](next((v for v in order if v in columns), LAWS[name].columns[0]))
