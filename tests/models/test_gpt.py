from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import gpt
from orchestrator.models.attention import Attention, Past
from orchestrator.models.embeddings import embedding_parameters
from orchestrator.models.positions import Rotation, sinusoids
from orchestrator.tasks.language_modelling import LanguageModelling
from orchestrator.tokens import SPECIAL, Tokens
from orchestrator.training.fit import Job, fit
from orchestrator.training.parameters import count_parameters, describe

KINDS = ["learned", "sinusoidal", "rotary"]
positions = pytest.mark.parametrize("positions", KINDS)


def build(time: int = 9, vocabulary: int = 20, **config: Any) -> Any:
    torch.manual_seed(0)
    chosen = gpt.Config(**({"width": 12, "depth": 2, "heads": 3} | config))
    model: Any = gpt.build(chosen, Tokens(time, vocabulary), vocabulary).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))  # or everything would be near zero
    return model


def text(rows: int = 3, time: int = 9) -> Tensor:
    return torch.randint(5, 20, (rows, time), generator=torch.Generator().manual_seed(1))


def test_gpt_2_small_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        model = gpt.build(gpt.Config(width=768, depth=12, heads=12), Tokens(1024, 50_257), 50_257)
    # 117 M in the paper, which its authors corrected; the published weights have these, one table for both ends.
    assert count_parameters(model) == 124_439_808
    assert embedding_parameters(model) == (50_257 + 1024) * 768
    with torch.device("meta"):
        model = gpt.build(gpt.Config(768, 12, 12, tied=False), Tokens(1024, 50_257), 50_257)
    assert count_parameters(model) == 124_439_808 + 50_257 * 768


