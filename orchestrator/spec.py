"""The specification of a sweep: `pipelines/<name>.yaml`, strictly checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from orchestrator import documents
from orchestrator.errors import UserError

Size = Literal["xs", "s", "m", "l", "xl"]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Sampler(Strict):
    """How configurations are suggested within a cell; the names are those of `search/samplers.py`."""

    name: str = "tpe"
    startup_trials: int = Field(10, ge=1)


class EarlyStopping(Strict):
    """When a hopeless trial is stopped; the names are those of `search/stopping.py`."""

    name: str = "halving"
    min_epochs: int = Field(1, ge=1)
    reduction_factor: float = Field(3.0, gt=1)


class Resources(Strict):
    """What one trial gets. A fraction of a GPU lets several trials share it.

    Without `gpus`, a trial gets a GPU of its own where the machine has any, and none elsewhere.
    """

    cpus: float = Field(1, gt=0)
    gpus: float | None = Field(None, ge=0)


class Sweep(Strict):
    """One sweep: what to run, on what, for how long. Every field is a key of the YAML."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    data: str | dict[str, Any]
    families: list[str] = Field(min_length=1)
    sizes: list[Size] = Field(["m"], min_length=1)
    data_fractions: list[Fraction] = Field([1.0], min_length=1)
    metric: str = "validation_loss"
    trials: int = Field(20, ge=1, description="search trials a cell")
    finalists: int = Field(3, ge=0, description="fresh seeds on which each cell's best is trained again")
    max_epochs: int = Field(20, ge=1)
    patience: int | None = Field(None, ge=1, description="epochs without improvement before a trial ends")
    seed: int = Field(0, ge=0)
    sampler: Sampler = Sampler()
    early_stopping: EarlyStopping = EarlyStopping()
    resources: Resources = Resources()
    workers: int | None = Field(None, ge=1, description="trials at a time; without it, as many as fit")
    search_spaces: str = Field("../search_spaces", description="folder, relative to this file")

    @pydantic.field_validator("families", "sizes", "data_fractions")
    @classmethod
    def _nothing_twice(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("holds an entry twice")
        return values

    @property
    def data_name(self) -> str:
        return self.data if isinstance(self.data, str) else str(self.data.get("name"))

    def fingerprint(self, spaces: dict[str, Any]) -> str:
        """What the search and its results depend on: a sweep whose fingerprint changed is another sweep."""
        free = {"workers", "resources", "search_spaces"}
        content = {"spec": self.model_dump(exclude=free), "spaces": spaces}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def load(path: Path, overrides: tuple[str, ...] = ()) -> tuple[Sweep, documents.Document]:
    """Read a sweep's specification; `overrides` are `key=value` or `key.key=value`, values in YAML.

    Raises:
        UserError: naming the key, its line, and what is valid.
    """
    document = documents.load(path)
    content = dict(document.content)
    overridden = set()
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise UserError(f"--set {override}: expected key=value, such as trials=10 or sampler.name=random")
        overridden.add(_set(content, key, text))
    try:
        return Sweep.model_validate(content), document
    except pydantic.ValidationError as error:
        raise UserError(_one_line(error, document, overridden)) from None


def _set(content: dict[str, Any], key: str, text: str) -> str:
    *parents, last = key.split(".")
    for parent in parents:
        below = content.get(parent, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {key}: {parent!r} is not a mapping")
        content[parent] = content = dict(below)
    try:
        content[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {key}={text}: the value is not valid YAML") from None
    return key.split(".")[0]


def _one_line(error: pydantic.ValidationError, document: documents.Document, overridden: set[str]) -> str:
    first = error.errors()[0]
    location = tuple(part for part in first["loc"] if part not in ("str", "dict[str,any]", "constrained-int"))
    where = f"--set {location[0]}" if location and location[0] in overridden else document.where(*location)
    name = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = Sweep
        for part in location[:-1]:
            field = model.model_fields[str(part)].annotation
            model = field if isinstance(field, type) and issubclass(field, BaseModel) else model
        return f"{where}: unknown key {name!r}; {documents.nearest(location[-1], model.model_fields)}"
    if first["type"] == "missing":
        return f"{where}: {name!r} is missing"
    if first["type"] == "literal_error":
        return f"{where}: {name}: unknown value {first['input']!r}; {first['msg'].lower()}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {name}: {message[0].lower()}{message[1:]}, found {first['input']!r}"
