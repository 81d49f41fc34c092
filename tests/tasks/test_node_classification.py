from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.tasks.node_classification import NodeClassification


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor


class Echo(nn.Module):
    """The inputs [n, nodes, classes] are the logits."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mT


def rows(graphs: int = 5, nodes: int = 8) -> Rows:
    torch.manual_seed(0)
    targets = torch.randint(3, (graphs, nodes))
    targets[:, ::3] = -1
    return Rows(torch.randn(graphs, nodes, 3), targets)


@pytest.mark.parametrize("batch_size", [100, 2])
def test_only_nodes_that_are_told_count(batch_size: int) -> None:
    data = rows()
    told = data.targets >= 0
    logits, true = data.inputs[told], data.targets[told]
    measured = NodeClassification().evaluate(Echo(), data, batch_size)
    assert measured["loss"] == pytest.approx(log_loss(true, logits.double().softmax(1)), rel=1e-5)
    assert measured["accuracy"] == pytest.approx(accuracy_score(true, logits.argmax(1)))
    [(player, loss)] = NodeClassification().step(Echo(), data.inputs, data.targets)
    assert player == "" and loss.item() == pytest.approx(measured["loss"], rel=1e-5)


def test_smoothing_spreads_a_share_of_the_target_over_all_classes() -> None:
    data = rows()
    told = data.targets >= 0
    logs = data.inputs[told].log_softmax(1)
    [(_, loss)] = NodeClassification(label_smoothing=0.2).step(Echo(), data.inputs, data.targets)
    by_hand = -(0.8 * logs.gather(1, data.targets[told][:, None]).mean() + 0.2 * logs.mean())
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_no_gradient_comes_from_nodes_that_are_not_told() -> None:
    data = rows()
    inputs = data.inputs.requires_grad_()
    [(_, loss)] = NodeClassification(label_smoothing=0.1).step(Echo(), inputs, data.targets)
    (gradient,) = torch.autograd.grad(loss, inputs)
    moved = gradient.abs().sum(2) > 0
    assert torch.equal(moved, data.targets >= 0)


@pytest.mark.parametrize("wrong", [-0.1, 1.0])
def test_smoothing_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="label_smoothing"):
        NodeClassification(label_smoothing=wrong)


def test_an_example_needs_graphs() -> None:
    with pytest.raises(UserError, match="graphs are needed, found inputs of 1×8×8"):
        NodeClassification().example(2, (1, 8, 8), 3)
