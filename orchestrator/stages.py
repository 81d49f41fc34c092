"""Two stages: trainings that start from what the finalists of another sweep have learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from orchestrator import history, records
from orchestrator.documents import Document, nearest
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.models import FAMILIES
from orchestrator.plan import Plan
from orchestrator.records import COMPLETE, FINAL, FINISHED, Start
from orchestrator.space import Choice
from orchestrator.training import checkpoint
from orchestrator.training.fit import Job, network


def started(
    planned: Plan, runs: Path, document: Document | None = None, earlier: Sequence[Plan] = (), later: Sequence[str] = ()
) -> Plan:
    """The plan with the weights that its `start_from` asks for, from the sweeps in the folder `runs`.

    Those that it has stay what they are. Where `earlier` sweeps are still to run, nothing is taken from them yet: it is
    only checked that they will have it; `later` names those that run after this one. `document`: where the plan was
    read, to say where a mistake is.

    Raises:
        UserError: a family that learns in one stage, or a sweep that is not there, has not finished, or has no such
            network: of that size, that vocabulary, that architecture.
    """
    to_come = {one.spec.name: one for one in earlier}
    starts = {one.name: one for one in planned.starts}
    for family, name in (planned.spec.start_from or {}).items():
        try:
            _check(planned, family, name)
            lacking = [size for size in planned.spec.sizes if f"{family}-{size}" not in starts]
            if name in to_come:
                _will_have(to_come[name], planned, family)
            elif name in later and not (runs / name).exists():
                raise UserError(f"{name} comes later in the file; put it before {planned.spec.name}")
            elif lacking:
                found = [_best(planned, _finished(planned, runs / name), runs, family, size) for size in lacking]
                starts |= {one.name: one for one in found}
        except UserError as error:
            place = document.place("start_from", family) if document else f"start_from.{family}"
            raise UserError(f"{place}: {error}") from None
    return replace(planned, starts=tuple(starts.values()))


def weights_of(start: Start, runs: Path) -> Path:
    """Where the sweep that it comes from keeps them."""
    return records.model_file(runs / start.sweep, start.trial)


def _check(planned: Plan, family: str, name: str) -> None:
    if family not in planned.spec.families:
        raise UserError(f"{family!r} is not among the families; {nearest(family, planned.spec.families)}")
    if FAMILIES[family].continue_from is None:
        able = ", ".join(one for one in FAMILIES if FAMILIES[one].continue_from)
        raise UserError(f"{family} learns in one stage; these can start from another: {able}")
    if name == planned.spec.name:
        raise UserError(f"{name} is this sweep itself")


def _will_have(first: Plan, planned: Plan, family: str) -> None:
    """Whether a sweep that is still to run will have what this one starts from."""
    name = first.spec.name
    _same_vocabulary(planned, name, first.card.name, first.card.vocabulary)
    there = [f"{one} {size}" for one in first.spec.families for size in first.spec.sizes if first.spec.finalists]
    for size in planned.spec.sizes:
        if f"{family} {size}" not in there:
            raise UserError(f"{name} will have no finalist of {family} {size}; it will have: {_listed(there)}")


def _finished(planned: Plan, run_dir: Path) -> History:
    """What another sweep's journal tells, if it can be gone on from."""
    past = history.of(run_dir)
    if past.closed != FINISHED:
        raise UserError(f"{run_dir} has not finished; to go on: orchestrate resume {run_dir}")
    card = past.plan["card"]
    _same_vocabulary(planned, str(run_dir), card["name"], card.get("vocabulary", ()))
    return past


def _same_vocabulary(planned: Plan, first: str, data: str, vocabulary: Sequence[str]) -> None:
    if tuple(vocabulary) != planned.card.vocabulary:
        raise UserError(f"{first}: its data, {data}, have another vocabulary than {planned.card.name}")


def _best(planned: Plan, past: History, runs: Path, family: str, size: str) -> Start:
    """The finalist with the best validation value; of several data fractions whichever it is."""
    rows = history.tables(past)["trials"]
    finals = [row for row in rows if row["kind"] == FINAL and row["status"] == COMPLETE and row["value"] is not None]
    mine = [row for row in finals if (row["family"], row["size"]) == (family, size)]
    sweep = str(past.plan["name"])
    if not mine:
        there = sorted({f"{row['family']} {row['size']}" for row in finals})
        raise UserError(f"{runs / sweep} has no finalist of {family} {size}; it has: {_listed(there)}")
    best = (max if past.direction == "max" else min)(mine, key=lambda row: row["value"])["trial"]
    hours, flops = past.spent.worker_hours(past.last_event), past.spent.flops
    start = Start(family, size, sweep, str(past.plan.get("id", "")), best, "", hours, flops)
    path = weights_of(start, runs)
    sha256, (weights, _) = checkpoint.digest(path), checkpoint.load(path)
    if sha256 is None or weights is None:
        raise UserError(f"{path}: the weights of {best} are missing, or not whole")
    _fits(planned, family, size, weights, past.trials[best].trial.config)
    return replace(start, sha256=sha256)


def _fits(planned: Plan, family: str, size: str, weights: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Whether every network that the search space allows can start from these weights, which `config` has left.

    What shapes a network beyond its size must be the same in both stages.
    """
    shaping = {one.name for one in fields(FAMILIES[family].config)}
    space = {name: one for name, one in planned.spaces[family].parameters.items() if name in shaping}
    same = {name: config[name] for name in space if name in config}
    network(Job(family, size, same, 0, 1, start=weights), planned.card)
    for name, one in space.items():
        for value in one.values if isinstance(one, Choice) else (one.low, one.high):
            try:
                network(Job(family, size, {**same, name: value}, 0, 1, start=weights), planned.card)
            except UserError as error:
                raise UserError(f"with {name} {value}, which the search space allows: {error}") from None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
