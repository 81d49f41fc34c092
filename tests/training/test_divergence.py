from __future__ import annotations

import math
import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import example
from torch import Tensor, nn

from orchestrator import space
from orchestrator.data.load import Data, Split
from orchestrator.models import FAMILIES, Family, gan, mlp
from orchestrator.training import divergence, update
from orchestrator.training.divergence import (
    EXPLOSION_STEPS,
    STEPS_BETWEEN_CHECKS,
    STUCK_EPOCHS,
    Diverged,
    Watch,
    has_not_moved,
)
from orchestrator.training.fit import Job, fit

WILD = {"optimizer": "sgd", "learning_rate": 1e30, "batch_size": 10}


def test_a_rate_far_too_high_is_noticed_within_the_epoch(few_digits: Data) -> None:
    with pytest.raises(Diverged) as caught:
        next(fit(Job("mlp", "s", WILD, seed=0, max_epochs=5), few_digits))
    diverged = caught.value
    assert diverged.epoch == 1 and 1 < diverged.step <= 20
    assert diverged.kind in ("nan", "inf")
    assert diverged.last_finite is not None and math.isfinite(diverged.last_finite)


def test_rows_before_the_divergence_are_kept_and_the_step_counts_from_the_start(few_digits: Data) -> None:
    inputs = few_digits.train.inputs.clone()
    data = Data(few_digits.card, Split(inputs, few_digits.train.targets), few_digits.validation, few_digits.test)
    epochs = fit(Job("mlp", "s", {"batch_size": 10}, seed=0, max_epochs=5), data)
    first, second = next(epochs), next(epochs)
    inputs[:] = math.nan
    with pytest.raises(Diverged) as caught:
        next(epochs)
    assert (caught.value.kind, caught.value.epoch, caught.value.step) == ("nan", 3, 41)
    assert caught.value.last_finite is not None
    assert second["train_loss"] < first["train_loss"]


def test_a_validation_loss_that_is_not_finite_is_a_divergence_too(few_digits: Data) -> None:
    bad = Split(few_digits.validation.inputs * math.inf, few_digits.validation.targets)
    data = Data(few_digits.card, few_digits.train, bad, few_digits.test)
    with pytest.raises(Diverged, match="validation nan loss at epoch 1, step 4"):
        next(fit(Job("mlp", "s", {}, seed=0, max_epochs=2, metric="validation_accuracy", direction="max"), data))


def test_generated_images_that_are_not_finite_are_a_divergence_whatever_the_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = gan.GAN.generate

    def generate(model: gan.GAN, rows: int) -> Tensor:
        return sound(model, rows) * (1 if model.training else math.nan)

    monkeypatch.setattr(gan.GAN, "generate", generate)
    job = Job("gan", "xs", {}, 0, 1, metric="validation_frechet")
    with pytest.raises(Diverged, match="validation nan loss at epoch 1, step 1; the last finite loss was"):
        next(fit(job, example("gan", "adversarial_generation")))


def test_it_crosses_processes_whole() -> None:
    original = Diverged("inf", 3, 77, 0.5)
    copy = pickle.loads(pickle.dumps(original))
    assert vars(copy) == vars(original) and str(copy) == str(original)
    assert "the last finite loss was 0.5" in str(copy)


def test_the_mean_is_weighted_by_rows_and_names_the_first_bad_step() -> None:
    watch = Watch(every=32)
    watch.begin(epoch=2, steps_before=10)
    watch.add(torch.tensor(1.0), 30)
    watch.add(torch.tensor(4.0), 10)
    assert watch.mean() == pytest.approx(1.75)
    watch.add(torch.tensor(2.0), 10)
    watch.add(torch.tensor(math.inf), 10)
    watch.add(torch.tensor(math.nan), 10)
    with pytest.raises(Diverged) as caught:
        watch.check()
    assert (caught.value.kind, caught.value.step, caught.value.last_finite) == ("inf", 14, 2.0)


