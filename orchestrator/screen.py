"""What the command shows, as tables and lines; the command prints them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from rich.table import Table

from orchestrator.budget import UNITS
from orchestrator.data.card import sample
from orchestrator.progress import duration
from orchestrator.report.wording import short
from orchestrator.spec import NO_LIMIT

if TYPE_CHECKING:
    from orchestrator.data.listing import Row
    from orchestrator.plan import Plan


def datasets(rows: Iterable[Row]) -> Table:
    """The catalog: name, task, shape, rows, licence, and whether it is prepared."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "task", "shape", "rows", "prepared", "source", "licence"):
        table.add_column(name, justify="right" if name == "rows" else "left", no_wrap=name != "licence")
    for row in rows:
        shape = sample(row.shape) if row.shape else ""
        count = f"{row.rows:,}" if row.rows else ""
        table.add_row(row.name, row.task, shape, count, "yes" if row.prepared else "", row.source, row.licence)
    return table


COLUMNS = 100


def family(told: dict[str, Any]) -> str:
    """A family as `families.listed` tells it: a block of lines of at most `COLUMNS`."""
    variants = _variants(told["variants"])
    for task, about in told["tasks"].items():
        variants += [f"{variant} ({task})" for variant in _variants(about["choices"])]
    about = {
        "paper": told["paper"],
        "variants": "; ".join(variants) or "none",
        "search space": told["search_space"] + ("" if told["search_space_exists"] else ": no such file"),
        "size sets": ", ".join(next(iter(told["sizes"].values()))),
    }
    if told["extra"]:
        state = "installed" if told["installed"] else f"pip install -c constraints.txt -e '.[{told['extra']}]'"
        about["extra"] = f"{told['extra']}: {state}"
    lines = [told["family"]]
    for word, text in about.items():
        lines += textwrap.wrap(f"  {word:<15}{text}", COLUMNS, subsequent_indent=17 * " ", break_on_hyphens=False)
    lines.append(f"  {'':<43}" + "".join(f"{size:>11}" for size in told["sizes"]))
    for task, about in told["tasks"].items():
        lines += _counted(task, about)
    return "\n".join(lines)


def _variants(choices: dict[str, list[Any]]) -> list[str]:
    """`pooling: last, mean, max`; what is on or off by its name alone."""
    return [name if values == [False, True] else f"{name}: {', '.join(values)}" for name, values in choices.items()]


def _counted(task: str, about: dict[str, Any]) -> list[str]:
    """Lines of one task: its example, and what a network of each size has and costs on that."""
    beside = [task, _example(about["example"]), *([f"for {about['data']}"] if about["data"] != task else [])]
    counts = about["counts"]
    if counts is None:
        return [f"  {task:<27}not counted without the extra"]
    numbers = {"parameters": [f"{one['params']:,}" for one in counts.values()]}
    bare = [f"{one['params_without_embeddings']:,}" for one in counts.values()]
    if bare != numbers["parameters"]:
        numbers["no embeddings"] = bare
    numbers["FLOPs a sample"] = [short(one["flops_per_sample"]) for one in counts.values()]
    lines = [f"{word:<16}" + "".join(f"{text:>11}" for text in texts) for word, texts in numbers.items()]
    return [f"  {left:<27}{right}".rstrip() for left, right in zip_longest(beside, lines, fillvalue="")]


def _example(example: dict[str, Any]) -> str:
    outputs = f" → {example['outputs']}"
    if example["kind"] == "tokens":
        return f"{example['time']} of {example['vocabulary']} tokens{outputs}"
    if example["kind"] == "windows":
        return f"{example['time']} steps of {example['channels']}{outputs}"
    if example["kind"] == "graphs":
        return f"{example['mean_nodes']} nodes{outputs}"
    return "×".join(map(str, example["shape"])) + outputs


