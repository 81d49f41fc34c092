"""What does each family make? Images, by the network of the finalist that was best in validation."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from html import escape

import pandas as pd
from markupsafe import Markup

from orchestrator.errors import UserError
from orchestrator.report import wording
from orchestrator.report.pieces import Context, Figure, Section, families_marked, trial_links
from orchestrator.report.theme import WIDTH
from orchestrator.training.network import Network
from orchestrator.training.samples import SIDE, sheet

LINE = 26  # pixels above a sheet, for the family's name


def section(context: Context) -> Section | None:
    """None where nothing is generated, or no finalist has ended yet."""
    best = _best(context)
    if context.frames.card.get("task") != "generation" or best.empty:
        return None
    panels = [_sheet(context, row) for _, row in best.iterrows()]
    shown = best[[bool(panel) for panel in panels]]
    families, trials = list(shown["family"]), list(shown["trial"])
    number = wording.plural(SIDE**2, "image")
    figure = Figure(
        "samples",
        f"{number} by each of {wording.listing(families)}.",
        Markup("By the finalist of each family that was best in validation: {}.").format(trial_links(trials, trials)),
        [panel for panel in panels if panel],
        lacking="The networks of the finalists are not beside the journal, or are of another version.",
    )
    answer = Markup("{} by each of {}, as they came.").format(number, families_marked(context, families))
    return Section("What do they make?", answer if families else Markup("Nothing that could be shown."), [figure])


def _best(context: Context) -> pd.DataFrame:
    """A finalist of each family, in the families' order."""
    frames = context.frames
    finals = frames.finals[frames.finals["value"].notna()]
    first = finals.sort_values("value", ascending=frames.best_first(), kind="stable").groupby("family").head(1)
    return first.sort_values("family", key=lambda names: names.map(frames.families.index), ignore_index=True)


def _sheet(context: Context, row: pd.Series) -> str:
    """A panel; "" where the weights are gone."""
    from PIL import Image

    network = Network(row["family"], row["size"], json.loads(row["config"]), context.frames.card)
    try:
        made = sheet(network.filled(context.frames.weights(row["trial"])))
    except UserError:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(made.squeeze(-1) if made.shape[-1] == 1 else made).save(buffer, "PNG")
    height = round(WIDTH * made.shape[0] / made.shape[1])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height + LINE}" '
        f'viewBox="0 0 {WIDTH} {height + LINE}">'
        f'<text y="14" style="font-size: 11.5px; fill: {context.dress.colour(row["family"])}">'
        f"{escape(row['family'])}</text>"
        f'<image y="{LINE}" width="{WIDTH}" height="{height}" style="image-rendering: pixelated" '
        f'href="data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"/></svg>'
    )
