"""What rnn, lstm and gru have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.models import FAMILIES
from orchestrator.models.recurrent import Recurrent
from orchestrator.models.sequences import sequence_lengths
from orchestrator.tokens import SPECIAL, Tokens
from orchestrator.training.fit import Job, fit
from orchestrator.training.parameters import describe
from orchestrator.windows import Windows

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
families = pytest.mark.parametrize("family", GATES)
poolings = pytest.mark.parametrize("pooling", ["last", "mean", "max"])
directions = pytest.mark.parametrize("bidirectional", [False, True])
TEXT = Tokens(time=9, vocabulary=20)


def build(family: str, shape: tuple[int, ...] = (9, 5), outputs: int = 3, **config: Any) -> Any:
    torch.manual_seed(0)
    chosen = FAMILIES[family].config(**({"width": 6, "depth": 2} | config))
    return FAMILIES[family].build(chosen, shape, outputs).eval()


def ragged(kind: str) -> tuple[Tensor, list[int]]:
    """A padded batch and its lengths; zeros within a sequence are no padding."""
    torch.manual_seed(1)
    lengths = [4, 9, 1, 6]
    inputs = torch.randint(len(SPECIAL), 20, (4, 9)) if kind == "tokens" else torch.randn(4, 9, 5)
    for row, length in zip(inputs, lengths, strict=True):
        row[length:] = 0
    inputs[1, 3] = 0
    return inputs, lengths


@pytest.mark.parametrize("kind", ["tokens", "numbers"])
def test_a_sequence_ends_with_its_last_step_that_is_not_padding(kind: str) -> None:
    inputs, lengths = ragged(kind)
    assert sequence_lengths(inputs).tolist() == lengths
    assert sequence_lengths(torch.zeros_like(inputs)).tolist() == [1, 1, 1, 1]


@families
@poolings
@directions
@pytest.mark.parametrize("kind", ["tokens", "numbers"])
def test_a_padded_batch_gives_what_its_rows_give_one_by_one(
    family: str, pooling: str, bidirectional: bool, kind: str
) -> None:
    model = build(family, TEXT if kind == "tokens" else (9, 5), pooling=pooling, bidirectional=bidirectional)
    inputs, lengths = ragged(kind)
    together = model(inputs)
    for row, length, outputs in zip(inputs, lengths, together, strict=True):
        alone = model(row[None, :length])
        assert torch.allclose(outputs, alone[0], atol=1e-6)


@families
def test_a_language_model_gives_at_each_step_what_it_gives_for_the_text_up_to_there(family: str) -> None:
    model = build(family, TEXT, outputs=20)
    inputs = torch.randint(len(SPECIAL), 20, (3, 9))
    at_every_step = model.at_every_step(inputs)
    assert at_every_step.shape == (3, 9, 20)
    for step in range(9):
        assert torch.allclose(at_every_step[:, step], model(inputs[:, : step + 1]), atol=1e-6)
    changed = inputs.clone()
    changed[:, 5:] = 7
    assert torch.equal(model.at_every_step(changed)[:, :5], at_every_step[:, :5])


@families
def test_both_directions_are_two_networks_of_one_direction_each(family: str) -> None:
    both = build(family, depth=1, bidirectional=True)
    ways = []
    for suffix in ("", "_reverse"):
        one = build(family, depth=1)
        weights = {name: getattr(both.cells, name + suffix) for name, _ in one.cells.named_parameters()}
        one.cells.load_state_dict(weights)
        ways.append(one)
    inputs, lengths = ragged("numbers")
    for row, length, outputs in zip(inputs, lengths, both(inputs), strict=True):
        own = row[None, :length]
        last = [ways[0].cells(own)[0][:, -1], ways[1].cells(own.flip(1))[0][:, -1]]
        assert torch.allclose(outputs, both.output(torch.cat(last, 1))[0], atol=1e-6)


@families
def test_a_bidirectional_language_model_is_refused_before_it_is_trained(family: str) -> None:
    with pytest.raises(UserError, match="set bidirectional: false") as error:
        describe(family, "xs", TEXT, 20, task="language_modelling", config={"bidirectional": True})
    assert "\n" not in str(error.value)


@families
@pytest.mark.parametrize("shape", [(64,), (1, 8, 8)])
def test_refuses_what_is_no_sequence_in_one_line(family: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=f"{family} takes sequences") as error:
        build(family, shape)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


@families
def test_poolings_are_what_their_names_say(family: str) -> None:
    inputs = torch.randn(2, 9, 5)
    for pooling in ("last", "mean", "max"):
        model = build(family, pooling=pooling)
        states = model.cells(inputs)[0]
        expected = {"last": states[:, -1], "mean": states.mean(1), "max": states.amax(1)}[pooling]
        assert torch.allclose(model(inputs), model.output(expected), atol=1e-6)


@families
def test_dropout_is_after_the_embedding_between_layers_and_before_the_output(family: str) -> None:
    model = build(family, TEXT, dropout=0.5)
    assert model.cells.dropout == 0.5
    seen: list[tuple[int, ...]] = []
    model.dropout.register_forward_hook(lambda _, inputs, output: seen.append(tuple(output.shape)))
    model(torch.randint(len(SPECIAL), 20, (2, 9)))
    assert seen == [(2, 9, 6), (2, 6)]


def layer(family: str, steps: int, features: int, width: int) -> int:
    """Multiplications of one layer in one direction: each step, each gate, from the input and from the state."""
    return steps * GATES[family] * width * (features + width)


@families
def test_operations_equal_a_count_by_hand(family: str) -> None:
    # 12 steps of 5 features, one layer 32 wide, 10 outputs: forward, weights' gradients, and the inputs' gradients of
    # all but the first product, as numbers need none.
    products = layer(family, 12, 5, 32) + 32 * 10
    first = 12 * GATES[family] * 32 * 5
    assert describe(family, "xs", (12, 5), 10).flops_per_sample == 2 * (3 * products - first)
    # An embedding needs a gradient; the language model's output layer is there at every step.
    products = layer(family, 12, 32, 32) + 12 * 32 * 10
    described = describe(family, "xs", Tokens(12, 10), 10, task="language_modelling")
    assert described.flops_per_sample == 2 * 3 * products
    # Size l: 256 wide, the second layer over both directions of the first.
    both = 2 * layer(family, 12, 5, 256) + 2 * layer(family, 12, 512, 256) + 512 * 10
    first = 2 * 12 * GATES[family] * 256 * 5
    described = describe(family, "l", (12, 5), 10, config={"bidirectional": True})
    assert described.flops_per_sample == 2 * (3 * both - first)


@families
def test_parameters_equal_a_count_by_hand(family: str) -> None:
    # Two biases, as in torch (and cuDNN).
    cells = GATES[family] * (32 * (32 + 32) + 2 * 32)
    described = describe(family, "xs", Tokens(12, 100), 7)
    assert described.params == 100 * 32 + cells + 33 * 7
    assert described.params_without_embeddings == cells + 33 * 7


class Speech:
    """Made-up sounds: tones that rise or fall, of different length."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        classes = torch.arange(120) % 2
        inputs = torch.zeros(120, 12, 5)
        for row, which in enumerate(classes):
            length = int(torch.randint(4, 13, (), generator=generator))
            slope = torch.linspace(-1, 1, length) * (1 if which else -1)
            inputs[row, :length] = slope[:, None] + 0.3 * torch.randn(length, 5, generator=generator)
        card = Card(
            name="speech",
            task="classification",
            input_shape=(12, 5),
            outputs=2,
            classes=("fall", "rise"),
            sizes={"train": 80, "validation": 20, "test": 20},
            licence="",
            source={},
            fingerprint="",
            normalization={},
            padded=True,
        )
        parts = [Split(inputs[where], classes[where]) for where in (slice(80), slice(80, 100), slice(100, 120))]
        self.data = Data(card, *parts)