def test_on_a_gpu_losses_are_read_once_in_many_steps(few_digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading waits for the device; of 200 steps few may."""
    readings = {"count": 0}

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def read(self: torch.Tensor, *arguments: Any) -> Any:
            readings["count"] += 1
            return original(self, *arguments)

        return read

    def as_on_a_gpu(every: int, **others: Any) -> Watch:
        return Watch(STEPS_BETWEEN_CHECKS, **others)

    monkeypatch.setattr(update, "Watch", as_on_a_gpu)
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    next(fit(Job("mlp", "s", {"batch_size": 1, "gradient_clip": 1.0}, seed=0, max_epochs=1), few_digits))
    assert readings["count"] <= 2 * (200 // STEPS_BETWEEN_CHECKS) + 8


# ---- gradients ------------------------------------------------------------------------------------------------


class Rooted(nn.Module):
    """A linear layer whose loss stays finite while its gradient, from one step on, does not: that of a root at 0."""

    def __init__(self, sound_steps: int) -> None:
        super().__init__()
        self.layer, self.left = nn.Linear(64, 10), sound_steps

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs.flatten(1))
        if self.training:
            self.left -= 1
        return outputs if self.left >= 0 else outputs + (0 * outputs).abs().sqrt()


def rooted(monkeypatch: pytest.MonkeyPatch, sound_steps: int) -> None:
    sizes = FAMILIES["mlp"].sizes
    family = Family(mlp.Config, lambda config, shape, outputs: Rooted(sound_steps), sizes, FAMILIES["mlp"].tasks, "")
    monkeypatch.setitem(FAMILIES, "rooted", family)


@pytest.mark.parametrize(("clip", "sound_steps"), [(0.0, 7), (1.0, 7), (0.0, 19), (0.0, 20)])
def test_a_gradient_that_is_not_finite_is_told_from_a_loss(
    clip: float, sound_steps: int, few_digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an epoch, and at its last and first step (20 of batch 10)."""
    rooted(monkeypatch, sound_steps)
    with pytest.raises(Diverged, match="non-finite gradient at epoch") as caught:
        list(fit(Job("rooted", "s", {"batch_size": 10, "gradient_clip": clip}, 0, 3), few_digits))
    found = caught.value
    assert (found.kind, found.step, found.epoch) == ("gradient", sound_steps + 1, 1 + sound_steps // 20)
    assert found.last_finite is not None and 1 < found.last_finite < 4


def test_on_a_gpu_the_norms_of_clipping_tell_a_bad_gradient() -> None:
    watch = Watch(every=4)
    watch.begin(1, 0)
    for step in range(1, 4):
        watch.add_norm(torch.tensor(math.inf if step == 2 else 1.0))
        watch.add(torch.tensor(math.nan if step == 3 else 2.0), 1)
    with pytest.raises(Diverged) as caught:
        watch.check()
    assert (caught.value.kind, caught.value.step) == ("gradient", 2)


def test_with_a_gradient_scaler_an_overflow_is_no_divergence(few_digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.fit.autocast_type", lambda *_: torch.float16)
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device: scaler(device, init_scale=2.0**50))
    scales = []
    move = update.Updates._move

    def noted(self: update.Updates, *arguments: Any) -> None:
        move(self, *arguments)
        assert self.scaler is not None
        scales.append(self.scaler.get_scale())

    monkeypatch.setattr(update.Updates, "_move", noted)
    rows = list(
        fit(Job("mlp", "s", {"batch_size": 10, "learning_rate": 3e-3, "gradient_clip": 10.0}, 0, 6), few_digits)
    )
    assert scales[:25] == [2.0 ** (49 - step) for step in range(25)], "it overflowed for more than an epoch"
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]
    epoch, into = divmod(sum(b < a for a, b in pairwise([2.0**50, *scales])), len(scales) // 6)
    assert into, "an epoch begins with overflows and ends without"
    assert math.isnan(rows[0]["gradient_norm"]) and math.isfinite(rows[epoch]["gradient_norm"])


# ---- explosion ------------------------------------------------------------------------------------------------


def watched(losses: Sequence[float], **facts: Any) -> Diverged | None:
    watch = Watch(1, **facts)
    try:
        for loss in losses:
            watch.add(torch.tensor(loss), 1)
    except Diverged as diverged:
        return diverged
    return None


def test_a_loss_that_stays_hopelessly_high_is_an_explosion() -> None:
    noise = random.Random(0)
    losses = [2.0, 3.0, 50.0] + [noise.uniform(1e5, 1e7) for _ in range(300)]
    found = watched(losses)
    assert found is not None and found.kind == "explosion"
    assert EXPLOSION_STEPS < found.step < len(losses) and found.last_finite == pytest.approx(losses[found.step - 1])
    assert "64 losses in a row 10,000 times the first" in str(found)
    assert watched([2.0] + [3e4 * 1.01**step for step in range(100)]), "rising"
    assert watched([2.0] + [3e4] * 100), "or flat"


@pytest.mark.parametrize(
    "losses",
    [
        [2.0] * 10 + [1e30] * EXPLOSION_STEPS + [2.0] * 100,  # a spike
        [2.0] + [1e9 * 0.98**step for step in range(1000)],  # on its way back, for 500 steps
        [2.0] + [15000.0] * 500,  # high
        [0.0] + [1.0] * 500,  # no scale to judge by
        [-1.0] + [1e9] * 500,
    ],
)
def test_what_recovers_or_cannot_be_told_is_no_explosion(losses: list[float]) -> None:
    assert watched(losses) is None


def test_adversaries_losses_are_no_measure() -> None:
    assert watched([2.0] + [1e9] * 500, contested=True) is None
    assert watched([2.0] * 10 + [math.nan], contested=True) is not None


EXPLODES = {
    "learning_rate": 0.82, "batch_size": 32, "optimizer": "rmsprop", "momentum": 0.9, "activation": "leaky_relu",
    "dropout": 0.4,
}  # fmt: skip


def test_a_real_explosion_is_noticed_and_was_lost(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("lenet", "m", EXPLODES, 0, 10)
    with pytest.raises(Diverged, match="explosion at epoch") as caught:
        list(fit(job, digits))
    assert caught.value.epoch <= 6
    monkeypatch.setattr(divergence, "EXPLOSION_STEPS", math.inf)
    rows = list(fit(job, digits))
    # What is left after an explosion hangs on the last bit: 0.275 on one processor, below 0.25 on others.
    assert max(row["validation_accuracy"] for row in rows) < 0.4


# ---- stuck ----------------------------------------------------------------------------------------------------


def test_a_rate_of_nearly_zero_is_noticed_as_early_as_is_safe(few_digits: Data) -> None:
    config = {"optimizer": "sgd", "learning_rate": 1e-12, "batch_size": 10}
    epochs = fit(Job("mlp", "s", config, 0, 20), few_digits)
    rows = [next(epochs) for _ in range(STUCK_EPOCHS)]
    with pytest.raises(Diverged, match="stuck at epoch 6, step 120: the loss has not moved off its start") as caught:
        next(epochs)
    assert caught.value.kind == "stuck" and caught.value.last_finite == pytest.approx(rows[0]["train_loss"], rel=0.2)


def test_too_few_steps_or_a_training_that_is_over_are_not_judged(few_digits: Data) -> None:
    config = {"optimizer": "sgd", "learning_rate": 1e-12}
    few_steps = Job("mlp", "s", config | {"batch_size": 200}, 0, 40)
    over = Job("mlp", "s", config | {"batch_size": 10}, 0, 6)
    assert len(list(fit(few_steps, few_digits))) == 40
    assert len(list(fit(over, few_digits))) == 6


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """An MLP none of whose hidden units ever fires."""

    def build(*arguments: Any) -> nn.Module:
        model: Any = mlp.build(*arguments)
        with torch.no_grad():
            model.hidden[0].bias -= 1000
            model.hidden[2].bias -= 1000
        return model

    monkeypatch.setitem(FAMILIES, "dead", replace(FAMILIES["mlp"], build=build))


def test_dead_units_are_noticed_at_the_third_epoch(dead: None, few_digits: Data) -> None:
    epochs = fit(Job("dead", "s", {"batch_size": 50}, 0, 20), few_digits)
    next(epochs), next(epochs)
    with pytest.raises(Diverged, match="stuck at epoch 3, step 12:"):
        next(epochs)


def test_what_the_watch_knows_survives_an_interruption(dead: None, few_digits: Data, tmp_path: Path) -> None:
    job, path = Job("dead", "s", {"batch_size": 50}, 0, 20), tmp_path / "a.pt"
    with pytest.raises(Diverged) as whole:
        list(fit(job, few_digits))
    epochs = fit(job, few_digits, "cpu", path, checkpoint_epochs={2})
    next(epochs), next(epochs)
    epochs.close()
    with pytest.raises(Diverged) as resumed:
        list(fit(job, few_digits, "cpu", path))
    assert str(resumed.value) == str(whole.value)


def test_a_training_that_has_nothing_left_to_learn_is_not_dead(few_digits: Data) -> None:
    """Its gradients are zero too."""
    same = Split(few_digits.train.inputs, torch.zeros_like(few_digits.train.targets))
    data = replace(few_digits, train=same, validation=same)
    config = {"optimizer": "sgd", "learning_rate": 5.0, "batch_size": 10}
    rows = list(fit(Job("mlp", "s", config, 0, 12), data))
    assert rows[-1]["train_loss"] == rows[-1]["gradient_norm"] == 0 and len(rows) == 12


def flat(epochs: int, start: float = 2.3, spread: float = 1e-3, slope: float = 0.0) -> list[float]:
    noise = random.Random(1)
    return [start * (1 + slope * epoch + noise.gauss(0, spread)) for epoch in range(epochs)]


def stuck(losses: list[float], start: float = 2.3, best: int = 1, warmup: float = 0, longest: int = 20) -> bool:
    return has_not_moved(losses, start, best, warmup, longest)


def test_a_flat_loss_at_its_start_has_not_moved() -> None:
    assert stuck(flat(6)) and stuck([2.3] * 6)
    assert [stuck(flat(epochs)) for epochs in (4, 5, 6)] == [False, False, True]
    assert stuck([2.3 - 2e-7 * epoch for epoch in range(6)]), "what falls by rounding does not fall"
    assert not stuck([2.3 - 2e-6 * epoch for epoch in range(6)])


def test_one_doubt_is_enough_to_go_on() -> None:
    assert not stuck(flat(8, slope=-1e-3)), "it falls, if by a thousandth an epoch"
    assert not stuck(flat(8), best=5), "the metric got better of late"
    assert not stuck(flat(8), start=2.36), "it fell within the first epoch"
    assert not stuck([2.3, 2.2, *flat(8)]), "it was elsewhere in between"
    assert not stuck(flat(8, start=2.4)), "it is higher than it was, which says nothing of the metric"
    assert not stuck(flat(8), warmup=4) and stuck(flat(9), warmup=4), "the warmup has just ended"
    assert not stuck(flat(8), longest=40) and stuck(flat(10), longest=40), "most of the training is still to come"


# ---- the false-alarm side -------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


def draw(family: str, chance: random.Random) -> dict[str, Any]:
    """A random configuration of the family's search space."""
    drawn: dict[str, Any] = {}
    for name, parameter in (
        space.load(ROOT / f"search_spaces/{family}.yaml").given(task="classification").parameters.items()
    ):
        if not space.is_active(parameter, drawn):
            continue
        if isinstance(parameter, space.Choice):
            drawn[name] = chance.choice(parameter.values)
            continue
        ends = [math.log(end) if parameter.log else end for end in (parameter.low, parameter.high)]
        value = chance.uniform(*ends)
        value = math.exp(value) if parameter.log else value
        drawn[name] = round(value) if isinstance(parameter, space.Int) else value
    return drawn


def alarms(data: Data, draws: int, epochs: int, seed: int) -> list[tuple[str, int, float]]:
    """(kind, epoch, best accuracy at full length without the watch) of each draw that is called exploded or stuck."""
    chance, found = random.Random(seed), []
    for number in range(draws):
        family = ("perceptron", "mlp", "lenet")[number % 3]
        size = chance.choice(["xs", "s", "m"])
        job = Job(family, size, draw(family, chance), number, epochs)
        try:
            list(fit(job, data))
        except Diverged as diverged:
            if diverged.kind not in ("explosion", "stuck"):
                continue
            with pytest.MonkeyPatch.context() as without:
                without.setattr(divergence, "EXPLOSION_STEPS", math.inf)
                without.setattr(divergence, "DEAD_EPOCHS", math.inf)
                without.setattr("orchestrator.training.fit.has_not_moved", lambda *_: False)
                best = max(row["validation_accuracy"] for row in fit(job, data))
            found.append((diverged.kind, diverged.epoch, best))
    return found


def test_few_sane_configurations_are_stopped_and_none_that_learns(few_digits: Data) -> None:
    found = alarms(few_digits, draws=12, epochs=8, seed=7)
    assert len(found) <= 2 and all(best < 0.2 for _, _, best in found), found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_stopped_would_have_ended_at_chance(digits: Data) -> None:
    found = alarms(digits, draws=60, epochs=15, seed=7)
    assert 0 < len(found) <= 12 and all(best < 0.2 for _, _, best in found), found
