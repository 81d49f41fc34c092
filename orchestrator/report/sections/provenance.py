"""Where does each number come from? Every trial with its id, seed and configuration; the specification."""

from __future__ import annotations

import json

import yaml
from markupsafe import Markup

from orchestrator.records import Start
from orchestrator.report import frames as run_frames
from orchestrator.report import wording
from orchestrator.report.pieces import Column, Context, Section, Table, configuration, family_mark, paragraph


def section(context: Context) -> Section:
    trials = context.frames.trials
    many = len(trials) > context.options.rows
    listed = "those that this page refers to are listed here, all are in the CSV" if many else "all are listed here"
    sweeps = wording.listing([str(header["name"]) for header in context.frames.headers])
    answer = Markup("From {} of {}: {}. A run’s id leads to its row, with its seed and its configuration.").format(
        wording.plural(len(trials), "trial"), sweeps, listed
    )
    return Section(
        question="Where does each number come from?",
        answer=answer,
        blocks=[
            _table(context, many),
            *(_starts(header) for header in context.frames.headers if header.get("starts")),
            *(_record(header) for header in context.frames.headers),
        ],
    )


def _table(context: Context, many: bool) -> Table:
    metric, test = wording.metric(context.frames.metric), f"test_{context.frames.metric}"
    trials = context.frames.trials
    return Table(
        "trials",
        "Trials" + (" that this page refers to" if many else ""),
        trials,
        [
            Column("Run", lambda row: family_mark(context, row["family"], row["trial"])),
            Column("Kind", lambda row: row["kind"]),
            Column("Status", lambda row: Markup('<span class="status {0}">{0}</span>').format(row["status"])),
            Column(f"Validation {metric}", lambda row: wording.number(row["value"]), True),
            Column(f"Test {metric}", lambda row: wording.number(row.get(test)), True),
            Column("Epochs", lambda row: wording.count(row["epochs"]), True),
            Column("Compute", lambda row: wording.flop(row["flops"]), True),
            Column("Time", lambda row: wording.duration(row["seconds"]), True),
            Column("Seed", lambda row: str(row["seed"]), True),
            Column("Configuration", lambda row: configuration(_of_json(row["config"])), words=True),
        ],
        anchor="trial",
        referred_only=many,
        tall=True,
    )


def _of_json(text: object) -> dict[str, object]:
    return dict(json.loads(text)) if isinstance(text, str) else {}


def _starts(header: run_frames.Header) -> Markup:
    starts = "; ".join(str(Start(**one)) for one in header["starts"])
    return paragraph("What the trainings of {} start from: {}.", header["name"], starts)


def _record(header: run_frames.Header) -> Markup:
    card, known = run_frames.data_card(header), run_frames.provenance(header)
    record = {
        "sweep": header["name"],
        "specification": dict(header["spec"]),
        "fingerprint": header.get("fingerprint"),
        "search_spaces": header.get("spaces", {}),
        **({"starts": header["starts"]} if header.get("starts") else {}),
        "data": {key: card.get(key) for key in ("name", "fingerprint", "source", "licence", "normalization")},
        "commit": known["commit"],
        "versions": dict(known["versions"]),
        "hosts": known["hosts"],
    }
    # Through JSON: tuples and other containers of the journal become plain lists for YAML.
    text = yaml.safe_dump(json.loads(json.dumps(record, default=str)), sort_keys=False, allow_unicode=True, width=100)
    return Markup(
        '<details class="record"><summary>Specification, search spaces and versions of {}</summary>'
        '<pre tabindex="0">{}</pre></details>'
    ).format(header["name"], text)
