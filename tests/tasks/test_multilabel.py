from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn

from orchestrator.errors import UserError
from orchestrator.tasks.multilabel import Multilabel, roc_auc


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor


class Echo(nn.Module):
    """The inputs are the logits."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def rows(count: int = 60) -> Rows:
    """Three properties with logits that repeat, some not known."""
    torch.manual_seed(0)
    targets = (torch.rand(count, 3) < 0.3).float()
    targets[torch.rand(count, 3) < 0.25] = math.nan
    return Rows((torch.randn(count, 3) + targets.nan_to_num(0)).mul(3).round() / 3, targets)


@pytest.mark.parametrize("batch_size", [100, 7])
def test_metrics_agree_with_scikit_learn_over_what_is_known(batch_size: int) -> None:
    data = rows()
    measured = Multilabel(positive_weight=5.0).evaluate(Echo(), data, batch_size)
    known = data.targets.isfinite()
    chances = data.inputs.double().sigmoid()
    assert measured["loss"] == pytest.approx(log_loss(data.targets[known], chances[known]), rel=1e-5)
    areas = [roc_auc_score(data.targets[known[:, i], i], data.inputs[known[:, i], i]) for i in range(3)]
    assert measured["roc_auc"] == pytest.approx(sum(areas) / 3)


def test_the_area_by_hand() -> None:
    # Of the four pairs of one that is there and one that is not, two are in order, one is equal, one is not.
    scores, there = torch.tensor([3.0, 1.0, 1.0, 2.0]), torch.tensor([True, True, False, False])
    assert roc_auc(scores, there) == pytest.approx(2.5 / 4)
    assert roc_auc(scores, torch.ones(4, dtype=torch.bool)) is None


def test_a_property_that_all_or_none_have_is_left_out() -> None:
    data = rows()
    data.targets[:, 1] = 0
    known = data.targets.isfinite()
    areas = [roc_auc_score(data.targets[known[:, i], i], data.inputs[known[:, i], i]) for i in (0, 2)]
    assert Multilabel().evaluate(Echo(), data, 10)["roc_auc"] == pytest.approx(sum(areas) / 2)
    assert Multilabel().unmeasured(data.targets) == {}
    nothing = Rows(data.inputs[:, 1:2], data.targets[:, 1:2])
    assert math.isnan(Multilabel().evaluate(Echo(), nothing, 10)["roc_auc"])
    assert list(Multilabel().unmeasured(nothing.targets)) == ["roc_auc"]


def test_what_is_not_known_moves_nothing() -> None:
    data = rows()
    inputs = data.inputs.requires_grad_()
    [(player, loss)] = Multilabel().step(Echo(), inputs, data.targets)
    (gradient,) = torch.autograd.grad(loss, inputs)
    assert player == "" and loss.isfinite() and torch.equal(gradient != 0, data.targets.isfinite())


def test_a_batch_in_pieces_has_the_loss_of_the_whole() -> None:
    data, task = rows(), Multilabel(positive_weight=2.0)
    [(_, whole)] = task.step(Echo(), data.inputs, data.targets)
    halves = [next(task.step(Echo(), data.inputs[i : i + 30], data.targets[i : i + 30]))[1] for i in (0, 30)]
    assert whole.item() == pytest.approx(sum(loss.item() for loss in halves) / 2)


def test_rare_properties_may_weigh_more_in_training() -> None:
    inputs, targets = torch.zeros(2, 1), torch.tensor([[1.0], [0.0]])
    losses = [next(Multilabel(positive_weight=w).step(Echo(), inputs, targets))[1].item() for w in (1.0, 3.0)]
    assert losses == pytest.approx([math.log(2), 2 * math.log(2)])


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="positive_weight"):
        Multilabel(positive_weight=wrong)
