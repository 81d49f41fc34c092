"""What generators make, on the page: of each family by its best finalist, where its weights are still there."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from orchestrator.records import COMPLETE, FINAL, model_file
from orchestrator.report.contents import Options
from orchestrator.report.frames import Frames
from orchestrator.report.pieces import Context, Figure, Section
from orchestrator.report.sections import samples
from orchestrator.report.theme import Dress
from orchestrator.training import checkpoint
from orchestrator.training.network import Network
from orchestrator.training.samples import sheet

CARD = {"name": "digits_images", "task": "generation", "input_shape": [1, 8, 8], "outputs": 64}
FINALISTS = (("vae-xs-1-f000", "vae", 30.0), ("vae-xs-1-f001", "vae", 20.0), ("gan-xs-1-f000", "gan", 40.0))


@pytest.fixture
def networks(tmp_path: Path) -> dict[str, torch.nn.Module]:
    """Of each finalist, with weights large enough to be seen, left where a sweep leaves them."""
    made = {}
    for seed, (trial, family, _) in enumerate(FINALISTS):
        checkpoint.save(model_file(tmp_path, trial), state(family, "xs", seed))
        made[trial] = Network(family, "xs", {}, CARD).filled(model_file(tmp_path, trial))
    return made


def state(family: str, size: str, seed: int) -> dict[str, Any]:
    from orchestrator.training.parameters import split_config

    torch.manual_seed(seed)
    settings = split_config(family, size, "generation", {})
    return {
        name: 10 * one if one.is_floating_point() else one
        for name, one in settings.family.build(settings.model, (1, 8, 8), 64).state_dict().items()
    }


def context(run_dir: Path, card: dict[str, Any] = CARD) -> Context:
    rows = [
        {"trial": trial, "family": family, "size": "xs", "config": json.dumps({}), "value": value}
        for trial, family, value in FINALISTS
    ]
    trials = pd.DataFrame(rows).assign(kind=FINAL, status=COMPLETE)
    none, families = pd.DataFrame(), ("vae", "gan")
    headers = ({"name": "new", "card": card},)
    read = Frames(trials, none, none, headers, families, ("xs",), (1.0,), "frechet", "min", (run_dir,))
    return Context(read, Options(), Dress(families))


def figure(section: Section | None) -> Figure:
    assert section is not None
    (block,) = section.blocks
    assert isinstance(block, Figure)
    return block


def pixels(panel: str) -> np.ndarray[Any, Any]:
    (content,) = re.findall(r"base64,([^\"]*)", panel)
    return np.asarray(Image.open(io.BytesIO(b64decode(content))))


def test_the_best_finalist_of_each_family_shows_what_it_makes(
    networks: dict[str, torch.nn.Module], tmp_path: Path
) -> None:
    shown = figure(samples.section(context(tmp_path)))
    for panel, trial in zip(shown.panels, ("vae-xs-1-f001", "gan-xs-1-f000"), strict=True):
        assert f">{trial.partition('-')[0]}</text>" in panel
        assert np.array_equal(pixels(panel), sheet(networks[trial])[..., 0]) and pixels(panel).std() > 1
        assert f"#trial-{trial}" in shown.caption
    assert "f000" not in shown.caption.replace("gan-xs-1-f000", ""), "the worse of the two"


def test_a_family_whose_weights_are_gone_or_of_another_version_is_left_out(
    networks: dict[str, torch.nn.Module], tmp_path: Path
) -> None:
    checkpoint.save(model_file(tmp_path, "vae-xs-1-f001"), state("vae", "s", 0))
    section = samples.section(context(tmp_path))
    assert section is not None and section.answer.striptags() == "64 images by each of gan, as they came."
    assert len(figure(section).panels) == 1
    model_file(tmp_path, "gan-xs-1-f000").unlink()
    section = samples.section(context(tmp_path))
    assert section is not None and section.answer == "Nothing that could be shown."
    assert not figure(section).panels and "not beside the journal" in figure(section).lacking


def test_what_tells_classes_has_no_place_for_it(tmp_path: Path) -> None:
    assert samples.section(context(tmp_path, CARD | {"task": "classification"})) is None
