"""The command `orchestrate`: parses, calls, prints. Nothing else prints."""

from __future__ import annotations

import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import __version__
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.sweep import Options

# Imports stand inside the commands: `orchestrate --help` must not wait for torch.

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path)
RUNS = click.option("--runs", type=FOLDER, default=Path("runs"), envvar="ORCHESTRATOR_RUNS", show_default=True,
                    help="Where runs lie.")  # fmt: skip
DATA = click.option("--data-root", type=FOLDER, default=Path("data"), envvar="ORCHESTRATOR_DATA", show_default=True,
                    help="Where raw and prepared data lie.")  # fmt: skip

ADDRESS = click.option(
    "--address", metavar="HOST:PORT|auto", help="Join this Ray cluster; without it, Ray starts here."
)
WORKERS = click.option("--workers", type=click.IntRange(1), help="Trials at a time.  [default: as many as fit]")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="orchestrate")
def orchestrate() -> None:
    """Tune families of neural networks, and see which wins and how it scales.

    \b
    orchestrate sweep pipelines/demo.yaml     search, on every core and GPU of this machine
    orchestrate report reports/demo.yaml      the page that says what came out
    orchestrate dashboard                     every run in MLflow
    """


@orchestrate.group()
def data() -> None:
    """List and prepare data sets."""


@data.command("list")
@DATA
def data_list(data_root: Path) -> None:
    """The catalog: name, task, shape, licence, and whether it is prepared."""
    from orchestrator import screen
    from orchestrator.data.listing import list_datasets

    _console().print(screen.datasets(list_datasets(data_root)))


@data.command("prepare")
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@DATA
def data_prepare(names: tuple[str, ...], data_root: Path) -> None:
    """Download, verify and split data sets, by name or as described in a pipeline's YAML."""
    for name in names:
        _prepare(name, data_root)


@orchestrate.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--spaces", type=FOLDER, default=Path("search_spaces"), show_default=True,
              help="Folder of search spaces.")  # fmt: skip
def families(names: tuple[str, ...], as_json: bool, spaces: Path) -> None:
    """Each family's variants, tasks, paper and search space, and what its sizes cost on a small example."""
    from orchestrator import screen
    from orchestrator.families import listed

    told = listed(names, spaces)
    if as_json:
        _say(json.dumps(list(told), indent=1, ensure_ascii=False))
        return
    for index, family in enumerate(told):
        _say(("\n" if index else "") + screen.family(family))


@orchestrate.command()
@click.argument("pipeline", type=FILE)
@ADDRESS
@WORKERS
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the YAML.")
@click.option("--only", multiple=True, metavar="SWEEP", help="Of several sweeps in the file, this one.")
@click.option("--dry-run", is_flag=True, help="Print the plan and its cost, and stop.")
@click.option("--fresh", is_flag=True, help="Start over; the run that is there is kept aside.")
@click.option("--renew", is_flag=True, help="Start over if the run that is there came from other code.")
@RUNS
@DATA
def sweep(pipeline: Path, dry_run: bool, **options: Any) -> None:
    """Run a sweep, or go on with one that was interrupted; several of one file run one after the other."""
    from orchestrator import spec

    # Before torch is loaded: a typing error is answered at once.
    specified = spec.load(pipeline, options["overrides"], options["only"])
    from orchestrator import plan
    from orchestrator import sweep as sweeps

    chosen = sweeps.Options(**options)
    out = _console()
    # The data is prepared here, not in the sweep, so that a download shows its progress.
    for one in specified:
        _prepare_dataset(plan.dataset(*one), chosen.data_root, quiet=True)
    again = shlex.join(argument for argument in sys.argv[1:] if argument not in ("--fresh", "--renew"))
    # All of them are checked before the first one runs.
    every = sweeps.prepare(pipeline, chosen)
    for number, planned in enumerate(every, 1):
        if len(every) > 1:
            _say(f"Sweep {number} of {len(every)}: {planned.spec.name}")
        if dry_run:
            _print_plan(planned, chosen.workers, chosen.address)
            continue
        state = sweeps.run(planned, chosen, out, partial(_print_plan, workers=chosen.workers, address=chosen.address))
        _end(chosen.runs / planned.spec.name, state, f"orchestrate {again}")


@orchestrate.command()
@click.argument("run_dir", type=FOLDER)
@ADDRESS
@WORKERS
@DATA
def resume(run_dir: Path, **options: Any) -> None:
    """Go on with an interrupted sweep from its folder alone."""
    from orchestrator import sweep as sweeps

    chosen = sweeps.Options(**options)
    state = sweeps.resume(
        run_dir, chosen, _console(), lambda planned: _print_plan(planned, chosen.workers, chosen.address)
    )
    _end(run_dir, state, _resuming(run_dir, chosen))


