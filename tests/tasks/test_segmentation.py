from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.tasks import segmentation
from orchestrator.tasks.segmentation import Segmentation, dice_loss


@dataclass
class Rows:
    inputs: Tensor
    targets: Tensor


class Echo(nn.Module):
    """The inputs are the logits."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def random_rows(rows: int = 7, classes: int = 4) -> Rows:
    torch.manual_seed(0)
    return Rows(torch.randn(rows, classes, 6, 5), torch.randint(classes, (rows, 6, 5), dtype=torch.uint8))


def test_the_dice_loss_by_hand() -> None:
    # Two images of two pixels, probabilities of class 1: (¾, ½) with mask (1, 0), and (¼, ¼) with mask (0, 0).
    chances = torch.tensor([[[0.75, 0.5]], [[0.25, 0.25]]])
    logits = torch.stack([torch.zeros_like(chances), torch.logit(chances)], 1)
    losses = dice_loss(logits, torch.tensor([[[1, 0]], [[0, 0]]]))
    assert losses.tolist() == pytest.approx([1 - (2 * 0.75 + 1) / (1.25 + 1 + 1), 1 - 1 / (0.5 + 1)])


def test_the_loss_is_a_mixture_and_the_metrics_know_nothing_of_it() -> None:
    data = random_rows()
    losses = {}
    for weight in (0.0, 0.25, 1.0):
        [(player, loss)] = Segmentation(dice_weight=weight).step(Echo(), data.inputs, data.targets)
        assert player == ""
        losses[weight] = loss.item()
    assert losses[0.0] == pytest.approx(functional.cross_entropy(data.inputs, data.targets.long()).item())
    assert losses[1.0] == pytest.approx(dice_loss(data.inputs, data.targets.long()).mean().item())
    assert losses[0.25] == pytest.approx(0.75 * losses[0.0] + 0.25 * losses[1.0])
    measured = [Segmentation(dice_weight=weight).evaluate(Echo(), data, 3) for weight in (0.0, 1.0)]
    assert measured[0] == measured[1] and measured[0]["loss"] == pytest.approx(losses[0.0])


def test_overlaps_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_rows()
    true, predicted = data.targets.flatten().numpy(), data.inputs.argmax(1).flatten().numpy()
    for pixels in (1 << 18, 60):  # all images at once, two at a time
        monkeypatch.setattr(segmentation, "_PIXELS", pixels)
        measured = Segmentation().evaluate(Echo(), data, 5)
        # Over all pixels together; the background, class 0, doesn't count.
        assert measured["iou"] == pytest.approx(jaccard_score(true, predicted, labels=[1, 2, 3], average="macro"))
        assert measured["dice"] == pytest.approx(f1_score(true, predicted, labels=[1, 2, 3], average="macro"))


def test_a_class_that_is_nowhere_does_not_count() -> None:
    masks = torch.tensor([[[0, 1], [1, 1]]], dtype=torch.uint8)
    logits = functional.one_hot(torch.tensor([[[0, 0], [1, 1]]]), 3).movedim(-1, 1).float()
    assert Segmentation().evaluate(Echo(), Rows(logits, masks), 1)["iou"] == pytest.approx(2 / 3)
    nothing = Rows(torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8))
    assert math.isnan(Segmentation().evaluate(Echo(), nothing, 1)["iou"])


def test_a_batch_in_pieces_has_the_loss_of_the_whole() -> None:
    data, task = random_rows(6), Segmentation(dice_weight=0.7)
    [(_, whole)] = task.step(Echo(), data.inputs, data.targets)
    halves = [next(task.step(Echo(), data.inputs[i : i + 3], data.targets[i : i + 3]))[1] for i in (0, 3)]
    assert whole.item() == pytest.approx(sum(loss.item() for loss in halves) / 2)


def test_dice_weighs_a_small_object_like_a_large_one() -> None:
    def missed(pixels: int) -> tuple[float, float]:
        """Cross-entropy and Dice's loss of an image that is taken for background, of which so many pixels are not."""
        mask = torch.zeros(1, 32, 32, dtype=torch.int64)
        mask.view(-1)[:pixels] = 1
        logits = torch.stack([torch.full((1, 32, 32), 3.0), torch.full((1, 32, 32), -3.0)], 1)
        return functional.cross_entropy(logits, mask).item(), dice_loss(logits, mask).item()

    (entropy_small, dice_small), (entropy_large, dice_large) = missed(20), missed(400)
    assert entropy_large > 10 * entropy_small
    assert dice_small > 0.85 and dice_large < 1.2 * dice_small


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_a_weight_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="dice_weight"):
        Segmentation(dice_weight=wrong)
