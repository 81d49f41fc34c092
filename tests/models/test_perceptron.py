from __future__ import annotations

import pytest
import torch

from orchestrator.errors import UserError
from orchestrator.models import perceptron
from orchestrator.training.parameters import describe


def build(seed: int = 0, **config: float) -> perceptron.Perceptron:
    torch.manual_seed(seed)
    model = perceptron.build(perceptron.Config(association_units=50, **config), (1, 8, 8), 10)  # type: ignore[arg-type]
    assert isinstance(model, perceptron.Perceptron)
    return model


def test_only_the_responses_are_trained() -> None:
    assert [name for name, _ in build().named_parameters()] == ["responses.weight", "responses.bias"]
    assert describe("perceptron", "m", (1, 8, 8), 10).params == (400 + 1) * 10


def test_each_association_unit_has_as_many_inhibitory_as_excitatory_connections() -> None:
    connections = build(connections=5).connections
    assert torch.equal(connections.sum(1), torch.zeros(50))
    # 5 of each, where none fell on the same point.
    assert connections.abs().sum(1).max() == 10
    assert torch.equal(connections, connections.round())


def test_connections_come_from_the_seed_and_go_with_the_state() -> None:
    one, other = build(0), build(1)
    assert torch.equal(one.connections, build(0).connections)
    assert not torch.equal(one.connections, other.connections)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.connections, other.connections)


def test_an_association_unit_fires_or_does_not() -> None:
    model, inputs = build(threshold=0.3), torch.randn(200, 1, 8, 8)
    seen: list[torch.Tensor] = []
    model.responses.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    model.eval()(inputs)
    impulses = inputs.flatten(1) @ model.connections.T
    assert torch.equal(seen[0], (impulses >= 0.3 * 8**0.5).float())
    assert 0 < seen[0].mean() < 0.5


def test_operations_equal_a_count_by_hand() -> None:
    # The fixed layer is only run forwards; the responses forwards and for their weights' gradient.
    assert describe("perceptron", "m", (1, 8, 8), 10).flops_per_sample == 2 * (64 * 400 + 2 * 400 * 10)


def test_no_connection_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="connections"):
        perceptron.Config(association_units=50, connections=0)