@positions
def test_tokens_are_seen_beside_positions_from_the_start(positions: str) -> None:
    """Sinusoids as large as in a transformer of unit embeddings hide ones of 0.02: sixty steps then learn nothing."""
    torch.manual_seed(0)
    model: Any = gpt.build(gpt.Config(width=32, depth=2, heads=2, positions=positions), Tokens(16, 12), 12)
    optimizer, following = torch.optim.Adam(model.parameters(), 3e-3), torch.randperm(12)
    for _ in range(60):
        tokens = [torch.randint(12, (32,))]
        for _ in range(16):
            tokens.append(following[tokens[-1]])
        whole = torch.stack(tokens, 1)
        loss = functional.cross_entropy(model.at_every_step(whole[:, :-1]).flatten(0, 1), whole[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5


def test_parameters_are_counted_with_and_without_embeddings() -> None:
    shape = Tokens(time=128, vocabulary=70)
    block = 12 * 32 * 32 + 13 * 32
    for tied, output in ((True, 0), (False, 70 * 32)):
        described = describe("gpt", "xs", shape, 70, config={"tied": tied})
        assert described.params_without_embeddings == 2 * block + 2 * 32 + output
        assert described.params == described.params_without_embeddings + (70 + 128) * 32


@positions
@pytest.mark.parametrize("tied", [True, False])
def test_a_future_token_changes_nothing_earlier(positions: str, tied: bool) -> None:
    model, before = build(positions=positions, tied=tied), text()
    outputs = model.at_every_step(before)
    for step in range(9):
        after = before.clone()
        after[:, step] = 19 - after[:, step] % 5
        changed = (model.at_every_step(after) - outputs).abs().amax((0, 2))
        assert changed[:step].max().item() == 0 if step else True
        assert (changed[step:] > 1e-6).all(), "and every later one sees it"


@positions
def test_after_the_last_token_is_at_the_last_step(positions: str) -> None:
    model, tokens = build(positions=positions), text()
    tokens[1, 4:] = 0
    logits, at_every_step = model(tokens), model.at_every_step(tokens)
    for row, last in enumerate((8, 3, 8)):
        assert torch.allclose(logits[row], at_every_step[row, last], atol=1e-6)
    assert torch.allclose(logits[1], model(tokens[1:2, :4])[0], atol=1e-5), "padding has no part in it"


@positions
@pytest.mark.parametrize("temperature", [0, 0.7])
def test_sampling_with_kept_keys_and_values_equals_sampling_without(positions: str, temperature: float) -> None:
    model, prompt = build(time=30, positions=positions), text(5, 4)
    texts = [
        model.sample(prompt, 27, temperature=temperature, cached=cached, generator=torch.Generator().manual_seed(3))
        for cached in (True, False)
    ]
    assert texts[0].shape == (5, 31) and torch.equal(texts[0][:, :4], prompt)
    assert torch.equal(texts[0], texts[1])
    assert len({tuple(row) for row in texts[0][:, 4:].tolist()}) > 1


@positions
def test_kept_keys_and_values_give_the_logits_of_the_whole_text_in_whatever_pieces(positions: str) -> None:
    model, tokens = build(positions=positions), text()
    past = [Past() for _ in model.blocks]
    pieces = [model._steps(piece, past) for piece in torch.split(tokens, [3, 1, 4, 1], 1)]
    assert torch.allclose(torch.cat(pieces, 1), model._steps(tokens), atol=1e-5)


def test_sampling_draws_by_the_models_probabilities() -> None:
    model, prompt = build(time=4), text(1, 3).expand(20_000, -1)
    torch.manual_seed(0)
    drawn = model.sample(prompt, 1, temperature=2.0)[:, -1]
    frequencies = torch.bincount(drawn, minlength=20) / len(drawn)
    logits = model.at_every_step(prompt[:1])[0, -1] / 2
    logits[: len(SPECIAL)] = -torch.inf
    assert (frequencies - logits.softmax(0)).abs().max() < 0.015


def test_what_no_text_holds_is_not_written() -> None:
    model = build(time=30)
    assert model.at_every_step(text(5, 29)).softmax(2)[..., : len(SPECIAL)].mean() > 0.01, "it would be"
    written = model.sample(text(5, 4), 26, generator=torch.Generator().manual_seed(0))[:, 4:]
    assert written.min() >= len(SPECIAL)


def test_a_text_beyond_the_last_position_is_refused() -> None:
    model = build(time=9)
    assert model.sample(text(1, 4), 6).shape == (1, 10)  # the tenth token is given out, not read
    for prompt, steps in ((text(1, 4), 7), (text(1, 0), 2)):
        with pytest.raises(UserError, match="reads 1 to 9 tokens"):
            model.sample(prompt, steps)


@pytest.mark.parametrize(("shape", "outputs"), [((9, 5), 3), ((1, 8, 8), 10), (Tokens(9, 20), 7)])
def test_refuses_what_is_no_text_to_continue_in_one_line(shape: tuple[int, ...], outputs: int) -> None:
    with pytest.raises(UserError, match="gpt takes text to continue") as error:
        gpt.build(gpt.Config(12, 2, 3), shape, outputs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("config", [gpt.Config(16, 1, 3), gpt.Config(9, 1, 3, positions="rotary")])
def test_heads_must_share_the_width(config: gpt.Config) -> None:
    with pytest.raises(UserError, match="don't share a width"):
        gpt.build(config, Tokens(9, 20), 20)


def test_one_table_is_input_and_output_where_they_are_tied() -> None:
    tied, own = build(tied=True), build(tied=False)
    assert tied.output.weight is tied.embedding.weight and own.output.weight is not own.embedding.weight
    other = build(tied=True)
    other.load_state_dict(tied.state_dict())
    assert other.output.weight is other.embedding.weight


def test_operations_equal_a_count_by_hand() -> None:
    # 12 tokens, 32 wide, 2 blocks, 10 in the vocabulary: dense layers, products of attention over all pairs (a kernel
    # may leave out the half that is masked), and the output.
    dense = 12 * (4 + 8) * 32 * 32
    attention = 2 * 12 * 12 * 32
    assert describe("gpt", "xs", Tokens(12, 10), 10).flops_per_sample == 3 * 2 * (
        2 * (dense + attention) + 12 * 32 * 10
    )


def test_weights_that_add_to_the_sum_begin_smaller() -> None:
    torch.manual_seed(0)
    model: Any = gpt.build(gpt.Config(192, 8, 8), Tokens(9, 500), 500)  # a quarter of GPT-2's width: twice its 0.02
    for block in model.blocks:
        assert block.attention.query.weight.std().item() == pytest.approx(0.04, rel=0.05)
        for weight in (block.attention.output.weight, block.dense[2].weight):
            assert weight.std().item() == pytest.approx(0.04 / 4, rel=0.05)
    inputs, targets = LanguageModelling().example(8, Tokens(9, 500), 500)
    [(_, loss)] = LanguageModelling().step(model, inputs, targets)
    assert loss.item() == pytest.approx(math.log(500), rel=0.05), "at first all tokens are about as probable"


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_torchs_own(causal: bool) -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3, 0.0, causal=causal, rotation=None)
    steps = torch.randn(2, 7, 12)
    queries, keys, values = (
        part.unflatten(2, (3, 4)).transpose(1, 2)
        for part in (attention.query(steps), *attention.key_value(steps).chunk(2, 2))
    )
    expected = functional.scaled_dot_product_attention(queries, keys, values, is_causal=causal)
    assert torch.allclose(attention(steps), attention.output(expected.transpose(1, 2).flatten(2)), atol=1e-6)


def test_attention_is_the_formula_of_the_paper_for_each_head() -> None:
    torch.manual_seed(0)
    attention = Attention(12, 3, 0.0, causal=True, rotation=None)
    steps = torch.randn(7, 12)
    query, (key, value) = attention.query(steps), attention.key_value(steps).chunk(2, 1)
    heads = []
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)
        scores = query[:, own] @ key[:, own].T / 2
        scores[torch.ones(7, 7).triu(1).bool()] = -torch.inf
        heads.append(scores.softmax(1) @ value[:, own])
    assert torch.allclose(attention(steps[None])[0], attention.output(torch.cat(heads, 1)), atol=1e-6)


def test_sinusoids_are_those_of_the_papers_formula() -> None:
    table = sinusoids(50, 6)
    for position in (0, 1, 17, 49):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_products_of_rotated_vectors_depend_on_their_distance_alone() -> None:
    torch.manual_seed(0)
    rotation, one, other = Rotation(40, 8), torch.randn(8), torch.randn(8)

    def product(first: int, second: int) -> float:
        turned = [rotation(vector.view(1, 1, 1, 8), at) for vector, at in ((one, first), (other, second))]
        return float((turned[0] * turned[1]).sum())

    assert product(0, 0) == pytest.approx(float(one @ other), rel=1e-5)
    for distance in (1, 5, 20):
        products = [product(first, first + distance) for first in (0, 3, 19)]
        assert products == pytest.approx([products[0]] * 3, rel=1e-4)
    assert product(0, 1) != pytest.approx(product(0, 5), rel=1e-3)


def test_going_on_from_a_checkpoint_gives_the_losses_of_an_uninterrupted_run(tmp_path: Path) -> None:
    shape = Tokens(12, 15)
    torch.manual_seed(0)
    parts = [Split(*LanguageModelling().example(rows, shape, 15)) for rows in (64, 16, 16)]
    card = Card("counting", "language_modelling", shape, 15, (), {}, "", {}, "", {})
    job = Job("gpt", "xs", {"dropout": 0.2, "batch_size": 16, "learning_rate": 1e-2}, 0, 8)
    data = Data(card, *parts)
    rows = list(fit(job, data))
    assert rows[-1]["validation_perplexity"] < 2 and rows[-1]["validation_accuracy"] > 0.8
    whole = [row["train_loss"] for row in rows]
    epochs = fit(job, data, "cpu", tmp_path / "a.pt", checkpoint_epochs={2})
    assert [next(epochs)["train_loss"] for _ in range(3)] == whole[:3]
    epochs.close()
    assert [row["train_loss"] for row in fit(job, data, "cpu", tmp_path / "a.pt")] == whole
