"""`orchestrate scaling TABLE.csv`: everything about one table, as a dictionary for JSON and as text to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import UserError
from orchestrator.report.scaling.backtest import DECADES, compare_laws, predict
from orchestrator.report.scaling.card import finite, fit_card, minima, parameters
from orchestrator.report.scaling.derivative import Array
from orchestrator.report.scaling.diagnostics import diagnose
from orchestrator.report.scaling.families import compare_families
from orchestrator.report.scaling.fit import Fit, FitOptions, fit
from orchestrator.report.scaling.frontier import ALLOCATIONS, frontier
from orchestrator.report.scaling.law import Law
from orchestrator.report.scaling.laws import LAWS, law_named
from orchestrator.report.scaling.next_run import next_run
from orchestrator.report.scaling.objective import Objective
from orchestrator.report.scaling.points import Points
from orchestrator.report.scaling.read import read_points, read_targets
from orchestrator.report.wording import plural


@dataclass(frozen=True)
class Options:
    """What `orchestrate scaling` was asked; names of columns where a column is meant.

    `law`: a name of LAWS, `all` (ranked by back-test), or None for the default of the columns given. `predict`: texts
    as `N=7e10,D=1.4e12`. `beyond`: decades of cost beyond the largest run that a prediction may reach.
    """

    table: Path
    loss: str
    params: str | None = None
    data: str | None = None
    compute: str | None = None
    unique: str | None = None
    width: str | None = None
    depth: str | None = None
    steps: str | None = None
    group: str | None = None
    run: str | None = None
    law: str | None = None
    fit: str = "huber:1e-3"
    on: str = "log"
    drop_highest: int = 0
    predict: tuple[str, ...] = ()
    beyond: float = DECADES
    bootstrap: int = 200
    seed: int = 0
    out: Path | None = None


def analyse(options: Options) -> dict[str, Any]:
    """Fit, judge, predict. Keys: law, rows, status, objective, parameters, minima, diagnostics, predictions and more.

    Raises UserError, one line, on anything wrong with the table or the options. With `out`, writes scaling.json and
    points.csv there.
    """
    fit_options = FitOptions(Objective.parse(options.fit, options.on), seed=options.seed, bootstrap=checked(options))
    targets = read_targets(options.predict)
    points, group = read_points(Path(options.table), columns_of(options), options.loss, options.run, options.group)
    if options.drop_highest:
        if not 0 < options.drop_highest < len(points):
            raise UserError(
                f"drop-highest {options.drop_highest}: valid is 0 to {len(points) - 1}, the rows being {len(points)}"
            )
        kept = np.sort(np.argsort(points.loss, kind="stable")[: len(points) - options.drop_highest])
        points, group = points.rows(kept), None if group is None else group[kept]
    ranking = None
    if options.law == "all":
        ranked = compare_laws(fitting_laws(points), points, replace(fit_options, bootstrap=0))
        best = next((entry for entry in ranked if entry.fitted is not None and entry.fitted.identified), ranked[0])
        if best.fitted is None:
            raise UserError(f"law all: none can be fitted: {best.reason}")
        law = best.fitted.law
        ranking = [
            {
                "law": entry.law,
                "error": entry.error,
                "cuts": entry.cuts,
                "reason": entry.reason,
                "status": entry.fitted.status if entry.fitted else "not fitted",
            }
            for entry in ranked
        ]
    else:
        law = law_named(options.law, points.columns) if options.law else default_law(points)
    made = fit(law, points, fit_options)
    result = one_fit(made, targets, options)
    if ranking is not None:
        result["ranking"] = ranking
    if group is not None:
        result["families"] = families(law, points, group, fit_options, targets, options.beyond)
    result = {name: finite(value) for name, value in result.items()}
    if options.out is not None:
        write(Path(options.out), result, made)
    return result


def checked(options: Options) -> int:
    if options.bootstrap < 0 or options.bootstrap == 1:
        raise UserError(f"bootstrap {options.bootstrap}: valid is 0 (none) or at least 2 repeats")
    if not options.beyond >= 0:
        raise UserError(f"beyond {options.beyond:g}: valid are decades from 0 up")
    if options.seed < 0:
        raise UserError(f"seed {options.seed}: valid is 0 or above")
    return options.bootstrap


def columns_of(options: Options) -> dict[str, str]:
    given = {
        "N": options.params,
        "D": options.data,
        "C": options.compute,
        "U": options.unique,
        "W": options.width,
        "H": options.depth,
        "T": options.steps,
    }
    columns = {symbol: name for symbol, name in given.items() if name is not None}
    if not columns:
        raise UserError("no column to scale with: give --params, --data or --compute")
    return columns


def default_law(points: Points) -> Law:
    """Chinchilla where there are N and D, else a power law with floor over the one column; for few rows without."""
    if {"N", "D"} <= set(points.columns):
        return LAWS["chinchilla"]
    return law_named("power_floor" if len(points) >= 6 else "power", points.columns)


def fitting_laws(points: Points) -> list[Law]:
    """Every law of losses whose columns are there."""
    laws = []
    for name in LAWS:
        law = law_named(name, points.columns)
        if (
            law.target == "loss"
            and set(law.columns) <= set(points.columns)
            and (not law.within_run or law.columns == ("T",))
        ):
            laws.append(law)
    return laws


def one_fit(made: Fit, targets: list[dict[str, float]], options: Options) -> dict[str, Any]:
    points = made.points
    result: dict[str, Any] = {
        "law": made.law.name,
        "formula": made.law.formula_text,
        "rows": len(points),
        "runs": len(np.unique(points.runs)),
        "status": made.status,
        "reasons": list(made.reasons),
        "objective": made.objective,
        "fit": options.fit,
        "on": options.on,
        "parameters": parameters(made),
        "minima": minima(made),
        "diagnostics": [asdict(diagnostic) for diagnostic in diagnose(made)],
        "predictions": predictions(made, targets, options.beyond),
        "notes": list(points.note),
        "card": fit_card(made),
    }
    if made.law.name in ALLOCATIONS:
        result["frontier"] = frontier(made)
    if made.identified and made.law.target == "loss":
        largest = int(np.argmax(points.cost))
        further = 10.0 ** (1.0 / len(made.law.columns))  # a decade of cost beyond the largest run
        aim = {name: float(points.columns[name][largest]) * further for name in made.law.columns}
        if targets and set(made.law.columns) <= set(targets[0]):
            aim = {name: targets[0][name] for name in made.law.columns}
        result["next_run"] = {"target": aim, **next_run(made, budget_of(made, points), aim)}
    return result


def budget_of(made: Fit, points: Points) -> float:
    """As much as the largest run cost, in the unit of the law's own columns."""
    from orchestrator.report.scaling.next_run import cost_of

    return float(cost_of({name: points.columns[name] for name in made.law.columns}).max())


