"""Where trials keep their state and finalists their weights: in the run's folder, or on storage that all nodes see."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from orchestrator import records
from orchestrator.errors import UserError
from orchestrator.records import Start
from orchestrator.training import checkpoint
from orchestrator.training.checkpoint import Place, join


def storage_of(given: str | None, run_dir: Path, name: str, run: str) -> str:
    """The folder (or address) that every trial is told. Outside of the run's folder each run has one of its own.

    `given` is the specification's `storage`, `run` the run's id: a sweep that starts over must not find old state.

    Raises:
        UserError: nothing can be written there.
    """
    if given is None:
        return str(run_dir.absolute())
    folder = join(given, f"{name}-{run}")
    try:
        trying = join(folder, "written")
        checkpoint.save(trying, {})
        checkpoint.delete(trying)
    except Exception as error:  # pyarrow has errors of many kinds for a wrong address
        said = str(error).partition("\n")[0]
        raise UserError(f"storage: {given}: cannot be written to ({said})") from None
    return str(folder)


def checkpoint_file(storage: str, trial: str) -> Place:
    """Where a trial's state lies while it runs."""
    return join(storage, "checkpoints", f"{trial}.pt")


def model_file(storage: str, trial: str) -> Place:
    """Where a finalist's best weights lie."""
    return join(storage, "models", f"{trial}.pt")


def bring_model(storage: str, run_dir: str, trial: str) -> None:
    """Copy a finalist's weights to where their readers look: `models/` beside the journal.

    Raises:
        UserError: they cannot be read whole, or not be written here.
    """
    if storage == run_dir:
        return
    try:
        checkpoint.fetch(model_file(storage, trial), records.model_file(Path(run_dir), trial))
    except OSError as error:
        raise UserError(f"the model of {trial} cannot be brought from the storage: {error}") from None


def start_file(storage: str, name: str) -> Place:
    """Where the weights lie that trainings of a family and size begin with."""
    return join(storage, "starts", f"{name}.pt")


def bring_start(storage: str, start: Start, source: Path) -> None:
    """Copy the weights to start from to where the trials look, unless they are there: the sweep then needs no other.

    Raises:
        UserError: `source` no longer holds them, or nothing can be written there.
    """
    place = start_file(storage, start.name)
    if checkpoint.digest(place) == start.sha256:
        return
    if checkpoint.digest(source) != start.sha256:
        raise UserError(f"{source}: not the weights of {start.trial} that this sweep starts from; they are lost")
    try:
        checkpoint.fetch(source, place)
    except OSError as error:
        raise UserError(f"{place}: cannot be written to ({error.strerror or error})") from None


def forget(place: Place) -> None:
    """Delete a checkpoint that nobody will ask for again; one that stays all the same does no harm.

    Elsewhere than on disk that takes some 50 ms, for which nobody waits.
    """
    if isinstance(place, Path):
        checkpoint.delete(place)
    else:
        _background().submit(_delete, place)


def forget_all(storage: str) -> None:
    """Once a sweep has finished: also the checkpoints of trials that were given up while they waited at a rung."""
    _background().submit(_delete_folder, join(storage, "checkpoints")).result()


def _delete(place: Place) -> None:
    with contextlib.suppress(OSError):
        checkpoint.delete(place)


def _delete_folder(folder: Place) -> None:
    with contextlib.suppress(OSError):
        checkpoint.delete_folder(folder)


@cache
def _background() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="storage")
