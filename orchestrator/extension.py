"""Going on with a sweep from its journal alone: as it was planned, or with more trials, cells, epochs, wider ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import plan, spec
from orchestrator.data import Card, judge_digest
from orchestrator.documents import Document, describe, nearest
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.plan import Plan
from orchestrator.records import Cell, Start
from orchestrator.space import Space
from orchestrator.spec import Sweep

# What may grow, or change, while the results so far stay what they are.
MORE = ("trials", "finalists", "max_epochs")
LISTS = ("families", "sizes", "data_fractions")
GROWING = (*MORE, *LISTS, "finalists_on", "budget")


def restore(past: History, run_dir: Path, data_root: Path) -> Plan:
    """The plan that a run's journal holds.

    Raises:
        UserError: there is none, or its data is not prepared here in the version that it was planned for.
    """
    planned = past.plan
    if not planned:
        raise UserError(f"{run_dir}: the sweep there never began; start it with: orchestrate sweep PIPELINE")
    sweep = Sweep.model_validate(planned["spec"])
    folder = data_root / "prepared" / planned["card"]["name"]
    card = Card.read(folder).learnt_by(sweep.task)
    if card.fingerprint != planned["card"]["fingerprint"]:
        raise UserError(
            f"{folder}: version {card.fingerprint[:12]} of the data; the sweep in {run_dir} is of version "
            f"{planned['card']['fingerprint'][:12]}: prepare that one, or start a new sweep"
        )
    if planned.get("judge", judge_digest(folder)) != judge_digest(folder):
        raise UserError(
            f"{folder}: not the judge of images that the sweep in {run_dir} began with; copy the prepared data from "
            "where it began, or start a new sweep"
        )
    spaces = {family: Space.from_dict(family, entries) for family, entries in planned["spaces"].items()}
    cells = tuple(Cell(**fields) for fields in planned["cells"])
    starts = tuple(Start(**fields) for fields in planned.get("starts", ()))
    return Plan(sweep, card, folder, planned["direction"], spaces, cells, starts)


def extended(before: Plan, overrides: Sequence[str], spaces: Path | None) -> tuple[Plan, list[str]]:
    """The plan with `overrides` (key=value) and with the search spaces of the folder `spaces`, and what has changed.

    Raises:
        UserError: a key that decides what the results so far are, a value that shrinks, a range that narrows.
    """
    sweep, overridden = spec.changed(before.spec, overrides)
    old, new = before.spec.model_dump(), sweep.model_dump()
    for key in new:
        if new[key] != old[key] and key not in spec.FREE:
            _check_growth(key, old[key], new[key])
    if not sweep.budget.limits() and sweep.trials >= spec.NO_LIMIT:
        raise UserError("--set budget: without one, say how many --trials a cell gets")
    changes = [f"{key}: {_short(old[key])} → {_short(new[key])}" for key in new if new[key] != old[key]]
    document = Document(Path("extend"), new, {}, overridden)
    known = dict(before.spaces)
    if spaces is not None and not any((spaces / f"{family}.yaml").is_file() for family in sweep.families):
        raise UserError(f"--spaces {spaces}: holds no {' or '.join(f'{family}.yaml' for family in sweep.families)}")
    for family in sweep.families:
        if spaces is None and family not in known:
            raise UserError(f"families: {family} is new here; give the folder of its search space with --spaces")
        if spaces is not None and (family not in known or (spaces / f"{family}.yaml").is_file()):
            loaded = plan.read_space(spaces / f"{family}.yaml", family, before.card.task)
            if family in known and (why := loaded.narrower_than(known[family])):
                raise UserError(f"{spaces / family}.yaml: {why}; a sweep that goes on may widen its ranges only")
            if family in known and loaded != known[family] and sweep.sampler.name == "grid":
                raise UserError(f"{spaces / family}.yaml: a grid over another range is another grid; start a new sweep")
            if family not in known or loaded != known[family]:
                changes.append(f"search space of {family}")
            known[family] = loaded
    return replace(plan.make(sweep, document, before.data, known), starts=before.starts), changes


def _check_growth(key: str, old: Any, new: Any) -> None:
    if key not in GROWING:
        raise UserError(
            f"--set {key}: decides what the results so far are, so it can't change; {nearest(key, GROWING)}"
        )
    if key == "budget":
        for kind, limit in old.items():
            if limit is not None and new[kind] is not None and new[kind] < limit:
                raise UserError(f"--set budget.{kind}: {new[kind]:g} is less than {limit:g}; it may only grow")
    if key in MORE and new < old < spec.NO_LIMIT:
        raise UserError(f"--set {key}: {new} is less than {old}; a sweep that goes on may only grow")
    if key in LISTS and (gone := [one for one in old if one not in new]):
        raise UserError(f"--set {key}: lacks {', '.join(map(str, gone))}; a sweep that goes on may only grow")


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one:g}" for key, one in value.items() if one is not None) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else describe(value)