@orchestrate.command()
@click.argument("run_dir", type=FOLDER)
@click.option("--trials", type=click.IntRange(1), help="Search trials a cell, those that are there included.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="max_epochs, sizes, data_fractions, …")
@click.option("--spaces", type=FOLDER, help="Folder of search spaces with wider ranges, or of new families.")
@ADDRESS
@WORKERS
@DATA
def extend(run_dir: Path, trials: int | None, overrides: tuple[str, ...], spaces: Path | None, **options: Any) -> None:
    """Go on with a sweep, finished or not, with more of everything and its whole history."""
    from orchestrator import sweep as sweeps

    overrides = (*overrides, *([f"trials={trials}"] if trials else []))
    chosen = sweeps.Options(overrides=overrides, **options)
    state = sweeps.extend(
        run_dir, chosen, spaces, _console(), lambda planned: _print_plan(planned, chosen.workers, chosen.address)
    )
    _end(run_dir, state, _resuming(run_dir, chosen))


@orchestrate.command()
@click.argument("run_dir", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(run_dir: Path, as_json: bool) -> None:
    """How a sweep stands: counts, the best of each cell, what failed and why."""
    from orchestrator.status import status as read

    told = read(run_dir)
    if as_json:
        print(json.dumps(told, indent=1))
        return
    counts = ", ".join(f"{count} {word}" for word, count in told["trials"].items() if count) or "none asked"
    planned = f"of {told['planned']} trials " if told["planned"] else ""
    _say(f"{told['sweep']}: {told['state']}; {planned}{counts}; {told['reports']} epochs")
    _print_cells(told)
    _print_spent(told)
    for failure in told["failures"][:10]:
        _say(f"{failure['trial']} {failure['status']}: {failure['reason'].strip().splitlines()[-1]}")


@orchestrate.command()
@click.argument("run_dir", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--delta", type=float, help="A difference that does not matter.  [default: half the seeds' deviation]")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="That all intervals hold.")
def compare(run_dir: Path, as_json: bool, delta: float | None, confidence: float) -> None:
    """Which family is better, on the test split: or no difference, or what it takes to tell."""
    from orchestrator.report import answers

    found = answers.judged(run_dir, confidence, delta)
    _say(json.dumps(answers.as_json(found), indent=1, allow_nan=False) if as_json else answers.text(found))


@orchestrate.command()
@click.argument("run_dir", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder for trials, reports and cells.")
def export(run_dir: Path, out: Path) -> None:
    """Write a run's tables as Parquet and CSV."""
    from orchestrator.export import write

    for file in write(run_dir, out):
        _say(str(file))


@orchestrate.command()
@click.argument("spec", type=FILE)
@click.option("--out", type=FOLDER, help="Folder for the page.  [default: beside the YAML, by its name]")
@RUNS
def report(spec: Path, out: Path | None, runs: Path) -> None:
    """Make the page: which family wins, how it scales, what was tried."""
    from orchestrator.report import contents, render
    from orchestrator.report.sections import SECTIONS
    from orchestrator.tracking.artifacts import attach_report

    failed = []
    for name in contents.pages(spec):
        try:
            page = render.build(spec, runs, out, name)
        except UserError as error:  # of several pages the others are made all the same
            failed.append(str(error))
            continue
        _say(str(page))
        for run_dir in contents.load(spec, runs, SECTIONS, name).runs:
            try:
                attach_report(run_dir, page.parent, render.files_of(page.parent))
            except Exception as error:  # the page is made; a tracker that is down does not unmake it
                _say(f"Not kept in MLflow: {str(error).partition(chr(10))[0] or type(error).__name__}")
    if failed:
        raise UserError("\n".join(failed))


@orchestrate.command()
@click.argument("table", type=FILE)
@click.option("--loss", required=True, metavar="COLUMN", help="What is to be explained; positive.")
@click.option("--params", metavar="COLUMN", help="N, parameters.")
@click.option("--data", metavar="COLUMN", help="D, samples or tokens seen; without it, C / 6N where C is given.")
@click.option("--compute", metavar="COLUMN", help="C, FLOPs.")
@click.option("--unique", metavar="COLUMN", help="U, samples before any repeats (data-constrained law).")
@click.option("--width", metavar="COLUMN")
@click.option("--depth", metavar="COLUMN")
@click.option("--steps", metavar="COLUMN", help="Training steps (learning curves).")
@click.option("--group", metavar="COLUMN", help="Families to fit and compare, one law each.")
@click.option("--run", metavar="COLUMN", help="Rows of one run are not independent: name it.")
@click.option("--law", metavar="NAME", help="A law's name, or all: ranked by back-test.  [default: by the columns]")
@click.option("--fit", default="huber:1e-3", show_default=True, help="huber:WIDTH, lad or squared.")
@click.option("--on", type=click.Choice(["log", "linear"]), default="log", show_default=True, help="Residuals of …")
@click.option("--drop-highest", type=int, default=0, metavar="K", help="Leave out the K highest losses.")
@click.option("--predict", multiple=True, metavar="N=…,D=…", help="Loss there, with an interval; may be repeated.")
@click.option("--beyond", type=float, help="Decades beyond the data that a prediction may reach.")
@click.option("--bootstrap", type=int, default=200, show_default=True, help="Repeats, by run.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=FOLDER, help="Folder for the fit card and the points.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def scaling(as_json: bool, beyond: float | None, **options: Any) -> None:
    """Fit a scaling law to any table of runs; needs no sweep."""
    from orchestrator.report.scaling.table import Options, analyse, text

    given = options if beyond is None else {**options, "beyond": beyond}
    result = analyse(Options(**given))
    _say(json.dumps(result, indent=1, allow_nan=False) if as_json else text(result))


@orchestrate.command()
@RUNS
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def dashboard(runs: Path, host: str, port: int) -> None:
    """Open MLflow on what was run."""
    from orchestrator.tracking.dashboard import serve

    _say(f"MLflow on http://{host}:{port} (Ctrl-C ends it)")
    serve(runs, host, port)


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2."""
    try:
        orchestrate.main(prog_name="orchestrate", standalone_mode=False)
    except UserError as error:
        _fail(str(error), 2)
    except click.exceptions.NoArgsIsHelpError as error:
        _fail(error.format_message(), 2)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}" if code == 2 else message, file=sys.stderr)
    sys.exit(code)


def _console() -> Any:
    from rich.console import Console

    # Where nobody looks at a screen (a pipe, a log) lines are as long as they are.
    return Console(width=None if sys.stdout.isatty() else 240)


def _say(text: str) -> None:
    click.echo(text)


def _prepare(name: str, data_root: Path) -> None:
    from orchestrator.data import CATALOG
    from orchestrator.documents import nearest

    if name.endswith((".yaml", ".yml")):
        from orchestrator import plan, spec

        for specification, document in spec.load(Path(name)):
            _prepare_dataset(plan.dataset(specification, document), data_root)
    elif name in CATALOG:
        _prepare_dataset(CATALOG[name], data_root)
    else:
        raise UserError(f"unknown data set {name!r}; {nearest(name, CATALOG)}")


def _prepare_dataset(dataset: Any, data_root: Path, quiet: bool = False) -> None:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from orchestrator.data import Card
    from orchestrator.data.card import sample
    from orchestrator.data.prepare import prepare

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = _console()
    # Without a terminal it would leave an empty line for each data set.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def advance(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done)

        folder = prepare(dataset, data_root, advance)
    if not quiet:
        card = Card.read(folder)
        sizes = ", ".join(f"{card.sizes[split]} {split}" for split in ("train", "validation", "test"))
        _say(f"{folder}: {card.task}, {sample(card.input_shape)}, {sizes}; version {card.fingerprint[:12]}")


def _print_plan(planned: Any, workers: int | None, address: str | None) -> None:
    from orchestrator import screen

    _console().print(screen.cells_planned(planned))
    for line in screen.expected(planned, workers, address):
        _say(line)


def _resuming(run_dir: Path, chosen: Options) -> str:
    """The command that goes on with a run in the same way."""
    given = {"--address": chosen.address, "--workers": chosen.workers, "--data-root": chosen.data_root}
    usual = {"--data-root": Path("data")}
    more = [part for key, value in given.items() if value and value != usual.get(key) for part in (key, str(value))]
    return shlex.join(["orchestrate", "resume", str(run_dir), *more])


def _end(run_dir: Path, state: str, again: str) -> None:
    """Say what came out and, where it is not the end, what to do."""
    from orchestrator import records
    from orchestrator.status import status as read

    told = read(run_dir)
    counts = ", ".join(f"{count} {word}" for word, count in told["trials"].items() if count)
    _say(f"{told['sweep']}: {told['state']}; {counts}; {told['reports']} epochs")
    _print_cells(told)
    if state == records.INTERRUPTED:
        _say(f"Interrupted. To go on: {again}")
        sys.exit(130)
    if state == records.STOPPED:
        failed = [one for one in told["failures"] if one["status"] == records.FAILED]
        reason = max(failed, key=lambda one: one["ended"] or 0.0)["reason"]
        _fail(f"{reason.strip()}\nStopped: trials fail one after the other like this. Once it is mended: {again}", 1)
    if not any(told["trials"][word] for word in ("complete", "pruned")):
        why = told["failures"][-1]["reason"].strip() if told["failures"] else "the budget allowed none"
        _fail(f"{run_dir}: no trial came to an end: {why}", 1)
    if told["exhausted"]:
        _print_spent(told)
    _say(f"All of it: {run_dir}   MLflow: orchestrate dashboard")


def _print_spent(told: dict[str, Any]) -> None:
    from orchestrator import screen

    for line in screen.spent(told):
        _say(line)


def _print_cells(told: dict[str, Any]) -> None:
    from orchestrator import screen

    _console().print(screen.cells(told))


if __name__ == "__main__":
    main()
