"""What was the budget spent on, and how much of it was wasted?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
from markupsafe import Markup

from orchestrator.budget import UNITS
from orchestrator.report import costs, svg, theme, wording
from orchestrator.report.costs import USES
from orchestrator.report.frames import Header
from orchestrator.report.pieces import Column, Context, Figure, Row, Section, Table, family_mark, paragraph

# Colours of what became of a trial, where there is one; every bar also carries its name.
COLOURS: Mapping[str, str] = {
    "searched": "complete",
    "stopped": "pruned",
    "finalists": "running",
    "former": "running",
    "diverged": "diverged",
    "failed": "failed",
    "repeated": "failed",
    "open": "muted",
}
SHORT: Mapping[str, Callable[[float], str]] = {
    "trials": wording.count,
    "hours": lambda value: wording.duration(3600 * value),
    "worker_hours": lambda value: wording.duration(3600 * value),
    "flops": wording.flop,
}
NAMES = {"trials": "trials", "hours": "time on the clock", "worker_hours": "time of workers", "flops": "compute"}
HEIGHT = 36


def section(context: Context) -> Section:
    spent = costs.of_trials(context.frames)
    uses = costs.by_use(spent)
    numbers: dict[str, float | int | None] = {"worker_hours": float(uses["worker_hours"].sum())}
    numbers |= {f"wasted_{unit}_share": costs.share_of_waste(uses, unit) for unit in ("worker_hours", "flops")}
    return Section(
        question="What was the budget spent on, and what was wasted?",
        answer=_answer(context, uses),
        blocks=[(_figure(uses), _table(uses), _limits(context)), _families(context, spent), _method()],
        numbers=numbers,
    )


def _answer(context: Context, uses: pd.DataFrame) -> Markup:
    total = uses["worker_hours"].sum()
    if not total:
        return Markup("Nothing yet: no worker has been busy.")
    unit = "worker_hours"
    main = uses[~uses["use"].isin(costs.WASTE)]
    parts = [f"{wording.percent(row[unit] / total)} for {USES[row['use']]}" for row in _rows(main)]
    lost = [
        f"{wording.percent(row[unit] / total)} {_lost(row['use'])}"
        for row in _rows(uses[uses["use"].isin(costs.WASTE)])
        if row[unit]
    ]
    text = Markup("Workers were busy for {}, with {} of training: {}. ").format(
        wording.duration(3600 * total), wording.flop(uses["flops"].sum()), wording.listing(parts)
    )
    if lost:
        share = costs.share_of_waste(uses, unit)
        text += Markup("Wasted: {} ({}). ").format(wording.percent(share), wording.listing(lost))
    else:
        text += Markup("Nothing was wasted. ")
    return text + Markup(" ").join(_against_limits(header) + _before(header) for header in context.frames.headers)


def _lost(use: str) -> str:
    words = {
        "diverged": "on trials that diverged",
        "failed": "on trials that failed",
        "repeated": "on doing work again",
    }
    return words[use]


def _against_limits(header: Header) -> str:
    limits, spent = header.get("limits") or {}, header.get("spent") or {}
    if not limits:
        return f"{header['name']} had no budget but its number of trials."
    used = [
        f"{wording.percent(spent.get(kind, 0.0) / limit)} of {SHORT[kind](limit)} ({NAMES[kind]})"
        for kind, limit in limits.items()
    ]
    ended = header.get("exhausted") or {}
    why = f", which ended the search ({NAMES[ended['limit']]})" if ended.get("limit") in NAMES else ""
    return f"{header['name']} used {wording.listing(used)} of its budget{why}."


def _before(header: Header) -> str:
    """What was spent on the weights that it starts from: each sweep that has left them, as a whole."""
    first = {one["sweep"]: one for one in header.get("starts") or ()}
    return "".join(
        f" Before it, {name} took {wording.duration(3600 * one['worker_hours'])} of workers, with "
        f"{wording.flop(one['flops'])} of training, for the weights that it starts from; that is not counted here."
        for name, one in first.items()
    )


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _figure(uses: pd.DataFrame) -> Figure:
    name = "budget"
    caption = Markup(
        "Time for which workers were busy, and training compute, by what they went into. Search that was stopped "
        "early is not waste: it is what told that those settings were not worth more."
    )
    units = [
        unit
        for unit in ("worker_hours", "flops")
        if uses[unit].sum() > 0  # nothing has been spent yet in a sweep's first seconds
    ]
    panels, said = [], []
    for unit in units:
        with theme.style(f"{name}-{unit}"):
            panels.append(_bars(uses[uses[unit] > 0], unit))
        total = uses[unit].sum()
        shares = [f"{USES[row['use']]} {wording.percent(row[unit] / total)}" for row in _rows(uses)]
        said.append(f"{NAMES[unit]}: {', '.join(shares)}")
    lacking = "" if panels else "No worker has been busy yet."
    return Figure(name, f"Bars of what was spent. {'; '.join(said)}.", caption, panels, columns=1, lacking=lacking)


def _bars(uses: pd.DataFrame, unit: str) -> str:
    drawing, axes = theme.panel(height=46 + HEIGHT * len(uses), left=4, right=4, top=34, bottom=12)
    total = float(uses[unit].sum())
    for place, row in enumerate(_rows(uses)):
        share = row[unit] / total
        axes.barh(-place, share, height=0.26, color=theme.drawn(COLOURS[row["use"]]))
        words = f"{USES[row['use']]}: {SHORT[unit](row[unit])}, {wording.percent(share)}"
        axes.text(0, -place + 0.22, words, va="bottom", color=theme.drawn("ink"), fontsize=10.5)
    axes.set(xlim=(0, 1), ylim=(-len(uses) + 0.7, 0.7), xticks=[], yticks=[])
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    theme.titles(axes, f"{NAMES[unit].capitalize()}: {SHORT[unit](total)}")
    return svg.text_of(drawing)


def _table(uses: pd.DataFrame) -> Table:
    totals = {unit: float(uses[unit].sum()) or 1.0 for unit in ("worker_hours", "flops")}
    frame = uses.assign(
        worker_hours_share=uses["worker_hours"] / totals["worker_hours"], flops_share=uses["flops"] / totals["flops"]
    )
    return Table(
        "budget",
        "What was spent, by what became of it",
        frame,
        [
            Column("Use", lambda row: USES[row["use"]].capitalize()),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("Time of workers", lambda row: wording.duration(3600 * row["worker_hours"]), True),
            Column("Share", lambda row: wording.percent(row["worker_hours_share"]), True),
            Column("Compute", lambda row: _compute(row), True),
            Column(
                "Share", lambda row: wording.NOTHING if _unknown(row) else wording.percent(row["flops_share"]), True
            ),
        ],
    )


def _unknown(row: Row) -> bool:
    return bool(row["use"] == "repeated")


def _compute(row: Row) -> str:
    return "not recorded" if _unknown(row) else wording.flop(row["flops"])


def _limits(context: Context) -> Table:
    rows = []
    for header in context.frames.headers:
        limits, spent = header.get("limits") or {}, header.get("spent") or {}
        for kind, unit in UNITS.items():
            limit, used = limits.get(kind), spent.get(kind)
            share = used / limit if limit and used is not None else None
            rows.append({"sweep": header["name"], "cost": kind, "unit": unit, "spent": used, "limit": limit,
                         "share": share})  # fmt: skip
    frame = pd.DataFrame(rows, columns=["sweep", "cost", "unit", "spent", "limit", "share"])
    frame = frame.astype(dict.fromkeys(("spent", "limit", "share"), float))
    return Table(
        "budget-limits",
        "Against the budget",
        frame,
        [
            Column("Sweep", lambda row: row["sweep"]),
            Column("Cost", lambda row: NAMES[row["cost"]].capitalize()),
            Column("Spent", lambda row: _amount(row, "spent"), True),
            Column("Limit", lambda row: "none" if wording.missing(row["limit"]) else _amount(row, "limit"), True),
            Column("Used", lambda row: wording.percent(row["share"]), True),
        ],
        group="sweep",
    )


def _amount(row: Row, column: str) -> str:
    return wording.NOTHING if wording.missing(row[column]) else SHORT[row["cost"]](row[column])


def _families(context: Context, spent: pd.DataFrame) -> Table:
    parts = [costs.by_use(spent, family).assign(family=family) for family in context.frames.families]
    frame = pd.concat(parts, ignore_index=True)[["family", "use", "trials", "worker_hours", "flops"]]
    return Table(
        "budget-families",
        "The same for each family",
        frame,
        [
            Column("Family", lambda row: family_mark(context, row["family"])),
            Column("Use", lambda row: USES[row["use"]]),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("Time of workers", lambda row: wording.duration(3600 * row["worker_hours"]), True),
            Column("Compute", lambda row: _compute(row), True),
        ],
        group="family",
        tall=True,
        folded=True,
    )


def _method() -> Markup:
    return paragraph(
        "Waste is what went into trials that diverged or failed, and into work done again after a worker was lost or "
        "the sweep was killed or paused. The last is an estimate: the time beyond what a family’s epochs usually keep "
        "a worker busy for; its compute is not recorded. An epoch in which a trial broke off counts whole."
    )
