"""What a plan will cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plans import generators, made, write

from orchestrator.errors import UserError
from orchestrator.forecast import Pace, forecast, probe
from orchestrator.screen import expected
from orchestrator.spec import NO_LIMIT, Budget


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_the_forecast_follows_the_rule(project: Path, data_root: Path) -> None:
    """Rungs 1 and 3 of 9 epochs, a third passes each: 1 + 2/3 + 6/9 epochs a trial, and 9 for the finalist."""
    told = forecast(made(project, data_root))
    assert told.epochs == pytest.approx(8 * (4 * (1 + 2 / 3 + 6 / 9) + 9))
    assert (told.trials, told.most_epochs, told.seconds) == (40, 360, None)
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
    told = forecast(planned, timings)
    assert (told.seconds or 0) > 0
    # However few rows are trained on, all of the validation rows are looked at after each epoch.
    validated = forecast(planned, {key: Pace(0.0, 1.0) for key in timings})
    assert validated.seconds == pytest.approx(told.epochs)
    del timings["mlp", "xs"]
    assert forecast(planned, timings).seconds is None, "a part that is unknown is not made up"


def test_where_time_alone_is_limited_and_no_pace_is_known_nothing_is_foretold(project: Path, data_root: Path) -> None:
    planned = made(project, data_root)
    free = planned.spec.model_copy(update={"trials": NO_LIMIT, "budget": Budget(hours=8)})
    hours = replace(planned, spec=free)
    assert forecast(hours) is None
    line, *_, budget = expected(hours, None, "auto")
    assert line == "8 cells × (as many trials as the budget pays + 1 finalist) on the cluster at auto"
    assert budget == "Budget: 8 hours"
    paid = forecast(hours, {key: Pace(1e-3, 0.0) for key in probe(planned)})
    assert paid is not None and 100 < paid.trials < 100_000


def test_the_probe_is_for_as_many_workers_as_are_asked_for(
    project: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine of one GPU a YAML that says eight workers is overruled."""
    planned = made(project, data_root)
    eight = replace(planned, spec=planned.spec.model_copy(update={"workers": 8}))
    asked: list[str] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("orchestrator.forecast.probe", lambda plan, device: asked.append(device) or {})
    assert "on 1 worker;" in expected(eight, 1, None)[0] and asked == ["cuda"]
    with pytest.raises(UserError, match="lower workers"):
        expected(eight, None, None)


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