def cells_planned(planned: Plan) -> Table:
    """Each family and size: parameters, training rows by data fraction, FLOPs of training a row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("family", "size", "parameters", "training rows", "FLOPs a row"):
        table.add_column(name, justify="left" if name in ("family", "size") else "right")
    for family in planned.spec.families:
        for size in planned.spec.sizes:
            mine = [cell for cell in planned.cells if (cell.family, cell.size) == (family, size)]
            rows = " / ".join(f"{cell.train_samples:,}" for cell in mine)
            table.add_row(family, size, f"{mine[0].params:,}", rows, f"{mine[0].flops:,}")
    return table


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def expected(planned: Plan, workers: int | None, address: str | None) -> list[str]:
    """What the sweep will cost, and its budget. Times a short training of each family and size, here and now."""
    # These bring torch, for which `status` must not wait.
    from orchestrator import plan
    from orchestrator.forecast import forecast, probe

    sweep = planned.spec
    # What machines of a cluster will take can't be measured here, nor are they known to stay.
    slots, paces = 1, None
    if not address:
        here = plan.slots(sweep, workers)
        slots, paces = here.count, probe(planned, "cuda" if here.gpus else "cpu")
    cost = forecast(planned, paces, slots)
    where = f"the cluster at {address}" if address else _count(slots, "worker")
    each = _count(sweep.trials, "trial") if sweep.trials < NO_LIMIT else "as many trials as the budget pays"
    if any(sweep.trials_of(cell, planned.cells) < sweep.trials for cell in planned.cells):
        each += f", {sweep.transfer_trials} where smaller ones lead,"
    finalists = _count(sweep.finalists, "finalist")
    if sweep.finalists_on is not None:
        finalists += " on " + " and ".join(f"{100 * fraction:g} %" for fraction in sweep.finalists_on)
    lines = [f"{_count(len(planned.cells), 'cell')} × ({each} + {finalists})"]
    if cost is None:
        lines[0] += f" on {where}"
    else:
        time = "" if cost.seconds is None else f", {duration(cost.seconds / slots)} of training"
        lines[0] += (
            f" = {_count(cost.trials, 'trial')} on {where}; about {cost.epochs:,.0f} epochs "
            f"(at most {cost.most_epochs:,}), {cost.flops:.1e} FLOPs{time}"
        )
    if sweep.start_from:
        known = [str(start) for start in planned.starts] or [
            f"{family} from what {name} will have learnt" for family, name in sweep.start_from.items()
        ]
        lines.append(f"Starts: {'; '.join(known)}")
    if address and sweep.storage is None:
        lines.append("Without storage: in the pipeline, every node of the cluster must see the run's folder.")
    if limits := sweep.budget.limits():
        lines.append("Budget: " + ", ".join(f"{value:,g} {UNITS[key]}" for key, value in limits.items()))
    return lines


def cells(told: dict[str, Any]) -> Table:
    """Each cell's best and its finalists' test result, of what `status` tells."""
    test = told["metric"].replace("validation_", "test_", 1)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("cell", "parameters", "rows", f"best {told['metric']}", f"{test} of finalists"):
        table.add_column(name, justify="left" if name == "cell" else "right")
    for row in told["cells"]:
        best = "" if row["best"] is None else f"{row['best']:.4g}"
        spread = "" if row["test_sd"] is None else f" ± {row['test_sd']:.2g}"
        tested = "" if row["test"] is None else f"{row['test']:.4g}{spread} ({row['finals']})"
        params = f"{row['best_params'] or row['params']:,}"
        table.add_row(row["cell"], params, f"{row['train_samples']:,}", best, tested)
    return table


def spent(told: dict[str, Any]) -> list[str]:
    """What was spent, of what budget, on what; and how the sweep was extended."""
    costs = []
    for key, value in told["spent"].items():
        amounts = [value, *([told["budget"][key]] if key in told["budget"] else [])]
        hours = key.endswith("hours")
        said = " of ".join(duration(3600 * one) if hours else f"{one:,.4g}" for one in amounts)
        costs.append(f"{said} {'of workers' if key == 'worker_hours' else '' if hours else UNITS[key]}".strip())
    lines = [f"Spent: {', '.join(costs)}"]
    by_status = told["spent_by_status"]
    if total := sum(cost["worker_hours"] for cost in by_status.values()):
        shares = [f"{cost['worker_hours'] / total:.0%} {status}" for status, cost in by_status.items()]
        lines.append(f"Of the workers' time: {', '.join(shares)}")
    if told["exhausted"]:
        lines.append(f"The search ended because the budget's {UNITS[told['exhausted']['limit']]} were used up.")
    return [*lines, *(f"Extended: {'; '.join(one['changes'])}" for one in told["extensions"])]