@pytest.fixture(scope="module")
def speech() -> Data:
    return Speech().data


@families
@directions
def test_learns_what_a_bag_of_steps_does_not_show(family: str, bidirectional: bool, speech: Data) -> None:
    config = {"learning_rate": 1e-2, "batch_size": 16, "bidirectional": bidirectional}
    rows = list(fit(Job(family, "xs", config, 0, 6, "validation_accuracy", "max"), speech))
    assert max(row["validation_accuracy"] for row in rows) > 0.9


@families
def test_going_on_from_a_checkpoint_gives_the_losses_of_an_uninterrupted_run(
    family: str, speech: Data, tmp_path: Path
) -> None:
    config = {"dropout": 0.3, "gradient_clip": 1.0, "batch_size": 16, "bidirectional": True, "pooling": "max"}
    job = Job(family, "s", config, 0, 4)
    whole = [row["train_loss"] for row in fit(job, speech)]
    epochs = fit(job, speech, "cpu", tmp_path / "a.pt", checkpoint_epochs={2})
    assert [next(epochs)["train_loss"] for _ in range(3)] == whole[:3]
    epochs.close()
    assert [row["train_loss"] for row in fit(job, speech, "cpu", tmp_path / "a.pt")] == whole
    assert [row["train_loss"] for row in fit(replace(job, seed=1), speech)] != whole


