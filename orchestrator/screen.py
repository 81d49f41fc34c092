"""What the command shows, as tables and lines; the command prints them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.table import Table

from orchestrator.budget import UNITS
from orchestrator.progress import duration
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
        shape = "×".join(map(str, row.shape)) if row.shape else ""
        count = f"{row.rows:,}" if row.rows else ""
        table.add_row(row.name, row.task, shape, count, "yes" if row.prepared else "", row.source, row.licence)
    return table


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


def expected(planned: Plan, workers: int | None, address: str | None) -> list[str]:
    """What the sweep will cost, and its budget. Times a short training of each family and size, here and now."""
    from orchestrator import plan  # brings torch, for which `status` must not wait

    sweep = planned.spec
    # What machines of a cluster will take can't be measured here, nor are they known to stay.
    slots = 1 if address else plan.slots(sweep, workers).count
    cost = plan.forecast(planned, None if address else plan.probe(planned), slots)
    time = "" if cost.seconds is None else f", {duration(cost.seconds / slots)} of training"
    where = f"the cluster at {address}" if address else f"{slots} workers"
    each = f"{sweep.trials} trials" if sweep.trials < NO_LIMIT else "as many trials as the budget pays"
    lines = [
        f"{len(planned.cells)} cells × ({each} + {sweep.finalists} finalists) = {cost.trials} "
        f"trials on {where}; about {cost.epochs:,.0f} epochs (at most {cost.most_epochs:,}), "
        f"{cost.flops:.1e} FLOPs{time}"
    ]
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
        table.add_row(row["cell"], f"{row['params']:,}", f"{row['train_samples']:,}", best, tested)
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
