"""From a specification to cells, checked against families, tasks and data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator import documents, space
from orchestrator.data import CATALOG, Card, Dataset, from_entry, judge_digest
from orchestrator.documents import Document, nearest
from orchestrator.errors import UserError
from orchestrator.models import FAMILIES
from orchestrator.records import LOSSES_OF_THEIR_OWN, Cell, Slots, Start
from orchestrator.search import stopping
from orchestrator.search.grid import Grid
from orchestrator.search.samplers import SAMPLERS
from orchestrator.space import Choice, Float, Parameter, Space
from orchestrator.spec import NO_LIMIT, Sweep
from orchestrator.tasks import TASKS, Direction
from orchestrator.training import parameters


@dataclass(frozen=True)
class Plan:
    """All that is known before the first trial. `starts`: see `stages.py`; families without one start from chance."""

    spec: Sweep
    card: Card
    data: Path
    direction: Direction
    spaces: Mapping[str, Space]
    cells: tuple[Cell, ...]
    starts: tuple[Start, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Changes with whatever the results depend on: spec, spaces, data, weights to start from."""
        depends: dict[str, Any] = {"spaces": {family: one.as_dict() for family, one in self.spaces.items()}}
        if self.starts:
            depends["starts"] = {one.name: one.sha256 for one in self.starts}
        return self.spec.fingerprint({**depends, "data": self.card.fingerprint})

    @property
    def judge(self) -> str | None:
        """Of a generator's data, the digest of what images are held against; not of the fingerprint, as the data are
        the same."""
        return judge_digest(self.data) if self.card.task == "generation" else None

    @property
    def trials(self) -> int:
        """How many there will be, if the budget allows."""
        return sum(self.spec.trials_of(cell, self.cells) + self.spec.finalists_of(cell) for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        """What the journal keeps."""
        return {
            "name": self.spec.name,
            "fingerprint": self.fingerprint,
            "spec": self.spec.model_dump(),
            "spaces": {family: one.as_dict() for family, one in self.spaces.items()},
            "direction": self.direction,
            "cells": [asdict(cell) for cell in self.cells],
            "card": asdict(self.card),
            **({"judge": judge} if (judge := self.judge) else {}),
            **({"starts": [asdict(one) for one in self.starts]} if self.starts else {}),
        }


def dataset(sweep: Sweep, document: Document) -> Dataset:
    """The data set that a specification names or, for a user's own file, describes.

    Raises:
        UserError: it is not in the catalog, or the description is wrong.
    """
    if isinstance(sweep.data, dict):
        try:
            return from_entry(sweep.data, document.path.parent)
        except UserError as error:
            raise UserError(f"{document.where('data')}: {error}") from None
    if sweep.data not in CATALOG:
        raise UserError(f"{document.place('data')}: unknown data set {sweep.data!r}; {nearest(sweep.data, CATALOG)}")
    return CATALOG[sweep.data]


def make(sweep: Sweep, document: Document, data: Path, spaces: Mapping[str, Space] | None = None) -> Plan:
    """Check the whole specification against the prepared `data` folder and lay out the cells.

    `spaces`: instead of those that the specification's folder holds.

    Raises:
        UserError: an unknown family, metric, sampler or rule; a space that does not fit its family; too little data.
    """
    stored = Card.read(data)
    try:
        card = stored.learnt_by(sweep.task)
    except UserError as error:
        raise UserError(f"{document.place('task')}: {error}") from None
    _known(document, ("sampler", "name"), sweep.sampler.name, SAMPLERS, "there is no sampler")
    _known(document, ("early_stopping", "name"), sweep.early_stopping.name, stopping.RULES, "there is no rule")
    for index, family in enumerate(sweep.families):
        _known(document, ("families", index), family, FAMILIES, "there is no family")
        if parameters.way(family, card.task) is None:
            where = document.where("families", index)
            raise UserError(f"{where}: {family} can't do {card.task}, the task of {card.name}; {_able(card)}")
        if not FAMILIES[family].installed():
            continue  # what to install is said when it is built
        try:
            parameters.describe(family, sweep.sizes[0], card.input_shape, card.outputs, task=card.task)
        except UserError as error:
            if FAMILIES[family].extra:
                raise  # what it brings is broken: the message says what to install
            where = document.where("families", index)
            raise UserError(f"{where}: {error}, those of {card.name}; {_able(card)}") from None
    metrics = _metrics(sweep.families, card.task)
    is_given = "metric" in document.content or ("metric",) in document.overridden
    if not is_given and sweep.metric not in metrics:
        where = document.where("families")
        raise UserError(
            f"{where}: these report no {sweep.metric}; say by which metric they are judged: {', '.join(metrics)}"
        )
    not_so = f"{card.task} reports no metric"
    if len(sweep.families) > 1 and card.task in LOSSES_OF_THEIR_OWN:
        not_so = "each of these families has a loss of its own, and they share no metric"
    _known(document, ("metric",), sweep.metric, metrics, not_so)
    if spaces is None:
        spaces = {family: _space(document, sweep, family, card.task) for family in sweep.families}
    if sweep.sampler.name == "grid":
        _fits_the_grid(document, sweep, spaces)
    for index, fraction in enumerate(sweep.data_fractions):
        _enough(document.place("data_fractions", index), stored, fraction)
    cells = tuple(
        _cell(family, size, fraction, card)
        for family in sweep.families
        for size in sweep.sizes
        for fraction in sweep.data_fractions
    )
    _pays(document, sweep, cells)
    return Plan(sweep, card, data, metrics[sweep.metric], spaces, cells)


def slots(sweep: Sweep, workers: int | None) -> Slots:
    """How many trials run at a time on this machine, and what each gets.

    Raises:
        UserError: more is asked than the machine has, or a number of GPUs above 1 that is not whole.
    """
    import torch

    machine_gpus = torch.cuda.device_count()
    cpus = sweep.resources.cpus
    gpus = (1.0 if machine_gpus else 0.0) if sweep.resources.gpus is None else sweep.resources.gpus
    if gpus > machine_gpus:
        raise UserError(f"resources.gpus: a trial asks for {gpus:g} GPUs; this machine has {machine_gpus}")
    check_resources(sweep)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not gpus:
        return Slots(workers or sweep.workers or max(1, int(cores / cpus)), cpus, gpus)
    fits = Slots(1, cpus, gpus).fit_gpus(machine_gpus)
    count = workers or sweep.workers or fits
    if count > fits:
        raise UserError(
            f"workers: {count} trials of {gpus:g} GPUs each; {fits} fit on the {machine_gpus} here: "
            "lower workers or resources.gpus"
        )
    return Slots(count, cpus, gpus)


def check_resources(sweep: Sweep) -> None:
    """Whatever the machine.

    Raises:
        UserError: a number of GPUs above 1 that is not whole.
    """
    gpus = sweep.resources.gpus or 0.0
    if gpus > 1 and gpus % 1:
        raise UserError(f"resources.gpus: {gpus:g}; valid: a fraction of one GPU, or a whole number of them")


def _known(document: Document, key: tuple[str | int, ...], word: str, table: Mapping[str, Any], not_so: str) -> None:
    if word not in table:
        raise UserError(f"{document.place(*key)}: {not_so} {word!r}; {nearest(word, table)}")


def _able(card: Card) -> str:
    """The families that can learn the data: its task, from inputs of its shape."""
    able = []
    for name, family in FAMILIES.items():
        with contextlib.suppress(UserError):
            if parameters.way(name, card.task):
                parameters.describe(name, next(iter(family.sizes)), card.input_shape, card.outputs, task=card.task)
                able.append(name)
    return f"these can: {', '.join(able)}" if able else "no family here can"


def _metrics(families: Sequence[str], task: str) -> dict[str, Direction]:
    """What every one of the families reports in learning the task, and which way it is better.

    A loss is left out where each family has its own: a bound in nats and a squared error are no better or worse.
    """
    reported = [TASKS[parameters.way(family, task) or task].metrics for family in families]
    common = [name for name in reported[0] if all(name in metrics for metrics in reported)]
    if len(families) > 1 and task in LOSSES_OF_THEIR_OWN:
        common = [name for name in common if name != "loss"]
    return {f"validation_{name}": reported[0][name] for name in common}


def _rows(card: Card, fraction: float) -> int:
    return int(card.sizes["train"] * fraction + 0.5)


def _fits_the_grid(document: Document, sweep: Sweep, spaces: Mapping[str, Space]) -> None:
    """Refuse more trials than a family's grid has points; with fewer, the sweep tries that many of them."""
    for family, one in spaces.items():
        size = Grid(one, sweep.sampler.points).size
        if sweep.trials >= NO_LIMIT:
            raise UserError(
                f"{document.place('trials')}: a grid needs their number, with a budget too; "
                f"that of {family} has {size} points"
            )
        if sweep.trials > size:
            points = f"sampler.points {sweep.sampler.points}"
            raise UserError(
                f"{document.place('trials')}: {sweep.trials} trials a cell, but the grid of {family} with {points} has "
                f"{size} points: lower trials or raise points"
            )


def _enough(place: str, card: Card, fraction: float) -> None:
    """Refuse a fraction that `data.load` would refuse, before anything starts."""
    rows, least = _rows(card, fraction), max(len(card.classes), 2)
    if rows < min(least, card.sizes["train"]):
        held = f"{card.sizes['train']} training rows of {card.name}"
        raise UserError(f"{place}: {fraction:g} leaves {rows} of the {held}; at least {least} are needed")


def _pays(document: Document, sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Refuse a budget that can't pay for one trial and the finalists of every cell, where that is known."""
    each = [1 + sweep.finalists_of(cell) for cell in cells]
    flops = sum(cell.flops * cell.train_samples * count for cell, count in zip(cells, each, strict=True))
    for key, least in (("trials", sum(each)), ("flops", flops * sweep.max_epochs)):
        limit = getattr(sweep.budget, key)
        if limit is not None and limit < least:
            raise UserError(
                f"{document.place('budget', key)}: one trial and the finalists of each of "
                f"{len(cells)} cells need {least:.4g}; found {limit:.4g}"
            )


def _cell(family: str, size: str, fraction: float, card: Card) -> Cell:
    described = parameters.describe(family, size, card.input_shape, card.outputs, task=card.task)
    rows = _rows(card, fraction)
    # Each of the nodes that are told has its share of the graph's cost.
    share = rows if card.task == "node_classification" else 1
    flops = -(-described.flops_per_sample // share)
    return Cell(family, size, fraction, described.params, flops, rows, described.params_without_embeddings)


def _space(pipeline: Document, sweep: Sweep, family: str, task: str) -> Space:
    path = _tidy(pipeline.path.parent / sweep.search_spaces / f"{family}.yaml")
    if not path.is_file():
        index = sweep.families.index(family)
        raise UserError(f"{pipeline.where('families', index)}: the search space of {family} is missing: no file {path}")
    return read_space(path, family, task)


def read_space(path: Path, family: str, task: str) -> Space:
    """A family's search space for a task, checked against what the family, the task and the trainer can vary.

    Raises:
        UserError: it can't be read, is another family's, or names what is not there or not possible.
    """
    loaded = space.load(path)
    document = documents.load(path)
    if loaded.family != family:
        raise UserError(f"{document.where('family')}: this file is named for {family!r}, found {loaded.family!r}")
    allowed = parameters.parameters(family, task)
    # In the order of the code, and each once.
    everywhere = {name: None for one in FAMILIES[family].tasks for name in parameters.parameters(family, one)}
    for name, parameter in loaded.parameters.items():
        where = document.where("parameters", name)
        if name not in everywhere:
            raise UserError(f"{where}: {family} has no hyperparameter {name!r}; {nearest(name, everywhere)}")
        for other in (value for key, values in parameter.when if key == "task" for value in values):
            if other not in TASKS:
                raise UserError(f"{where}: {name}: 'when' names no task: {other!r}; {nearest(other, TASKS)}")
    given = loaded.given(task=task)
    for name, parameter in given.parameters.items():
        where = document.where("parameters", name)
        if name not in allowed:
            raise UserError(f"{where}: {name!r} has no meaning in {task}; add `when: {{task: […]}}`")
        _check_values(where, family, task, name, parameter, allowed[name])
    return given


def _tidy(path: Path) -> Path:
    """Without `..`, and as seen from here where it lies below: what a person would type."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def _check_values(
    where: str, family: str, task: str, name: str, parameter: Parameter, allowed: parameters.Allowed
) -> None:
    values: tuple[Any, ...]
    if isinstance(parameter, Choice):
        values = parameter.values
    else:
        values = (parameter.low, parameter.high)
        if isinstance(parameter, Float) and allowed is int:
            raise UserError(f"{where}: {name} takes whole numbers; use type int")
    size = next(iter(FAMILIES[family].sizes))
    for value in values:
        try:
            parameters.split_config(family, size, task, {name: value})
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
