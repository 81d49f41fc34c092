"""What may be varied for a family and a task, and a flat configuration's way to those who use it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import torch
from torch import nn

from orchestrator.documents import nearest
from orchestrator.errors import UserError
from orchestrator.models import FAMILIES, Family
from orchestrator.models.embeddings import embedding_parameters
from orchestrator.tasks import TASKS, WAYS, Task
from orchestrator.training.flops import flops_per_sample
from orchestrator.training.hyperparameters import Hyperparameters

Value = bool | int | float | str
# A type (float, int, bool), or the words that are allowed.
Allowed = type | tuple[Value, ...]


@dataclass(frozen=True)
class Settings:
    """A flat configuration, checked and handed to whom it concerns."""

    family: Family
    model: Any
    task: Task
    hyperparameters: Hyperparameters


@dataclass(frozen=True)
class Description:
    """params: trained numbers. flops_per_sample: forward and backward of one row (see `flops.py`).

    params_without_embeddings: those outside of tables that are looked up (`models/embeddings.py`), over which scaling
    laws of language models are drawn.
    """

    params: int
    flops_per_sample: int
    params_without_embeddings: int


def parameters(family: str, task: str) -> dict[str, Allowed]:
    """The names that a search space or a configuration may use, each with its type or its allowed values.

    Fields that the size dial sets are not among them.

    Raises:
        UserError: an unknown family or task, or a family that can't do the task.
    """
    chosen, task = _family(family, task)
    sized = {field for size in chosen.sizes.values() for field in size}
    names: dict[str, Allowed] = {}
    owners: tuple[Any, ...] = (chosen.config, TASKS[task], Hyperparameters)
    for owner in owners:
        names |= {name: allowed for name, allowed in _fields(owner).items() if name not in sized}
    return names


def choices(owner: Any) -> dict[str, list[Value]]:
    """The fields of a model's or a task's configuration that are a choice among words, or of yes or no."""
    found: dict[str, list[Value]] = {}
    for name, allowed in _fields(owner).items():
        if allowed is bool or isinstance(allowed, tuple):
            found[name] = [False, True] if allowed is bool else list(allowed)
    return found


def split_config(family: str, size: str, task: str, config: Mapping[str, Any]) -> Settings:
    """Check a flat configuration and divide it among model, task and trainer; the size fills in the rest.

    Raises:
        UserError: an unknown family, size, task or key, a value of the wrong type, or one out of range.
    """
    chosen, task = _family(family, task)
    if size not in chosen.sizes:
        raise UserError(f"unknown size {size!r} of {family}; {nearest(size, chosen.sizes)}")
    allowed = parameters(family, task)
    checked: dict[str, Value] = {}
    for name, value in config.items():
        if name in chosen.sizes[size]:
            raise UserError(f"{family}: {name!r} is set by the size ({size}), not by the configuration")
        if name not in allowed:
            raise UserError(f"{family}: unknown hyperparameter {name!r}; {nearest(name, allowed)}")
        checked[name] = check(name, value, allowed[name])

    def part(owner: Any) -> dict[str, Any]:
        return {name: value for name, value in checked.items() if name in _fields(owner)}

    model = chosen.config(**chosen.sizes[size], **part(chosen.config))
    trainer = Hyperparameters(**part(Hyperparameters))
    return Settings(chosen, model, cast(Any, TASKS[task])(**part(TASKS[task])), trainer)


def check(name: str, value: Any, allowed: Allowed) -> Value:
    """The value as its field's type.

    Raises:
        UserError: it is not of that type, not among the allowed values, or not finite.
    """
    if isinstance(allowed, tuple):
        if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
            raise UserError(f"{name}: {value!r} is not possible; {nearest(value, map(str, allowed))}")
        return cast(Value, value)
    if allowed is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not allowed:
        words = {float: "a number", int: "a whole number", bool: "true or false"}.get(allowed, allowed.__name__)
        raise UserError(f"{name}: expected {words}, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}: expected a finite number, found {value!r}")
    return cast(Value, value)


def describe(
    family: str,
    size: str,
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    task: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Description:
    """Size and cost of a family's network, for planning; nothing is trained.

    `task` is the family's first unless told; `config` adds hyperparameters to the defaults.

    Raises:
        UserError: as `split_config`, or an input shape that the family can't take.
    """
    task = task or next(iter(FAMILIES[family].tasks))
    return cost(split_config(family, size, task, config or {}), input_shape, outputs)


def cost(settings: Settings, input_shape: tuple[int, ...], outputs: int) -> Description:
    """`describe` for a checked configuration; remembered, so that trials that differ in rates alone share it."""
    sized = {field for size in settings.family.sizes.values() for field in size}
    # A task names in `costly` which of its real numbers change how much is computed.
    costly = set(getattr(settings.task, "costly", ()))
    model, task = _without_floats(settings.model, sized), _without_floats(settings.task, costly)
    return _cost(settings.family, model, task, input_shape, outputs)


def _without_floats(config: Any, keep: set[str]) -> Any:
    """A real number (a probability, a coefficient) doesn't change what is computed, but for those to keep."""
    kinds = _fields(cast(Any, type(config)))
    reals = {f.name: f.default for f in fields(config) if f.name not in keep and kinds[f.name] is float}
    return replace(config, **reals)


# A network of fewer parameters is built and run for real, as that takes a few milliseconds; on the meta device torch
# computes shapes in Python, 30 to 60 ms.
_SMALL = 2_000_000


# typed: the shape of text is equal to that of numbers with as many features, and means something else.
@lru_cache(maxsize=1024, typed=True)
def _cost(family: Family, model: Any, task: Task, input_shape: tuple[int, ...], outputs: int) -> Description:
    with torch.device("meta"):
        network = family.build(model, input_shape, outputs)
    params, embeddings = count_parameters(network), embedding_parameters(network)
    with torch.random.fork_rng([]):
        if params < _SMALL:
            network = family.build(model, input_shape, outputs)
        flops = flops_per_sample(network, task, input_shape, outputs)
    return Description(params, flops, params - embeddings)


def count_parameters(model: nn.Module) -> int:
    """Trained numbers; buffers and frozen parameters are not counted."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def way(family: str, task: str) -> str | None:
    """The task that a family learns data of `task` by: that one, or another way to the same end; None: it can't."""
    tasks = FAMILIES[family].tasks
    return task if task in tasks else next((one for one in tasks if WAYS.get(one) == task), None)


def _family(family: str, task: str) -> tuple[Family, str]:
    if family not in FAMILIES:
        raise UserError(f"unknown family {family!r}; {nearest(family, FAMILIES)}")
    if task not in TASKS:
        raise UserError(f"unknown task {task!r}; {nearest(task, TASKS)}")
    if (chosen := way(family, task)) is None:
        raise UserError(f"{family} can't do {task}; it does {', '.join(FAMILIES[family].tasks)}")
    return FAMILIES[family], chosen


@cache
def _fields(owner: Any) -> dict[str, Allowed]:
    hints = get_type_hints(owner)
    return {
        field.name: get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else hints[field.name]
        for field in fields(owner)
    }
