"""The specification of a sweep: `pipelines/<name>.yaml`, strictly checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from orchestrator import documents
from orchestrator.documents import Document, KeyPath, describe, nearest
from orchestrator.errors import UserError
from orchestrator.records import Cell

Size = Literal["xs", "s", "m", "l", "xl"]
Fraction = Annotated[float, Field(gt=0, le=1)]


# Keys that say where and how fast, and decide no result: they may change under an unfinished sweep.
FREE = frozenset({"workers", "resources", "search_spaces", "storage", "tracking"})
# Younger keys, which no fingerprint knows of where they are not given: those of earlier sweeps stay what they were.
YOUNGER = ("task", "start_from", "finalists_on")


class Strict(BaseModel):
    # strict: a quoted number, a 1 for true, a whole number written 10.0 are mistakes that are named, not mended.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sampler(Strict):
    """How configurations are suggested within a cell; the names are those of `search/samplers.py`.

    The default is what did best together with halving (measured: see `search/parzen.py`); TPE with halving, the pair
    that is usually shown, does worse than random draws with halving.
    """

    name: str = "parzen"
    startup_trials: int = Field(default=10, ge=1)
    points: int = Field(
        default=5, ge=1, description="for `grid`: how many values of a number, from its low to its high end"
    )


class EarlyStopping(Strict):
    """When a hopeless trial is stopped; the names are those of `search/stopping.py`."""

    name: str = "halving"
    min_epochs: int = Field(default=1, ge=1)
    reduction_factor: float = Field(default=3.0, gt=1)


class Resources(Strict):
    """What one trial gets. A fraction of a GPU lets several trials share it.

    Without `gpus`, a trial gets a GPU of its own where the machine has any, and none elsewhere.
    """

    cpus: float = Field(default=1, gt=0)
    gpus: float | None = Field(default=None, ge=0)


class Budget(Strict):
    """What a sweep may use in all, finalists included; what it reaches first ends the search.

    hours: by the clock, while it runs. worker_hours: of busy workers (CPU-hours or GPU-hours where a worker has one
    of either), repeated and wasted work included. flops: of training.
    """

    trials: int | None = Field(default=None, ge=1)
    hours: float | None = Field(default=None, gt=0)
    worker_hours: float | None = Field(default=None, gt=0)
    flops: float | None = Field(default=None, gt=0)

    def limits(self) -> dict[str, float]:
        return {name: value for name, value in self.model_dump().items() if value is not None}


# Search trials a cell where nothing is said of them: with a budget, as many as it pays for.
TRIALS, NO_LIMIT = 20, 1_000_000


class Sweep(Strict):
    """One sweep: what to run, on what, for how long. Every field is a key of the YAML."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    data: str | dict[str, Any]
    families: list[str] = Field(min_length=1)
    sizes: list[Size] = Field(default=["m"], min_length=1)
    data_fractions: list[Fraction] = Field(default=[1.0], min_length=1)
    metric: str = "validation_loss"
    trials: int = Field(default=TRIALS, ge=1, description="search trials a cell; with a budget, as many as it pays")
    budget: Budget = Budget()
    finalists: int = Field(default=3, ge=0, description="fresh seeds on which each cell's best is trained again")
    finalists_on: list[Fraction] | None = Field(
        default=None,
        min_length=1,
        description="data fractions that finalists are trained on, of those above; on others there is just the search. "
        "Without it, all",
    )
    max_epochs: int = Field(default=20, ge=1)
    patience: int | None = Field(default=None, ge=1, description="epochs without improvement before a trial ends")
    seed: int = Field(default=0, ge=0)
    sampler: Sampler = Sampler()
    early_stopping: EarlyStopping = EarlyStopping()
    transfer: bool = Field(
        default=False,
        description="a larger cell's search waits for the smaller ones of its family, and begins where they lead",
    )
    transfer_trials: int | None = Field(
        default=None,
        ge=1,
        description="with transfer: trials of each cell that has smaller ones; without it, as many as of those",
    )
    task: str | None = Field(
        default=None,
        description="another task than the data's own: masked_language_modelling, of texts without their targets",
    )
    start_from: dict[str, str] | None = Field(
        default=None,
        description="family → a finished sweep, by its name: trainings of that family start from the weights of its "
        "best finalist of the same family and size",
    )
    resources: Resources = Resources()
    workers: int | None = Field(default=None, ge=1, description="trials at a time; without it, as many as fit")
    search_spaces: str = Field(default="../search_spaces", description="folder, relative to this file")
    storage: str | None = Field(
        default=None,
        description="for checkpoints and finalists' models: a folder that every worker sees, or s3://bucket/folder; "
        "without it, the run's folder",
    )
    tracking: bool = Field(default=True, description="whether MLflow gets a copy of what the journal holds")

    @pydantic.field_validator("families", "sizes", "data_fractions", "finalists_on")
    @classmethod
    def _nothing_twice(cls, values: list[Any] | None) -> list[Any] | None:
        if values is not None and len(set(values)) < len(values):
            raise ValueError("holds an entry twice")
        return values

    @pydantic.field_validator("finalists_on")
    @classmethod
    def _among_those_searched(
        cls, fractions: list[float] | None, others: pydantic.ValidationInfo
    ) -> list[float] | None:
        known: list[float] = others.data.get("data_fractions") or fractions or []
        if strange := [one for one in fractions or [] if one not in known]:
            raise ValueError(
                f"{strange[0]:g} is none of the data_fractions; there are: {', '.join(map('{:g}'.format, known))}"
            )
        return fractions

    @pydantic.model_validator(mode="before")
    @classmethod
    def _as_many_as_the_budget_pays(cls, content: Any) -> Any:
        budget = content.get("budget") if isinstance(content, dict) else None
        if isinstance(budget, dict) and any(limit is not None for limit in budget.values()):
            return {"trials": NO_LIMIT, **content}
        return content

    @pydantic.field_validator("transfer")
    @classmethod
    def _has_what_it_needs(cls, transfer: bool, others: pydantic.ValidationInfo) -> bool:
        known = others.data
        if transfer and known.get("trials", 0) >= NO_LIMIT:
            raise ValueError("needs the number of trials: a larger cell begins once the smaller ones have had theirs")
        if transfer and "sampler" in known and known["sampler"].name == "grid":
            raise ValueError("excludes a grid, which decides beforehand what is tried")
        return transfer

    @pydantic.field_validator("transfer_trials")
    @classmethod
    def _has_something_to_begin_with(cls, trials: int | None, others: pydantic.ValidationInfo) -> int | None:
        if trials is not None and not others.data.get("transfer", True):
            raise ValueError("needs `transfer: true`: else no cell begins where others lead")
        if trials is not None and trials > others.data.get("trials", trials):
            raise ValueError("must be no more than trials")
        return trials

    @pydantic.field_validator("storage")
    @classmethod
    def _seen_from_everywhere(cls, storage: str | None) -> str | None:
        if storage is None or (storage.startswith("/") and "://" not in storage):
            return storage
        bucket = storage.removeprefix("s3://").partition("?")[0].partition("/")[0]
        if not storage.startswith("s3://") or not bucket:
            raise ValueError("expected an absolute folder or s3://bucket/folder")
        if "@" in bucket or ":" in bucket:
            raise ValueError(
                "holds keys, which would be kept with the run; give them in the environment of the workers"
            )
        return storage

    def trials_of(self, cell: Cell, cells: Iterable[Cell]) -> int:
        """How many trials the search of a cell gets, where `cells` are all there are."""
        if self.transfer_trials is None or not any(other.is_smaller(than=cell) for other in cells):
            return self.trials
        return self.transfer_trials

    def stopping_of(self, cell: Cell, cells: Iterable[Cell]) -> EarlyStopping:
        """What stops trials of a cell: nothing, where fewer are searched than the rule lets one through of. Of two that
        smaller cells led to, the first epoch would else decide."""
        few = self.trials_of(cell, cells) < self.early_stopping.reduction_factor
        return EarlyStopping(name="none") if few else self.early_stopping

    def finalists_of(self, cell: Cell) -> int:
        """How many finalists a cell gets."""
        return self.finalists if self.finalists_on is None or cell.data_fraction in self.finalists_on else 0

    def fingerprint(self, spaces: dict[str, Any]) -> str:
        """What the search and its results depend on: a sweep whose fingerprint changed is another sweep."""
        absent = {key for key in YOUNGER if getattr(self, key) is None}
        content = {"spec": self.model_dump(exclude={*FREE, *absent}), "spaces": spaces}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


