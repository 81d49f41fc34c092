"""What a plan will cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plans import generators, made, write

from orchestrator.forecast import Pace, forecast, probe


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_the_forecast_follows_the_rule(project: Path, data_root: Path) -> None:
    """Rungs 1 and 3 of 9 epochs, a third passes each: 1 + 2/3 + 6/9 epochs a trial, and 9 for the finalist."""
    expected = forecast(made(project, data_root))
    assert expected.epochs == pytest.approx(8 * (4 * (1 + 2 / 3 + 6 / 9) + 9))
    assert (expected.trials, expected.most_epochs, expected.seconds) == (40, 360, None)
    whole = forecast(made(project, data_root, "early_stopping.name=none"))
    assert whole.epochs == whole.most_epochs == 360


def test_the_forecast_knows_the_cells_that_get_fewer_trials(project: Path, data_root: Path) -> None:
    changes = ("families=[mlp]", "sizes=[xs]", "data_fractions=[0.5, 1.0]", "early_stopping.name=none", "transfer=true")
    alike = made(project, data_root, *changes)
    fewer = made(project, data_root, *changes, "transfer_trials=1")
    less, before, after = alike.spec.trials - 1, forecast(alike), forecast(fewer)
    assert alike.trials - fewer.trials == less == before.trials - after.trials
    assert before.epochs - after.epochs == less * alike.spec.max_epochs
    large = alike.cells[1]
    saved = less * alike.spec.max_epochs * large.flops * large.train_samples
    assert before.flops - after.flops == pytest.approx(saved)


def test_the_forecast_knows_the_cells_without_finalists(project: Path, data_root: Path) -> None:
    changes = ("families=[mlp]", "sizes=[xs]", "data_fractions=[0.5, 1.0]")
    everywhere = made(project, data_root, *changes)
    on_all = made(project, data_root, *changes, "finalists_on=[1.0]")
    before, after = forecast(everywhere), forecast(on_all)
    count, epochs, small = on_all.spec.finalists, on_all.spec.max_epochs, on_all.cells[0]
    assert everywhere.trials - on_all.trials == before.trials - after.trials == count > 0
    assert before.epochs - after.epochs == count * epochs
    assert before.flops - after.flops == pytest.approx(count * epochs * small.flops * small.train_samples)


def test_the_forecast_of_time_comes_from_a_probe(project: Path, data_root: Path) -> None:
    planned = made(project, data_root)
    threads = torch.get_num_threads()
    timings = probe(planned)
    assert set(timings) == {(family, size) for family in ("perceptron", "mlp") for size in ("xs", "s")}
    assert all(pace.train > 0 and pace.validation > 0 for pace in timings.values())
    assert torch.get_num_threads() == threads
    expected = forecast(planned, timings)
    assert (expected.seconds or 0) > 0
    # However few rows are trained on, all of the validation rows are looked at after each epoch.
    validated = forecast(planned, {key: Pace(0.0, 1.0) for key in timings})
    assert validated.seconds == pytest.approx(expected.epochs)
    del timings["mlp", "xs"]
    assert forecast(planned, timings).seconds is None, "a part that is unknown is not made up"


def test_a_family_whose_defaults_diverge_does_not_stop_the_plan(
    project: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.training import fit
    from orchestrator.training.divergence import Diverged

    def diverging(job: fit.Job, data: object, device: str) -> object:
        raise Diverged("nan", 1, 1, None)
        yield

    monkeypatch.setattr(fit, "fit", diverging)
    planned = made(project, data_root)
    assert probe(planned) == {}
    assert forecast(planned, {}).seconds is None


def test_generators_are_probed_by_the_images_that_they_make(project: Path, data_root: Path) -> None:
    planned = generators(project, data_root, "metric=validation_frechet", "sizes=[xs]", "data_fractions=[1.0]")
    assert set(probe(planned)) == {(family, "xs") for family in ("vae", "gan", "diffusion")}
