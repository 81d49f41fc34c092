from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator.models import seq2seq
from orchestrator.tokens import BEGIN, Tokens
from orchestrator.training.parameters import describe

scores = pytest.mark.parametrize("score", ["additive", "dot"])


def build(score: str) -> Any:
    torch.manual_seed(0)
    return seq2seq.build(seq2seq.Config(6, score=score), Tokens(5, 12), 14).eval()  # type: ignore[arg-type]


@scores
def test_attention_and_outputs_are_those_of_the_papers_formulas(score: str) -> None:
    model = build(score)
    source, before = torch.randint(5, 12, (1, 5)), torch.tensor([[BEGIN, 6, 7, 8]])
    read = model.encoder(model.source_embedding(source))[0][0]
    state = torch.tanh(model.first(torch.cat([read[-1, :6], read[0, 6:]])))
    weights, logits = model.attention(source, before)[0], model.at_every_step(source, before)[0]
    for step in range(4):
        state = model.decoder(model.target_embedding(before[:, step : step + 1]), state.view(1, 1, 6))[1].view(6)
        keys = [model.key(read[j]) for j in range(5)]
        if score == "additive":
            found = [model.weight.weight[0] @ torch.tanh(model.query.weight @ state + key) for key in keys]
        else:
            found = [state @ key for key in keys]
        alpha = torch.stack(found).softmax(0)
        context = sum(alpha[j] * read[j] for j in range(5))
        assert torch.allclose(weights[step], alpha, atol=1e-6)
        expected = model.output(torch.tanh(model.combine(torch.cat([state, context]))))  # type: ignore[list-item]
        assert torch.allclose(logits[step], expected, atol=1e-6)


@scores
def test_attention_sums_to_one_and_never_looks_at_padding(score: str) -> None:
    model, sources = build(score), torch.randint(5, 12, (3, 5))
    sources[1, 2:] = 0
    weights = model.attention(sources, torch.full((3, 4), BEGIN))
    assert weights.shape == (3, 4, 5) and torch.allclose(weights.sum(2), torch.ones(3, 4))
    assert (weights[1, :, 2:] == 0).all() and (weights[1, :, :2] > 0).all()


@scores
def test_operations_equal_a_count_by_hand(score: str) -> None:
    # 6 source steps, 7 target steps, 24 wide, 10 outputs. A cell has three gates, each from the input and the state.
    cell = 3 * 24 * (24 + 24)
    attention = 6 * 48 * 24 + 7 * 6 * 48 + (7 * 24 * 24 + 7 * 6 * 24 if score == "additive" else 7 * 6 * 24)
    products = 6 * 2 * cell + 48 * 24 + 7 * cell + attention + 7 * (72 * 24 + 24 * 10)
    described = describe("seq2seq", "xs", Tokens(6, 12), 10, config={"score": score})
    assert described.flops_per_sample == 2 * 3 * products


def test_the_product_needs_fewer_parameters() -> None:
    shape = Tokens(28, 34)
    additive, dot = (describe("seq2seq", "m", shape, 44, config={"score": score}) for score in ("additive", "dot"))
    assert additive.params - dot.params == 96 * 96 + 96 + 96
