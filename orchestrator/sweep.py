"""The whole of a sweep, top to bottom."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import extension, history, journal, plan, spec, stages
from orchestrator.engine import Engine
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.ray import places, tuner
from orchestrator.ray.joined import JoinedCluster
from orchestrator.records import FINISHED, INTERRUPTED, STOPPED
from orchestrator.tracking import lineage, mirror

if TYPE_CHECKING:
    from rich.console import Console

# What the numbers of a sweep depend on, beside its specification, spaces and data.
CODE = (
    *("data", "models", "search", "tasks", "training"),
    *("budget.py", "cell_search.py", "engine.py", "failures.py", "graphs.py", "history.py", "records.py", "space.py"),
    *("tokens.py", "transfer.py", "windows.py", "ray/trainable.py"),
)


@dataclass(frozen=True)
class Options:
    """What the command line adds to a specification.

    only: of several sweeps of one file, those that are wanted; without any, all.
    fresh: start over (the run that is there is kept aside). renew: start over if the run that is there was made by
    other code. address: of a Ray cluster to join; without it, Ray starts here.
    """

    overrides: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    workers: int | None = None
    fresh: bool = False
    renew: bool = False
    runs: Path = Path("runs")
    data_root: Path = Path("data")
    address: str | None = None


def prepare(path: Path, options: Options) -> list[Plan]:
    """Read a pipeline, prepare its data where that is not done yet, and lay out the cells of each of its sweeps.

    Raises:
        UserError: whatever is wrong in a specification, its search spaces, its data, or what it starts from.
    """
    from orchestrator.data.prepare import prepare as prepare_data

    planned: list[Plan] = []
    specified = spec.load(path, options.overrides, options.only)
    names = [sweep.name for sweep, _ in specified]
    for number, (sweep, document) in enumerate(specified, 1):
        folder = prepare_data(plan.dataset(sweep, document), options.data_root)
        made = plan.make(sweep, document, folder)
        planned.append(stages.started(made, options.runs, document, earlier=planned, later=names[number:]))
    return planned


def run(planned: Plan, options: Options, say: Console, announce: Callable[[Plan], None] = lambda _: None) -> str:
    """Run a sweep from where its journal stands, to its end or to Ctrl-C: `finished`, `interrupted` or `stopped`.

    `announce` is called once the sweep is sure to run, while Ray starts.

    Raises:
        UserError: the specification changed under an unfinished sweep, another process drives it, or the run's
            folder cannot be written to; what it starts from is not there.
    """
    planned = stages.started(planned, options.runs)  # from an earlier sweep of the same file, which has run by now
    run_dir = options.runs / planned.spec.name
    if _is_finished(run_dir, planned, options, say):
        return _nothing_to_do(planned, run_dir, say)
    if options.address is None:
        plan.slots(planned.spec, options.workers)  # or nothing is made
    with contextlib.closing(journal.Writer(run_dir)) as writer:
        if not journal.events(run_dir):
            facts = {"id": uuid.uuid4().hex[:12], **_facts(planned)}
            writer.append(("planned", "planned", None, facts))
        return _session(planned, options, writer, run_dir, say, lambda: announce(planned))


def resume(run_dir: Path, options: Options, say: Console, announce: Callable[[Plan], None] = lambda _: None) -> str:
    """Go on with the sweep in `run_dir` as its journal describes it; no file but those of the run is needed.

    Raises:
        UserError: there is no sweep, another process drives it, or its data is not there in its version.
    """
    past = history.of(run_dir)
    planned = extension.restore(past, run_dir, options.data_root)
    if past.closed == FINISHED:
        return _nothing_to_do(planned, run_dir, say)
    with contextlib.closing(journal.Writer(run_dir)) as writer:
        return _session(planned, options, writer, run_dir, say, lambda: announce(planned))


def extend(
    run_dir: Path,
    options: Options,
    spaces: Path | None,
    say: Console,
    announce: Callable[[Plan], None] = lambda _: None,
) -> str:
    """Go on with a sweep under a plan that has grown (`options.overrides`, search spaces in the folder `spaces`).

    Raises:
        UserError: as `resume`, or a change under which the results so far would not be what they are.
    """
    history.of(run_dir)  # there is one, or nothing is made
    with contextlib.closing(journal.Writer(run_dir)) as writer:
        past = history.of(run_dir)
        before = extension.restore(past, run_dir, options.data_root)
        planned, changes = extension.extended(before, options.overrides, spaces)
        planned = stages.started(planned, run_dir.parent)
        if changes:
            number = len(past.extensions) + 1
            writer.append((f"extended/{number}", "extended", None, {"changes": changes, "plan": _facts(planned)}))
        elif past.closed == FINISHED:
            raise UserError(f"{run_dir}: finished, and nothing is asked for beyond it; such as --trials or --set")
        return _session(planned, options, writer, run_dir, say, lambda: announce(planned))


def _facts(planned: Plan) -> dict[str, Any]:
    return {**planned.as_dict(), "code": _code(), "lineage": lineage.collect(planned.data)}


def _nothing_to_do(planned: Plan, run_dir: Path, say: Console) -> str:
    _write_plan(run_dir, history.of(run_dir))
    _catch_up(_start_mirror(planned, run_dir), run_dir, say)
    return FINISHED


def _session(
    planned: Plan, options: Options, writer: journal.Writer, run_dir: Path, say: Console, announce: Callable[[], None]
) -> str:
    """From one start of the command to its end; while it lasts, this process alone writes the journal."""
    past = history.of(run_dir)
    storage = places.storage_of(planned.spec.storage, run_dir, planned.spec.name, past.plan["id"])
    for start in planned.starts:
        places.bring_start(storage, start, stages.weights_of(start, run_dir.parent))
    cluster = _cluster(planned, options, lambda: _leave(run_dir, say))
    try:
        session = str(len(past.sessions) + 1)
        about = {"pid": os.getpid(), "host": os.uname().nodename, "workers": cluster.slots.count, "code": _code()}
        writer.append((f"session/{session}", "session", None, about))
        engine = Engine(planned.spec, planned.cells, planned.spaces, writer, history.of(run_dir))
        copying = _start_mirror(planned, run_dir)
        with _sigterm_as_sigint(), contextlib.suppress(KeyboardInterrupt):
            announce()
            if not engine.finished:
                with Progress(run_dir, planned.trials, say):
                    tuner.run(engine, cluster, _context(planned, run_dir, storage))
        state = STOPPED if engine.fault else FINISHED if engine.finished else INTERRUPTED
        writer.append((f"closed/{session}", "closed", None, {"state": state}))
    except Exception as error:
        raise writer.trouble or error from None
    finally:
        cluster.shutdown()  # last, so that the mirror writes meanwhile
    if state == FINISHED:
        places.forget_all(storage)
        _write_plan(run_dir, engine.history)
        _catch_up(copying, run_dir, say)
    return state


def _cluster(planned: Plan, options: Options, gone: Callable[[], None]) -> tuner.Runner:
    """Ray, started here or, with an address, joined."""
    if options.address is None:
        return tuner.Cluster(plan.slots(planned.spec, options.workers), gone)
    plan.check_resources(planned.spec)
    resources = planned.spec.resources
    return JoinedCluster(options.address, resources.cpus, resources.gpus, options.workers or planned.spec.workers)


def _leave(run_dir: Path, say: Console) -> None:
    """Ray died under the sweep: Tune would wait for it for ever, and nothing of it can be ended in an orderly way.

    The journal needs no farewell, and the mirror sees its parent leave.
    """
    say.show_cursor()
    again = f"orchestrate resume {run_dir}"
    say.print(f"Ray died; nothing is lost. To go on: {again}", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    os._exit(1)


def _context(planned: Plan, run_dir: Path, storage: str) -> dict[str, Any]:
    """What every trial is told beside its own configuration."""
    return {
        "run_dir": str(run_dir.absolute()),
        "storage": storage,
        "data": str(planned.data.absolute()),
        "data_version": planned.card.fingerprint,
        "judge": planned.judge,
        "task": planned.card.task,
        "starts": {start.name: start.sha256 for start in planned.starts},
        "metric": planned.spec.metric,
        "direction": planned.direction,
        "patience": planned.spec.patience,
    }


def _start_mirror(planned: Plan, run_dir: Path) -> subprocess.Popen[bytes] | None:
    return mirror.start(run_dir) if planned.spec.tracking else None


def _catch_up(copying: subprocess.Popen[bytes] | None, run_dir: Path, say: Console) -> None:
    if copying is not None and not mirror.wait(copying):
        say.print(
            f"MLflow does not hold all of it yet (see {run_dir / mirror.LOG}); nothing is lost: the journal has it. "
            f"To copy the rest: python -m orchestrator.tracking.mirror {run_dir}",
            highlight=False,
            soft_wrap=True,
        )


def _is_finished(run_dir: Path, planned: Plan, options: Options, say: Console) -> bool:
    """Whether nothing is left to do; sets an earlier run aside where this one is another."""
    if not (run_dir / journal.FILE).exists():
        return False
    if options.fresh:
        _set_aside(run_dir, say)
        return False
    past = history.of(run_dir)
    if not past.plan:
        return False
    same = planned.fingerprint in past.fingerprints
    if same and options.renew and past.plan.get("code") != _code():
        _set_aside(run_dir, say)
        return False
    if past.closed != FINISHED:
        if same and past.fingerprints[-1] != planned.fingerprint:
            raise UserError(
                f"{run_dir}: extended since ({'; '.join(past.extensions[-1]['changes'])}); to go on: "
                f"orchestrate resume {run_dir}"
            )
        if not same:
            change = _first_change(past.plan, planned.as_dict())
            raise UserError(
                f"{run_dir}: {change} changed under an unfinished sweep; put it back to go on, or start over "
                "with --fresh (what is there is kept aside)"
            )
        return False
    if same:
        return True
    change = _first_change(past.plan, planned.as_dict())
    say.print(
        f"{run_dir} is another sweep: {change} is not the same. To go on with it: orchestrate extend.",
        highlight=False,
        soft_wrap=True,
    )
    _set_aside(run_dir, say)
    return False


def _set_aside(run_dir: Path, say: Console) -> None:
    """Nothing is deleted: the earlier run gets another name, which its time makes unique."""
    if not run_dir.exists():
        return
    if (holder := journal.driver(run_dir)) is not None:
        raise UserError(f"{run_dir}: {holder} is running this sweep; stop it before you start over")
    aside = run_dir.with_name(f"{run_dir.name}.{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        run_dir.rename(aside)
    except OSError as error:
        raise UserError(f"{run_dir}: cannot be set aside as {aside.name} ({error.strerror})") from None
    say.print(f"The earlier run is kept as {aside}.", highlight=False, soft_wrap=True)


def _first_change(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Names what differs between two plans: a key of the specification, a search space, or the data."""
    now = json.loads(json.dumps(now))
    for key in sorted({*before["spec"], *now["spec"]}):
        old, new = before["spec"].get(key), now["spec"].get(key)
        if old != new and key not in spec.FREE:
            return f"{key!r} ({old} → {new})"
    for family, entries in now["spaces"].items():
        if before["spaces"].get(family) != entries:
            return f"the search space of {family}"
    if before.get("starts") != now.get("starts"):
        return "what the sweep that it starts from has learnt"
    return "the data"


def _write_plan(run_dir: Path, past: history.History) -> None:
    """What was run, without what came out: the same on every machine, so that DVC can lock it."""
    planned = past.plan
    content = {key: planned[key] for key in ("name", "fingerprint", "spec", "spaces", "direction", "cells", "code")}
    content["data"] = planned["card"]["fingerprint"]
    if "starts" in planned:
        del content["fingerprint"]  # of weights too, which are other ones to the last bit on another machine
    aside = run_dir / "plan.json.new"
    aside.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    aside.replace(run_dir / "plan.json")


def _code() -> str:
    """A hash of the sources in `CODE`."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for name in CODE:
        part = package / name
        for file in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """A cluster's polite request to leave is the same as Ctrl-C. Tune leaves a handler of its own behind: undone."""
    interrupt = signal.getsignal(signal.SIGINT)
    terminate = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, interrupt)