def predictions(made: Fit, targets: list[dict[str, float]], beyond: float) -> list[dict[str, Any]]:
    listed = []
    for target in targets:
        asked: Mapping[str, Array] = {name: np.array([value]) for name, value in target.items()}
        made_here = predict(made, asked, beyond)
        listed.append(
            {
                "at": target,
                "value": float(made_here.value[0]),
                "low": float(made_here.low[0]),
                "high": float(made_here.high[0]),
                "level": made_here.level,
                "decades_beyond": float(made_here.decades[0]),
                "basis": made_here.basis,
            }
        )
    return listed


def families(
    law: Law, points: Points, group: Array, options: FitOptions, targets: list[dict[str, float]], beyond: float
) -> dict[str, Any]:
    """The comparison of families as JSON."""
    names = np.unique(group)
    if len(names) < 2:
        return {"note": f"one family only ({names[0]}): nothing to compare"}
    made = compare_families(law, points, group, options)
    result: dict[str, Any] = {
        "ranking": made.ranking,
        "failed": dict(made.failed),
        "pairs": [asdict(pair) for pair in made.pairs],
        "families": {
            name: {
                "status": own.status,
                "reasons": list(own.reasons),
                "rows": len(own.points),
                "parameters": parameters(own),
                "predictions": predictions(own, targets, beyond),
            }
            for name, own in made.fits.items()
        },
    }
    if made.shared is not None:
        own = made.shared.fitted
        result["shared_exponents"] = {
            "status": own.status,
            "reasons": list(own.reasons),
            "parameters": parameters(own),
            "objective": own.objective,
            "separate_objective": made.shared.separate,
            "p_value": made.shared.p_value,
            "verdict": made.shared.verdict,
        }
    return result


