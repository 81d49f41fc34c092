from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import bert
from orchestrator.tokens import Tokens
from orchestrator.training.fit import Job, fit, network
from orchestrator.training.parameters import count_parameters, describe


def build(outputs: int = 3, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return bert.build(bert.Config(width=12, depth=2, heads=3), Tokens(9, 20), outputs).eval()


def text() -> torch.Tensor:
    tokens = torch.randint(5, 20, (3, 9), generator=torch.Generator().manual_seed(1))
    tokens[1, 4:] = 0
    return tokens


def test_bert_base_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        model = bert.build(bert.Config(768, 12, 12), Tokens(511, 30_522), 77)
    # 110 M in the paper; the published weights have 109,482,240, of which two segments' embeddings are left out here.
    assert count_parameters(model) == 109_482_240 - 2 * 768 + 769 * 77


def test_a_padded_batch_gives_what_its_rows_give_one_by_one() -> None:
    model, tokens = build(), text()
    places = torch.tensor([[0, 8, 5], [3, 1, 0], [7, 7, 2]])
    together, steps = model(tokens), model.at_places(tokens, places)
    assert together.shape == (3, 3) and steps.shape == (3, 3, 3)
    for row, length in enumerate((9, 4, 9)):
        alone = tokens[row : row + 1, :length]
        assert torch.allclose(together[row], model(alone)[0], atol=1e-6)
        assert torch.allclose(steps[row], model.at_places(alone, places[row : row + 1])[0], atol=1e-6)
    assert model._steps(tokens[1:2]).shape == (1, 5, 12), "padding in every row is not computed"


def test_every_token_is_seen_from_everywhere() -> None:
    model, tokens = build(), text()[:1]
    for place in range(9):
        other = tokens.clone()
        other[:, place] = 5 + (other[:, place] - 4) % 15
        everywhere = torch.arange(9)[None]
        assert (model.at_places(other, everywhere) - model.at_places(tokens, everywhere)).abs().amax(2).min() > 1e-7
        assert not torch.equal(model(other), model(tokens))


def test_operations_equal_a_count_by_hand() -> None:
    # 12 tokens and [CLS], 32 wide, 2 blocks; the head is at [CLS] alone, or at 15 % of the tokens.
    block = 13 * 12 * 32 * 32 + 2 * 13 * 13 * 32
    head = 32 * 32 + 32 * 10
    shape = Tokens(12, 10)
    for task, places in (("classification", 1), ("masked_language_modelling", 2)):
        described = describe("bert", "xs", shape, 10, task=task)
        assert described.flops_per_sample == 2 * 3 * (2 * block + places * head)


def test_the_second_stage_has_all_weights_of_the_first_but_the_heads() -> None:
    first, second, untouched = build(outputs=20, seed=1), build(outputs=3, seed=2), build(outputs=3, seed=2)
    bert.continue_from(second, first.state_dict())
    for name, weight in second.state_dict().items():
        expected = untouched if name.split(".")[0] in ("dense", "output") else first
        assert torch.equal(weight, expected.state_dict()[name]), name


def test_weights_of_another_network_are_refused() -> None:
    torch.manual_seed(0)
    deeper = bert.build(bert.Config(width=12, depth=3, heads=3), Tokens(9, 20), 20)
    larger = bert.build(bert.Config(width=12, depth=2, heads=3), Tokens(9, 21), 20)
    for other in (deeper, larger):
        with pytest.raises(UserError, match="of another network"):
            bert.continue_from(build(), other.state_dict())


@pytest.mark.parametrize("shape", [(9, 5), (1, 8, 8)])
def test_refuses_what_is_no_text_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="bert takes text") as error:
        bert.build(bert.Config(12, 2, 3), shape, 3)
    assert "\n" not in str(error.value)


def test_heads_must_share_the_width() -> None:
    with pytest.raises(UserError, match="don't share a width"):
        bert.build(bert.Config(16, 1, 3), Tokens(9, 20), 20)


def test_what_the_first_stage_learnt_helps_the_second() -> None:
    """Texts of two kinds of words; the first stage sees them without their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (1000,), generator=generator)
    tokens = 5 + torch.randint(30, (1000, 8), generator=generator) + 30 * labels[:, None]
    # Half of each text says nothing.
    tokens[:, ::2] = 65 + torch.randint(30, (1000, 4), generator=generator)
    shape = Tokens(8, 95)
    card = Card("kinds", "masked_language_modelling", shape, 95, (), {}, "", {}, "", {})
    parts = [Split(tokens[where], labels[where]) for where in (slice(600), slice(600, 800), slice(800, 1000))]
    config = {"learning_rate": 3e-3, "batch_size": 20, "optimizer": "adamw"}
    training = fit(Job("bert", "xs", config, 0, 6), Data(card, *parts))
    rows = []
    while True:
        try:
            rows.append(next(training))
        except StopIteration as end:
            weights = end.value.weights
            break
    assert rows[-1]["validation_loss"] < rows[0]["validation_loss"]
    second = replace(card, task="classification", outputs=2, classes=("a", "b"))
    few = Split(tokens[:16], labels[:16])
    found = []
    for before in (None, weights):
        model = network(Job("bert", "xs", {}, 0, 1), second)
        if before is not None:
            bert.continue_from(model, before)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(30):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(few.inputs), few.targets).backward()
            optimizer.step()
        with torch.inference_mode():
            found.append(float((model(tokens[800:]).argmax(1) == labels[800:]).float().mean()))
    assert found[1] > found[0] + 0.1 and found[1] > 0.85
