from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from made_up_sweep import CARD
from mlflow import MlflowClient

from orchestrator.errors import UserError
from orchestrator.models import gpt, seq2seq, transformer
from orchestrator.tokens import BEGIN, END, SPECIAL, Tokens
from orchestrator.tracking import models, samples, store
from orchestrator.tracking.reading import RUN_TAG, TRIAL_TAG
from orchestrator.training import checkpoint
from orchestrator.training.parameters import split_config

LETTERS = [*SPECIAL, "\n", *"abcdef"]
SOUNDS = [*SPECIAL, *"ABCDEFG"]
TEXT = {**CARD, "task": "language_modelling", "input_shape": [9, len(LETTERS)], "vocabulary": LETTERS}
TEXT["outputs"] = len(LETTERS)
PAIRS = {**TEXT, "task": "transduction", "target_vocabulary": SOUNDS, "outputs": len(SOUNDS)}


def logged(runs: Path, tmp_path: Path, family: str, card: dict[str, Any], network: Any) -> tuple[MlflowClient, str]:
    """A run in which the network has been logged as a finalist's is."""
    checkpoint.save(tmp_path / "weights.pt", network.state_dict())
    client = store.connect(runs)
    experiment = client.create_experiment(card["name"], store.artifact_location(runs))
    run = client.create_run(experiment).info.run_id
    tags = {RUN_TAG: "abc", TRIAL_TAG: "a-f000"}
    to = models.Destination(client, experiment, run)
    model_id = models.log(to, "a-f000", models.Network(family, "xs", {}, card), tmp_path / "weights.pt", tags)
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
    assert [file.path for file in client.list_artifacts(run)] == [samples.IMAGES]
    shown = plt.imread(client.download_artifacts(run, samples.IMAGES))
    sheet = samples.sheet(network)
    assert sheet.shape == (78, 78, 1) and sheet.std() > 1, "8 images of 8 pixels, and 7 lines of 2 between them"
    assert np.array_equal((255 * shown[..., 0] if shown.ndim == 3 else 255 * shown).round(), sheet[..., 0])


def test_a_sheets_images_are_in_rows() -> None:
    class Counting(torch.nn.Module):
        def generate(self, rows: int) -> torch.Tensor:
            return (torch.arange(rows) / 255).reshape(-1, 1, 1, 1).expand(-1, 3, 2, 5)

    sheet = samples.sheet(Counting())
    assert sheet.shape == (30, 54, 3)
    number = [
        [255 if row % 4 > 1 or column % 7 > 4 else 8 * (row // 4) + column // 7 for column in range(54)]
        for row in range(30)
    ]
    assert sheet[:, :, 1].tolist() == number


def test_a_gpts_run_has_texts_that_it_has_written(runs: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = gpt.build(gpt.Config(**gpt.SIZES["xs"]), Tokens(9, len(LETTERS)), len(LETTERS))
    client, run = logged(runs, tmp_path, "gpt", TEXT, network)
    assert [file.path for file in client.list_artifacts(run)] == [samples.TEXTS]
    text = Path(client.download_artifacts(run, samples.TEXTS)).read_text(encoding="utf-8")
    begun, generator = torch.full((4, 1), LETTERS.index("\n")), torch.Generator().manual_seed(0)
    written = network.eval().sample(begun, 8, cached=False, generator=generator)  # type: ignore[operator]
    expected = ["".join(LETTERS[token] for token in row).strip("\n") for row in written.tolist()]
    assert text.split("\n\n----\n\n") == expected and len(set(expected)) == 4


def test_what_writes_no_texts_leaves_none(runs: Path, tmp_path: Path) -> None:
    settings = split_config("gru", "xs", "language_modelling", {})
    network = settings.family.build(settings.model, Tokens(9, len(LETTERS)), len(LETTERS))
    client, run = logged(runs, tmp_path, "gru", TEXT, network)
    assert client.list_artifacts(run) == []


@pytest.fixture
def network() -> seq2seq.Seq2Seq:
    torch.manual_seed(3)
    built = seq2seq.build(seq2seq.Config(8), Tokens(9, len(LETTERS)), len(SOUNDS))
    assert isinstance(built, seq2seq.Seq2Seq)
    with torch.no_grad():
        built.output.bias[:BEGIN] = built.output.bias[BEGIN] = -9  # it says sounds, and now and then that it ends
        for weight in built.parameters():
            weight.mul_(3)
    return built.eval()


def test_a_map_of_attention_shows_where_each_written_token_looked(network: seq2seq.Seq2Seq) -> None:
    drawn = samples.attention_map(network, PAIRS, "fade")
    said = network.greedy(torch.tensor([[LETTERS.index(letter) for letter in "fade"]]), 10)[0].tolist()
    said = said[: said.index(END) + 1] if END in said else said
    labels = re.findall(r"<text [^>]*>([^<]*)</text>", drawn)
    assert labels == [*"fade", *(SOUNDS[token].replace("<", "&lt;").replace(">", "&gt;") for token in said)]
    shares = [float(share) for share in re.findall(r"<title>([\d.]+)</title>", drawn)]
    rows = [shares[first : first + 4] for first in range(0, len(shares), 4)]
    assert len(rows) == len(said) and all(sum(row) == pytest.approx(1, abs=2e-3) for row in rows)
    before = torch.tensor([[BEGIN, *said[:-1]]])
    inputs = torch.tensor([[LETTERS.index(letter) for letter in "fade"]])
    assert np.allclose(rows, network.attention(inputs, before)[0].tolist(), atol=6e-4)
    assert np.std(shares) > 0.01


@pytest.mark.parametrize(("source", "found"), [("", "0 tokens"), ("abcabcabca", "10 tokens"), ("fax", "'x'")])
def test_a_source_that_cannot_be_read_is_one_clear_line(network: seq2seq.Seq2Seq, source: str, found: str) -> None:
    with pytest.raises(UserError, match=f"1 to 9 tokens of .*vocabulary, found {found}"):
        samples.attention_map(network, PAIRS, source)


def test_what_does_not_tell_where_it_looks_is_refused() -> None:
    other = transformer.build(transformer.Config(8, 1, 2), Tokens(9, len(LETTERS)), len(SOUNDS))
    with pytest.raises(UserError, match="seq2seq does"):
        samples.attention_map(other, PAIRS, "fade")
