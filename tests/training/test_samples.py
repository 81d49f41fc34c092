from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from orchestrator.errors import UserError
from orchestrator.models import seq2seq, transformer
from orchestrator.tokens import BEGIN, END, SPECIAL, Tokens
from orchestrator.training import samples

LETTERS = [*SPECIAL, "\n", *"abcdef"]
SOUNDS = [*SPECIAL, *"ABCDEFG"]
PAIRS = {"name": "sounds", "input_shape": [9, len(LETTERS)], "vocabulary": LETTERS, "target_vocabulary": SOUNDS}


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
