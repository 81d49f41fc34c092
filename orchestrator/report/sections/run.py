"""What was run, on which data, with which versions, and where did the time and the compute go?"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from orchestrator.data.card import sample, shape
from orchestrator.records import COMPLETE, DIVERGED, ENDED, FAILED, PRUNED, SEARCH, STATUSES
from orchestrator.report import costs, svg, theme, wording
from orchestrator.report import frames as run_frames
from orchestrator.report.pieces import Column, Context, Figure, Section, Table, definitions
from orchestrator.spec import NO_LIMIT

KINDS = ("search", "finalists")
SPLITS = ("train", "validation", "test")


def section(context: Context) -> Section:
    spent = spending(context)
    by_status = spent.groupby("status")[["trials", "epochs", "seconds", "flops"]].sum()
    total = by_status.sum()
    ended = {status: int(by_status["trials"].get(status, 0)) for status in ENDED}
    numbers: dict[str, float | int | None] = {"trials": int(total["trials"]), "epochs": int(total["epochs"])}
    numbers |= dict(ended) | {"training_seconds": float(total["seconds"]), "training_flops": float(total["flops"])}
    return Section(
        question="What was run?",
        answer=_answer(context, total, ended, _unfinished_share(by_status)),
        blocks=[(_figure(spent), _table(spent)), *(_facts(header) for header in context.frames.headers)],
        numbers=numbers,
    )


def spending(context: Context) -> pd.DataFrame:
    """Trials, epochs, training seconds and FLOPs per kind and status; broken-off epochs count, as in `costs`."""
    trials = context.frames.trials
    kind = (trials["kind"] == SEARCH).map({True: "search", False: "finalists"})
    flops = costs.of_trials(context.frames)["flops"]
    grouped = trials.assign(kind=kind, flops=flops).groupby(["kind", "status"], sort=False)
    frame = grouped.agg(
        trials=("trial", "size"), epochs=("epochs", "sum"), seconds=("seconds", "sum"), flops=("flops", "sum")
    ).reset_index()
    order = {name: place for place, name in enumerate((*KINDS, *STATUSES[2:], *STATUSES[:2]))}
    return frame.sort_values(["kind", "status"], key=lambda names: names.map(order), ignore_index=True)


def _unfinished_share(by_status: pd.DataFrame) -> float:
    """Of all training FLOPs, those of trials that were stopped, diverged or failed."""
    total = float(by_status["flops"].sum())
    lost = float(sum(by_status["flops"].get(status, 0.0) for status in (PRUNED, DIVERGED, FAILED)))
    return lost / total if total else 0.0


def _answer(context: Context, total: pd.Series, ended: dict[str, int], share: float) -> Markup:
    card, frames = context.frames.card, context.frames
    waiting = int(total["trials"]) - sum(ended.values())
    counts = [
        f"{ended[COMPLETE]:,} ran to their end",
        f"{ended[PRUNED]:,} {'was' if ended[PRUNED] == 1 else 'were'} stopped early",
        f"{ended[DIVERGED]:,} diverged",
        f"{ended[FAILED]:,} failed",
    ]
    said = [text for text, status in zip(counts, (COMPLETE, PRUNED, DIVERGED, FAILED), strict=True) if ended[status]]
    if waiting:
        said.append(f"{waiting:,} {'has' if waiting == 1 else 'have'} not ended")
    return Markup(
        "{} over {} × {} × {} on {}: {}. Training took {} and {}; {} of that compute went into trials that "
        "were stopped, diverged or failed."
    ).format(
        _trials(frames),
        wording.plural(len(frames.families), "family", "families"),
        wording.plural(len(frames.sizes), "size"),
        wording.plural(len(frames.fractions), "data fraction"),
        card.get("name", "unnamed data"),
        wording.listing(said),
        wording.duration(float(total["seconds"])),
        wording.flop(float(total["flops"])),
        wording.percent(share),
    )


def _trials(frames: run_frames.Frames) -> str:
    """A finalist is a trial too, but none of the search."""
    total, searched = len(frames.trials), len(frames.search)
    if searched in (0, total):
        return wording.plural(total, "trial")
    return f"{wording.plural(total, 'trial')} ({searched:,} of the search and {total - searched:,} of finalists)"


def _figure(spent: pd.DataFrame) -> Figure:
    name = "spending"
    by_status = spent.groupby("status", sort=False)[["trials", "seconds", "flops"]].sum()
    statuses = [
        status for status in (COMPLETE, PRUNED, DIVERGED, FAILED, "running", "asked") if status in by_status.index
    ]
    measures = (
        ("trials", "trials", wording.count),
        ("seconds", "training time", wording.duration),
        ("flops", "training compute", wording.flop),
    )
    with theme.style(name):
        figure, axes = theme.panel(height=214, left=4, right=4, top=8, bottom=34)
        for place, (column, title, say) in enumerate(measures):
            total = float(by_status[column].sum())
            left = 0.0
            for status in statuses:
                share = float(by_status[column][status]) / total if total else 0.0
                colour = theme.drawn(status if status in theme.PALETTE else "running")
                axes.barh(
                    -place, share, left=left, height=0.34, color=colour, edgecolor=theme.drawn("paper"), linewidth=1
                )
                left += share
            axes.text(0, -place + 0.29, f"{title}: {say(total)}", va="bottom", color=theme.drawn("ink"))
        axes.set(xlim=(0, 1), ylim=(-2.3, 0.7), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        _key(axes, statuses)
        panel = svg.text_of(figure)
    said = wording.listing(
        [f"{wording.percent(by_status['flops'][s] / max(by_status['flops'].sum(), 1))} {s}" for s in statuses]
    )
    return Figure(
        name,
        f"Bars of trials, training time and training compute by what became of the trial; compute: {said}.",
        Markup("Trials, training time and training compute by what became of the trial."),
        [panel],
    )


def _key(axes: Axes, statuses: list[str]) -> None:
    x = 0.0
    for status in statuses:
        colour = theme.drawn(status if status in theme.PALETTE else "running")
        axes.annotate("■", (x, 0), xytext=(0, -20), xycoords="axes fraction", textcoords="offset pixels", color=colour)
        axes.annotate(
            status,
            (x, 0),
            xytext=(13, -20),
            xycoords="axes fraction",
            textcoords="offset pixels",
            color=theme.drawn("muted"),
        )
        x += (25 + 6.6 * len(status)) / (theme.WIDTH - 8)


def _table(spent: pd.DataFrame) -> Table:
    return Table(
        "spending",
        "Spent on trials, by kind and by what became of them",
        spent,
        [
            Column("Kind", lambda row: row["kind"]),
            Column("Status", lambda row: Markup('<span class="status {0}">{0}</span>').format(row["status"])),
            Column("Trials", lambda row: wording.count(row["trials"]), True),
            Column("Epochs", lambda row: wording.count(row["epochs"]), True),
            Column("Training time", lambda row: wording.duration(row["seconds"]), True),
            Column("Compute", lambda row: wording.flop(row["flops"]), True),
        ],
    )


def _facts(header: run_frames.Header) -> Markup:
    card, known = run_frames.data_card(header), run_frames.provenance(header)
    spec = header["spec"]
    sizes = card.get("sizes", {})
    one = sample(shape(card)).replace("×", " × ") if card.get("input_shape") else "?"
    classes = f", {len(card['classes'])} classes" if card.get("classes") else f", {card.get('outputs', '?')} outputs"
    stopping = spec.get("early_stopping", {})
    data = definitions(
        [
            (
                "Data",
                Markup("<strong>{}</strong>, {}{}; one input {}").format(
                    card.get("name", "?"), card.get("task", "?"), classes, one
                ),
            ),
            ("Rows", _rows(sizes, spec.get("data_fractions", [1.0]))),
            ("Licence", card.get("licence", "not stated")),
            ("Data version", Markup("<code>{}</code>").format(str(card.get("fingerprint", "?"))[:16])),
        ]
    )
    sweep = definitions(
        [
            ("Sweep", Markup("<strong>{}</strong>, {}").format(header["name"], header.get("state") or "not finished")),
            (
                "Search",
                f"{spec.get('sampler', {}).get('name', '?')}, {_searched(spec)}; "
                f"early stopping by {stopping.get('name', '?')}",
            ),
            (
                "Each trial",
                f"at most {wording.plural(spec.get('max_epochs', 0), 'epoch')}, judged by "
                f"{wording.metric(spec.get('metric', '?'))} at its best epoch",
            ),
            ("Finalists", _finalists(spec)),
            ("Ran", _ran(header, known)),
        ]
    )
    versions = definitions(
        [
            *((package, version) for package, version in known["versions"].items() if isinstance(version, str)),
            (
                "commit",
                Markup("<code>{}</code>{}").format(
                    str(known["commit"] or "not known")[:12], " with uncommitted changes" if known["dirty"] else ""
                ),
            ),
        ]
    )
    return (
        Markup('<div class="cards">')
        + Markup("").join(
            Markup("<div><h3>{}</h3>{}</div>").format(title, body)
            for title, body in (("Data card", data), ("Sweep", sweep), ("Versions", versions))
        )
        + Markup("</div>")
    )


def _searched(spec: Mapping[str, Any]) -> str:
    trials, led = spec.get("trials", 0), spec.get("transfer_trials")
    each = wording.plural(trials, "trial") + " a cell" if trials < NO_LIMIT else "as many trials as the budget paid for"
    return each if led is None else f"{each}, {wording.count(led)} where smaller cells led"


def _finalists(spec: Mapping[str, Any]) -> str:
    seeds, on = wording.plural(spec.get("finalists", 0), "fresh seed"), spec.get("finalists_on")
    if on is None:
        return f"{seeds} a cell"
    return f"{seeds} a cell with {wording.listing([wording.percent(fraction) for fraction in on])} of the training rows"


def _rows(sizes: Mapping[str, int], fractions: Sequence[float]) -> str:
    """Of each split; of the training split also the parts that cells were trained on."""
    counts = wording.listing([f"{wording.count(sizes[split])} {split}" for split in SPLITS if split in sizes])
    if list(fractions) == [1.0]:
        return counts
    parts = wording.listing([wording.percent(fraction) for fraction in fractions])
    return f"{counts}; cells had {parts} of the training rows"


def _ran(header: run_frames.Header, known: dict[str, object]) -> str:
    ended = header.get("ended")
    verb = "ended" if header.get("state") else "last heard of"
    when = f"{verb} {datetime.datetime.fromtimestamp(float(ended), datetime.UTC):%Y-%m-%d %H:%M} UTC, " if ended else ""
    least = "at least " if known["killed"] else ""
    wall = f"{least}{wording.duration(known['wall'])} on the clock" if isinstance(known["wall"], float) else ""
    workers = f", {wording.plural(known['workers'], 'worker')}" if isinstance(known["workers"], int) else ""
    cores = f" on {wording.plural(known['cores'], 'core')}" if isinstance(known["cores"], int) else ""
    sessions = (
        f", in {known['sessions']} sessions" if isinstance(known["sessions"], int) and known["sessions"] > 1 else ""
    )
    return f"{when}{wall}{workers}{cores}{sessions}"