# The key under which a file holds several sweeps, by name.
SEVERAL = "sweeps"


def load(path: Path, overrides: tuple[str, ...] = (), only: Sequence[str] = ()) -> list[tuple[Sweep, Document]]:
    """Read a pipeline: the one sweep that it is or, in their order, those under `sweeps`, by name.

    What stands beside `sweeps` holds for each of them that doesn't say otherwise. `overrides`, of all of them, are
    `key=value` or `key.key=value`, values in YAML; `only` names those that are wanted.

    Raises:
        UserError: naming the key, its line, and what is valid.
    """
    document = documents.load(path)
    if SEVERAL not in document.content:
        return _wanted([_read(document, overrides)], only)
    named = documents.parts(document, SEVERAL)
    if "name" in document.content:
        raise UserError(f"{document.where('name')}: 'name' is of one sweep; those under {SEVERAL!r} have their own")
    for name, part in named.items():
        if "name" in part.content:
            raise UserError(f"{part.where('name')}: {name!r} is this sweep's name; leave out the key 'name'")
    if any(override.partition("=")[0] == "name" for override in overrides):
        raise UserError(f"--set name: {path} has {len(named)} sweeps, and each its own name; choose some with --only")
    found = [_read(replace(part, content={"name": name, **part.content}), overrides) for name, part in named.items()]
    return _wanted(found, only)


