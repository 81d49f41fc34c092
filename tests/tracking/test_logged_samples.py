from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from made_up_sweep import CARD
from mlflow import MlflowClient

from orchestrator.models import gpt
from orchestrator.tokens import SPECIAL, Tokens
from orchestrator.tracking import models, store
from orchestrator.tracking.reading import RUN_TAG, TRIAL_TAG
from orchestrator.training import checkpoint, samples
from orchestrator.training.network import Network
from orchestrator.training.parameters import split_config

LETTERS = [*SPECIAL, "\n", *"abcdef"]
TEXT = {**CARD, "task": "language_modelling", "input_shape": [9, len(LETTERS)], "vocabulary": LETTERS}
TEXT["outputs"] = len(LETTERS)


def logged(runs: Path, tmp_path: Path, family: str, card: dict[str, Any], network: Any) -> tuple[MlflowClient, str]:
    """A run in which the network has been logged as a finalist's is."""
    checkpoint.save(tmp_path / "weights.pt", network.state_dict())
    client = store.connect(runs)
    experiment = client.create_experiment(card["name"], store.artifact_location(runs))
    run = client.create_run(experiment).info.run_id
    tags = {RUN_TAG: "abc", TRIAL_TAG: "a-f000"}
    to = models.Destination(client, experiment, run)
    model_id = models.log(to, "a-f000", Network(family, "xs", {}, card), tmp_path / "weights.pt", tags)
    assert client.get_logged_model(model_id).status == "READY"
    return client, run


@pytest.mark.parametrize("family", ["vae", "gan", "diffusion"])
def test_a_generators_run_has_a_sheet_of_its_images(family: str, runs: Path, tmp_path: Path) -> None:
    card = {**CARD, "name": "digits_images", "task": "generation", "outputs": 64, "classes": []}
    settings = split_config(family, "xs", "generation", {})
    torch.manual_seed(1)
    network = settings.family.build(settings.model, (1, 8, 8), 64)
    with torch.no_grad():  # what a gan begins with is too small to be seen
        for weight in network.parameters():
            weight.mul_(10)
    client, run = logged(runs, tmp_path, family, card, network)
    assert [file.path for file in client.list_artifacts(run)] == [models.IMAGES]
    shown = plt.imread(client.download_artifacts(run, models.IMAGES))
    sheet = samples.sheet(network)
    assert sheet.shape == (78, 78, 1) and sheet.std() > 1, "8 images of 8 pixels, and 7 lines of 2 between them"
    assert np.array_equal((255 * shown[..., 0] if shown.ndim == 3 else 255 * shown).round(), sheet[..., 0])


def test_a_gpts_run_has_texts_that_it_has_written(runs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = gpt.build(gpt.Config(**gpt.SIZES["xs"]), Tokens(9, len(LETTERS)), len(LETTERS))
    client, run = logged(runs, tmp_path, "gpt", TEXT, network)
    assert [file.path for file in client.list_artifacts(run)] == [models.TEXTS]
    text = Path(client.download_artifacts(run, models.TEXTS)).read_text(encoding="utf-8")
    begun, generator = torch.full((4, 1), LETTERS.index("\n")), torch.Generator().manual_seed(0)
    written = network.eval().sample(begun, 8, cached=False, generator=generator)  # type: ignore[operator]
    expected = ["".join(LETTERS[token] for token in row).strip("\n") for row in written.tolist()]
    assert text.split("\n\n----\n\n") == expected and len(set(expected)) == 4


def test_what_writes_no_texts_leaves_none(runs: Path, tmp_path: Path) -> None:
    settings = split_config("gru", "xs", "language_modelling", {})
    network = settings.family.build(settings.model, Tokens(9, len(LETTERS)), len(LETTERS))
    client, run = logged(runs, tmp_path, "gru", TEXT, network)
    assert client.list_artifacts(run) == []
