"""Search spaces: what to vary, read from `search_spaces/<family>.yaml`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import documents
from orchestrator.errors import UserError

Value = float | int | str | bool


@dataclass(frozen=True)
class Float:
    """A real number in [low, high], on a logarithmic scale when `log`."""

    low: float
    high: float
    log: bool = False
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()


@dataclass(frozen=True)
class Int:
    """A whole number in [low, high] in strides of `step` (no stride on a logarithmic scale)."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()


@dataclass(frozen=True)
class Choice:
    """One of a list of values."""

    values: tuple[Value, ...]
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()


Parameter = Float | Int | Choice
TYPES: Mapping[str, type[Float] | type[Int] | type[Choice]] = {"float": Float, "int": Int, "choice": Choice}
FIELDS = {
    "float": ("low", "high", "log", "when"),
    "int": ("low", "high", "log", "step", "when"),
    "choice": ("values", "when"),
}


@dataclass(frozen=True)
class Space:
    """The hyperparameters of one family, in the order in which they are drawn.

    A parameter with `when` is drawn only where each named earlier parameter took one of the listed values.
    """

    family: str
    parameters: Mapping[str, Parameter]

    def given(self, **facts: str) -> Space:
        """The space with conditions on `facts` (such as task="regression") decided once and for all.

        What depends on a parameter that is then gone can never be drawn, and is gone as well.
        """
        kept: dict[str, Parameter] = {}
        for name, parameter in self.parameters.items():
            decided = [(key, values) for key, values in parameter.when if key in facts]
            if all(facts[key] in values for key, values in decided):
                open_conditions = tuple(pair for pair in parameter.when if pair not in decided)
                if all(key in kept for key, _ in open_conditions):
                    kept[name] = replace(parameter, when=open_conditions)
        return Space(self.family, kept)

    @classmethod
    def from_dict(cls, family: str, plain: Mapping[str, Mapping[str, Any]]) -> Space:
        """The space of which `as_dict` made `plain`."""
        parameters: dict[str, Parameter] = {}
        for name, entry in plain.items():
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
            }
            fields["when"] = tuple((key, tuple(values)) for key, values in entry["when"].items())
            parameters[name] = TYPES[fields.pop("type")](**fields)
        return cls(family, parameters)

    def narrower_than(self, before: Space) -> str | None:
        """Why a search in the space `before` can't go on in this one: what is gone from it; None where nothing is."""
        for name in {**before.parameters, **self.parameters}:
            old, new = before.parameters.get(name), self.parameters.get(name)
            if old is None or new is None:
                return f"{name} is {'gone' if new is None else 'new'}"
            if type(old) is not type(new) or replace(old, **_extent(new)) != new:
                return f"{name} is of another kind, scale or condition"
            if isinstance(old, Choice) and isinstance(new, Choice):
                if gone := [value for value in old.values if value not in new.values]:
                    return f"{name} lacks {', '.join(map(repr, gone))}"
            elif isinstance(old, Int) and isinstance(new, Int) and (old.low - new.low) % old.step:
                return f"{name} no longer holds {old.low:g}: its step is {old.step}"
            elif new.low > old.low or new.high < old.high:  # type: ignore[union-attr]
                return f"{name} no longer reaches from {old.low:g} to {old.high:g}"  # type: ignore[union-attr]
        return None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the journal and for telling whether a space has changed."""
        plain: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            entry: dict[str, Any] = {"type": type(parameter).__name__.lower()}
            for field in FIELDS[entry["type"]]:
                value = getattr(parameter, field)
                if field == "when":
                    value = {key: list(values) for key, values in value}
                entry[field] = list(value) if isinstance(value, tuple) else value
            plain[name] = entry
        return plain


def _extent(parameter: Parameter) -> dict[str, Any]:
    """What may grow while a search goes on."""
    return (
        {"values": parameter.values}
        if isinstance(parameter, Choice)
        else {"low": parameter.low, "high": parameter.high}
    )


def is_active(parameter: Parameter, drawn: Mapping[str, Value]) -> bool:
    """Whether the conditions of `parameter` hold for the values drawn before it."""
    return all(key in drawn and drawn[key] in values for key, values in parameter.when)


def load(path: Path) -> Space:
    """Read and check a search-space file.

    Raises:
        UserError: unknown key or type, impossible range, a condition on something not defined above it.
    """
    document = documents.load(path)
    for key in document.content:
        if key not in ("family", "parameters"):
            where = document.where(key)
            raise UserError(f"{where}: unknown key {key!r}; {documents.nearest(key, ('family', 'parameters'))}")
    family, entries = document.content.get("family"), document.content.get("parameters")
    if not isinstance(family, str):
        raise UserError(f"{document.where('family')}: 'family' must name the family, such as mlp")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{document.where('parameters')}: 'parameters' must map at least one name to its range")
    parameters: dict[str, Parameter] = {}
    for name, entry in entries.items():
        parameters[str(name)] = _parameter(document, str(name), entry, parameters)
    return Space(family, parameters)


def _parameter(document: documents.Document, name: str, entry: Any, above: Mapping[str, Parameter]) -> Parameter:
    where = f"{document.where('parameters', name)}: {name}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected a mapping with 'type' ({', '.join(TYPES)}), found {entry!r}")
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in TYPES:
        raise UserError(f"{where}: unknown type {kind!r}; {documents.nearest(kind, TYPES)}")
    for key in entry:
        if key not in ("type", *FIELDS[kind]):
            at = document.where("parameters", name, key)
            raise UserError(f"{at}: {name}: unknown key {key!r}; {documents.nearest(key, FIELDS[kind])}")
    when = _conditions(where, entry.get("when", {}), above)
    if kind == "choice":
        values = entry.get("values")
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}: 'values' must be a list of at least one value")
        if any(not isinstance(value, (bool, int, float, str)) for value in values):
            raise UserError(f"{where}: 'values' may hold numbers, words, true and false")
        if len(set(values)) < len(values):
            # 1 and 1.0 and true are equal to Python, and so to the sampler.
            raise UserError(f"{where}: 'values' holds a value twice (1, 1.0 and true count as one)")
        return Choice(tuple(values), when)
    return _range(where, kind, entry, when)


def _range(
    where: str, kind: str, entry: Mapping[str, Any], when: tuple[tuple[str, tuple[Value, ...]], ...]
) -> Float | Int:
    number = (int,) if kind == "int" else (int, float)
    for bound in ("low", "high", *(("step",) if "step" in entry else ())):
        value = entry.get(bound)
        if isinstance(value, bool) or not isinstance(value, number) or not abs(value) <= sys.float_info.max:
            hint = " (YAML reads 1e-3 as a word: write 1.0e-3)" if isinstance(value, str) else ""
            expected = "a whole number" if kind == "int" else "a finite number"
            raise UserError(f"{where}: {bound!r} must be {expected}, found {value!r}{hint}")
    log, step = entry.get("log", False), entry.get("step", 1)
    if not isinstance(log, bool):
        raise UserError(f"{where}: 'log' must be true or false, found {log!r}")
    if entry["low"] > entry["high"]:
        raise UserError(f"{where}: impossible range: low {entry['low']} is above high {entry['high']}")
    if log and entry["low"] <= 0:
        raise UserError(f"{where}: a logarithmic range must begin above 0, found low {entry['low']}")
    if step < 1 or (log and step != 1):
        raise UserError(f"{where}: 'step' must be 1 or more, and 1 on a logarithmic range, found {step}")
    if kind == "int":
        return Int(entry["low"], entry["high"], log, step, when)
    return Float(float(entry["low"]), float(entry["high"]), log, when)


def _conditions(where: str, when: Any, above: Mapping[str, Parameter]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    if not isinstance(when, dict):
        raise UserError(f"{where}: 'when' must map an earlier parameter to a list of its values")
    conditions = []
    for key, values in when.items():
        values = values if isinstance(values, list) else [values]
        if not values:
            raise UserError(f"{where}: 'when' lists no value of {key!r}; give at least one")
        if key != "task":
            if key not in above:
                valid = documents.nearest(key, ("task", *above))
                raise UserError(f"{where}: 'when' names {key!r}, which is not defined above it; {valid}")
            other = above[key]
            if isinstance(other, Choice):
                for value in values:
                    if value not in other.values:
                        valid = documents.nearest(value, (str(v) for v in other.values))
                        raise UserError(f"{where}: 'when' expects {key} to be {value!r}; {valid}")
        conditions.append((str(key), tuple(values)))
    return tuple(conditions)