def _wanted(found: list[tuple[Sweep, Document]], only: Sequence[str]) -> list[tuple[Sweep, Document]]:
    names = [sweep.name for sweep, _ in found]
    for name in only:
        if name not in names:
            raise UserError(f"--only {name}: {found[0][1].path} has no sweep of this name; {nearest(name, names)}")
    return [one for one in found if not only or one[0].name in only]


def _read(document: Document, overrides: Sequence[str]) -> tuple[Sweep, Document]:
    content, document = _overridden(document, overrides)
    try:
        return Sweep.model_validate(content), document
    except pydantic.ValidationError as error:
        raise UserError(_one_line(error, document)) from None


def changed(sweep: Sweep, overrides: Sequence[str]) -> tuple[Sweep, frozenset[KeyPath]]:
    """A specification with `overrides`, and the keys that they name.

    Raises:
        UserError: as `load`.
    """
    content, document = _overridden(Document(Path("the sweep"), sweep.model_dump(), {}), overrides)
    try:
        return Sweep.model_validate(content), document.overridden
    except pydantic.ValidationError as error:
        raise UserError(_one_line(error, document)) from None


def _overridden(document: Document, overrides: Sequence[str]) -> tuple[dict[str, Any], Document]:
    """The content with `overrides`, and the document as it was read, which knows what they named."""
    content, overridden = dict(document.content), set()
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not all(key.split(".")):
            raise UserError(f"--set {override}: expected key=value, such as trials=10 or sampler.name=random")
        overridden.add(_set(content, key, text))
    return content, replace(document, overridden=frozenset(overridden))


def _set(content: dict[str, Any], key: str, text: str) -> tuple[str, ...]:
    *parents, last = key.split(".")
    for parent in parents:
        below = content.get(parent, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {key}: {parent!r} holds {describe(below)}, not keys; give the whole of it")
        content[parent] = content = dict(below)
    try:
        content[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"--set {key}={text}: the value is not valid YAML") from None
    return tuple(key.split("."))


# pydantic's kinds of error in this project's words; braces are filled from the error's own context.
WORDING = {
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "finite_number": "expected a finite number",
    "string_type": "expected a word",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "too_short": "must hold at least one entry",
    "value_error": "{error}",
    "string_pattern_mismatch": "is a folder's name too: letters, digits, '_', '-' and '.', beginning with one "
    "of the first two",
}


def _one_line(error: pydantic.ValidationError, document: Document) -> str:
    # A misspelt key comes with the complaint that the right one is missing: the misspelling is what helps.
    first = min(error.errors(), key=lambda one: one["type"] not in ("extra_forbidden", "invalid_key"))
    # Of a field that may be one of two types pydantic adds the type to the path; the keys of the YAML are enough.
    location = tuple(part for part in first["loc"] if part not in ("str", "dict[str,any]", "[key]"))
    place, given = document.place(*location), first["input"]
    if first["type"] in ("extra_forbidden", "invalid_key"):
        fields = list(_model_at(location[:-1]).model_fields)
        valid = nearest(location[-1], fields if location[:-1] else [*fields, SEVERAL])
        return f"{document.where(*location)}: unknown key {'.'.join(map(str, location))!r}; {valid}"
    if first["type"] == "missing":
        return f"{document.where(*location)}: the key {location[-1]!r} is missing"
    if first["type"] == "literal_error":
        return f"{place}: unknown value {describe(given)}; {nearest(given, get_args(Size))}"
    if location == ("data",):
        return f"{place}: expected a data set's name or a mapping that describes yours, found {describe(given)}"
    wording = WORDING.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
    if first["type"] == "model_type":
        wording += f" of {', '.join(_model_at(location).model_fields)}"
    hint = _hint(given) if first["type"] in ("int_type", "float_type") else ""
    return f"{place}: {wording}, found {describe(given)}{hint}"


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel]:
    model: type[BaseModel] = Sweep
    for part in location:
        field = model.model_fields[str(part)].annotation
        model = field if isinstance(field, type) and issubclass(field, BaseModel) else model
    return model


def _hint(given: object) -> str:
    """YAML 1.1 wants a point in it: 1e-3 is a word to YAML, as is a number in quotes."""
    try:
        return f" (a word to YAML; write {float(given):.15g})" if isinstance(given, str) else ""
    except ValueError:
        return ""