SERIES = Windows(time=24, channels=3)


@families
@poolings
@pytest.mark.parametrize("segment", [1, 8, 7])
def test_a_forecast_is_relative_to_the_last_step(family: str, pooling: str, segment: int) -> None:
    """A series on another level is forecast on that level, each channel for itself."""
    model = build(family, SERIES, outputs=4 * 3, pooling=pooling, segment=segment)
    inputs, level = torch.randn(5, 24, 3), torch.tensor([10.0, 0.0, -3.0])
    assert torch.allclose(model(inputs + level), model(inputs) + level.repeat(4), atol=1e-5)
    nn.init.zeros_(model.output.weight)
    nn.init.zeros_(model.output.bias)
    assert torch.equal(model(inputs).reshape(5, 4, 3), inputs[:, -1:].expand(5, 4, 3))
    # Other sequences have no level to be relative to.
    other = build(family, (24, 3), outputs=4 * 3, pooling=pooling, segment=segment)
    assert not torch.allclose(other(inputs + level), other(inputs) + level.repeat(4), atol=1e-1)


@families
def test_a_step_that_equals_the_last_is_no_padding_of_a_series(family: str) -> None:
    model, inputs = build(family, SERIES, outputs=3, depth=1), torch.randn(1, 24, 3)
    inputs[0, 20:] = inputs[0, -1]
    states = model.cells(inputs - inputs[:, -1:])[0]
    assert torch.allclose(model(inputs), model.output(states[:, -1]) + inputs[:, -1], atol=1e-6)


@families
def test_steps_of_a_segment_are_read_side_by_side(family: str) -> None:
    model, inputs = build(family, segment=4, depth=1), torch.randn(2, 9, 5)
    rows = [[*row.reshape(-1).tolist(), *[0.0] * 15] for row in inputs]  # 9 steps of 5, and 3 more to come out even
    states = model.cells(torch.tensor(rows).reshape(2, 3, 20))[0]
    assert torch.allclose(model(inputs), model.output(states[:, -1]), atol=1e-6)


@families
@poolings
@directions
def test_rows_in_segments_give_alone_what_they_give_in_a_padded_batch(
    family: str, pooling: str, bidirectional: bool
) -> None:
    model = build(family, pooling=pooling, bidirectional=bidirectional, segment=2)
    inputs, lengths = ragged("numbers")
    for row, length, outputs in zip(inputs, lengths, model(inputs), strict=True):
        assert torch.allclose(outputs, model(row[None, :length])[0], atol=1e-6)


@families
def test_segments_cost_what_a_count_by_hand_says(family: str) -> None:
    described = describe(family, "xs", (12, 5), 10, config={"segment": 6})
    assert described.params == GATES[family] * (32 * (30 + 32) + 2 * 32) + 33 * 10
    products, first = layer(family, 2, 30, 32) + 32 * 10, 2 * GATES[family] * 32 * 30
    assert described.flops_per_sample == 2 * (3 * products - first)


@families
@pytest.mark.parametrize(
    ("shape", "segment", "message"), [(TEXT, 2, "reads text token by token"), (SERIES, 0, "1 or more")]
)
def test_impossible_segments_are_one_line(family: str, shape: tuple[int, ...], segment: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(family, shape, segment=segment)
    assert "\n" not in str(error.value)


def test_a_recurrent_network_is_torchs_own() -> None:
    kinds = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
    for family, kind in kinds.items():
        model = build(family)
        assert isinstance(model, Recurrent) and type(model.cells) is kind