def write(folder: Path, result: Mapping[str, Any], made: Fit) -> None:
    """scaling.json: the result; points.csv: the rows with what the law gives for each."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scaling.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    points = made.points
    predicted = made.value(points.columns)
    residual = np.log(points.loss / predicted)
    frame = pd.DataFrame({**points.columns, "loss": points.loss, "predicted": predicted, "log_residual": residual})
    if points.run is not None:
        frame.insert(0, "run", points.run)
    frame.to_csv(folder / "points.csv", index=False)


def number(value: float | None) -> str:
    return "withheld" if value is None else f"{value:.6g}"


def text(result: Mapping[str, Any]) -> str:
    """The result as a person reads it; no exponent where the data identify none. Families come by themselves."""
    lines = [f"{result['law']}: {result['formula']}", f"fit {result['fit']} on {result['on']} loss"]
    lines += [f"note: {note}" for note in result["notes"]]
    families = result.get("families", {})
    for name, own in families.get("families", {}).items():
        lines += ["", f"{name}: {plural(own['rows'], 'row')}", *own_lines(own, result["card"])]
    lines += [f"{name}: not fitted: {reason}" for name, reason in families.get("failed", {}).items()]
    if families.get("families"):
        return "\n".join([*lines, "", *family_lines(families)])
    lines += [f"{plural(result['rows'], 'row')}, {plural(result['runs'], 'run')}", *own_lines(result, result["card"])]
    lines.append(f"objective (sum) {result['objective']:.10g}")
    lines += ranking_lines(result.get("ranking", []))
    if "frontier" in result:
        lines += frontier_lines(result["frontier"])
    if families:
        lines += family_lines(families)
    lines += [f"{d['level']}: {d['name']}: {d['text']}" for d in result["diagnostics"] if d["level"] != "ok"]
    return "\n".join([*lines, *next_run_lines(result.get("next_run", {}))])


def own_lines(own: Mapping[str, Any], card: Mapping[str, Any]) -> list[str]:
    """Status, parameters and predictions of one fit."""
    lines = [f"status {own['status']}", *(f"  because {reason}" for reason in own["reasons"])]
    spans = {name: (estimate["low"], estimate["high"]) for name, estimate in own["parameters"].items()}
    if any(low is not None for low, _ in spans.values()):
        lines.append(f"parameters, with {card['level']:.0%} intervals ({card['intervals']})")
    width = max(len(name) for name in spans)
    for name, estimate in own["parameters"].items():
        low, high = spans[name]
        span = "" if low is None else f"   {low:.6g} … {high:.6g}"
        lines.append(f"  {name:<{width}} {number(estimate['value'])}{span}")
    for prediction in own["predictions"]:
        at = ", ".join(f"{name}={value:.4g}" for name, value in prediction["at"].items())
        lines.append(
            f"at {at}: {prediction['value']:.4f}, {prediction['level']:.0%} interval"
            f" {prediction['low']:.4f} … {prediction['high']:.4f}"
            f" ({prediction['decades_beyond']:.1f} decades outside the data; {prediction['basis']})"
        )
    return lines


def ranking_lines(ranking: list[Mapping[str, Any]]) -> list[str]:
    lines = ["laws by error on held-back larger runs (root mean square of log loss):"] if ranking else []
    for entry in ranking:
        error = "not tested" if entry["error"] is None else f"{entry['error']:.4f}"
        reason = f": {entry['reason']}" if entry["reason"] else ""
        lines.append(f"  {entry['law']:<18} {error:<11} {entry['status']}{reason}")
    return lines


def next_run_lines(found: Mapping[str, Any]) -> list[str]:
    """The run that would tell most, if any tells something."""
    if not found.get("runs"):
        return []
    best = found["runs"][0]
    at, there = (
        ", ".join(f"{n}={value:.3g}" for n, value in one.items()) for one in (best["columns"], found["target"])
    )
    left = best["interval_left"]
    if left > 0.95:
        return [f"next run: none as dear as the largest would narrow the prediction at {there} by a twentieth"]
    return [f"next run: {at} would leave {left:.0%} of what the parameters leave open of the prediction at {there}"]


def frontier_lines(found: Mapping[str, Any]) -> list[str]:
    lines = [f"compute-optimal size, N* ~ C^a: {found['verdict']}"]
    for route in found["routes"]:
        if route["exponent"] is None:
            lines.append(f"  {route['route']:<20} not taken: {'; '.join(route['warnings'])}")
            continue
        span = "" if route["low"] is None else f" ({route['low']:.4f} … {route['high']:.4f})"
        warning = f"; {'; '.join(route['warnings'])}" if route["warnings"] else ""
        lines.append(f"  {route['route']:<20} a = {route['exponent']:.4f}{span}{warning}")
    return lines


def family_lines(found: Mapping[str, Any]) -> list[str]:
    if "note" in found:
        return [f"families: {found['note']}"]
    lines = ["families:"]
    lines += [
        f"  {pair['verdict']} (times the compute at {pair['cost']:.3g}: {span(pair['gain'])})"
        for pair in found["pairs"]
    ]
    if "shared_exponents" in found:
        lines.append(f"  {found['shared_exponents']['verdict']} (p = {found['shared_exponents']['p_value']:.2g})")
    ranking = found["ranking"]
    if ranking["ranking"]:
        order = ", ".join(f"{row['family']} {row['loss']:.4f}" for row in ranking["ranking"])
        lines.append(f"  at the largest common {ranking['column']} = {ranking['size']:.4g}: {order}")
    return lines


def span(interval: Mapping[str, float | None]) -> str:
    shown = ["?" if interval[key] is None else f"{interval[key]:.3g}" for key in ("value", "low", "high")]
    return f"{shown[0]}, {shown[1]} … {shown[2]}"
