from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn
from torch.distributions import Normal

from orchestrator.data.load import Split
from orchestrator.errors import UserError
from orchestrator.tasks.anomaly_detection import DRAWS, AnomalyDetection, average_precision, scored, terms
from orchestrator.tasks.generation import divergence


class Known(nn.Module):
    """Latents that are the first two numbers, with a variance of 4; every number is expected to be half the first
    latent, with a variance of 9."""

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows[:, :2], torch.full_like(rows[:, :2], math.log(4))

    def decode(self, latents: Tensor) -> Tensor:
        mean = 0.5 * latents[:, :1].repeat(1, 5)
        return torch.stack([mean, torch.full_like(mean, 9.0)], 1)


def split(rows: int = 60) -> Split:
    """A fifth are anomalies, some of them far out."""
    chance = torch.Generator().manual_seed(0)
    targets = (torch.rand(rows, generator=chance) < 0.2).long()
    return Split(torch.randn(rows, 5, generator=chance) * (1 + 2 * targets[:, None]), targets)


def evaluate(rows: Split, batch_size: int = 100, **own: Any) -> dict[str, float]:
    torch.manual_seed(1)
    return AnomalyDetection(**own).evaluate(Known(), rows, batch_size)


def test_the_reconstruction_is_torchs_gaussian_with_a_drawn_latent() -> None:
    rows = split().inputs
    torch.manual_seed(3)
    reconstruction, kl = terms(Known(), rows, draws=1)
    torch.manual_seed(3)
    latents = rows[:, :2] + 2 * torch.randn(60, 2)
    expected = -Normal(0.5 * latents[:, :1], 3.0).log_prob(rows).sum(1)
    assert torch.allclose(reconstruction, expected, rtol=1e-5)
    assert torch.equal(kl, divergence(*Known().encode(rows)))


def test_a_score_is_the_mean_over_draws() -> None:
    rows = torch.randn(1, 5).repeat(4000, 1)
    torch.manual_seed(0)
    many, _ = scored(Known(), rows)
    one, _ = terms(Known(), rows, draws=1)
    assert many.mean().item() == pytest.approx(one.mean().item(), rel=0.02)
    assert many.std().item() == pytest.approx(one.std().item() / math.sqrt(DRAWS), rel=0.1)


def test_training_never_looks_at_a_label() -> None:
    data, losses = split(), []
    for targets in (data.targets, 1 - data.targets, torch.empty(60, 0)):
        torch.manual_seed(0)
        [(player, loss)] = AnomalyDetection().step(Known(), data.inputs, targets)
        losses.append(loss.item())
    assert player == "" and losses[0] == losses[1] == losses[2]


def test_what_trials_are_chosen_by_is_of_normal_rows_alone() -> None:
    data = split()
    whole = evaluate(data)
    data.inputs[data.targets == 1] *= 1000
    changed = evaluate(data)
    assert changed["average_precision"] > whole["average_precision"]
    for name in ("loss", "reconstruction", "kl"):
        assert changed[name] == whole[name]
    normal = data.inputs[data.targets == 0]
    assert whole["kl"] == pytest.approx(divergence(*Known().encode(normal)).mean().item(), rel=1e-6)
    assert whole["loss"] == pytest.approx(whole["reconstruction"] + whole["kl"])


def test_the_areas_agree_with_scikit_learn_and_rise_with_the_scores() -> None:
    data, found = split(), evaluate(split())
    torch.manual_seed(1)
    score, _ = scored(Known(), data.inputs)
    assert found["roc_auc"] == pytest.approx(roc_auc_score(data.targets, score))
    assert found["average_precision"] == pytest.approx(average_precision_score(data.targets, score))
    assert found["roc_auc"] > 0.8


def test_the_precision_of_equal_scores_does_not_hang_on_their_order() -> None:
    torch.manual_seed(0)
    scores, there = torch.randn(200).mul(2).round(), torch.rand(200) < 0.3
    for order in (torch.arange(200), torch.randperm(200)):
        found = average_precision(scores[order], there[order])
        assert found == pytest.approx(average_precision_score(there, scores))
    # By hand: at 3 one of one is there, at 2 two of three, at 1 two of four.
    by_hand = average_precision(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([True, True, False, False]))
    assert by_hand == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_without_an_anomaly_there_is_a_loss_and_no_area() -> None:
    data = split()
    found = evaluate(Split(data.inputs, torch.zeros_like(data.targets)))
    assert math.isfinite(found["loss"]) and math.isnan(found["roc_auc"]) and math.isnan(found["average_precision"])


def test_beta_weighs_the_divergence_in_training_alone() -> None:
    data, losses = split(), []
    for beta in (0.0, 3.0):
        torch.manual_seed(1)
        losses += [loss.item() for _, loss in AnomalyDetection(beta=beta).step(Known(), data.inputs, data.targets)]
    kl = divergence(*Known().encode(data.inputs)).mean().item()
    assert losses[1] - losses[0] == pytest.approx(3 * kl, rel=1e-4)
    assert evaluate(data, beta=3.0) == evaluate(data)


def test_a_row_however_far_out_has_a_finite_score() -> None:
    class Unsure(Known):
        def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
            return rows[:, :2], rows[:, :2].square()

    far = torch.tensor([[0.1] * 5, [200.0] * 5])
    score, kl = scored(Unsure(), far)
    assert score.isfinite().all() and kl.isfinite().all() and score[1] > score[0]


@pytest.mark.parametrize("wrong", [-0.1, math.nan])
def test_a_beta_outside_its_range_is_refused(wrong: float) -> None:
    with pytest.raises(UserError, match="beta"):
        AnomalyDetection(beta=wrong)
