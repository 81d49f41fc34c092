from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up_sweep import CARD, MadeUpSweep
from mlflow import MlflowClient, pyfunc

from orchestrator import history
from orchestrator.tracking import mirror, models, store
from orchestrator.tracking.verify import verify
from orchestrator.training import checkpoint
from orchestrator.training.parameters import split_config


def trained(sweep: MadeUpSweep, trial: str) -> torch.nn.Module:
    """A network of the trial's configuration with weights of its own, saved as a finalist's worker does."""
    told = history.of(sweep.run_dir).trials[trial].trial
    settings = split_config("mlp", "s", "classification", told.config)
    torch.manual_seed(1)
    network = settings.family.build(settings.model, (1, 8, 8), 10)
    checkpoint.save(sweep.run_dir / "models" / f"{trial}.pt", network.state_dict())
    return network.eval()


@pytest.fixture
def mirrored(runs: Path) -> tuple[MadeUpSweep, torch.nn.Module]:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.run()
    network = trained(sweep, "mlp-s-1-f000")
    mirror.sync(sweep.run_dir)
    return sweep, network


def logged(runs: Path) -> list[str]:
    client = MlflowClient(store.address(runs))
    experiment = client.get_experiment_by_name("digits").experiment_id
    return [model.model_id for model in client.search_logged_models([experiment])]


def test_a_finalists_model_loads_back_and_gives_the_same_outputs(
    mirrored: tuple[MadeUpSweep, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, network = mirrored
    runs = sweep.run_dir.parent
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.address(runs))
    (model_id,) = logged(runs)
    loaded = pyfunc.load_model(f"models:/{model_id}")
    inputs = np.random.default_rng(0).normal(size=(7, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)).numpy()
    assert np.array_equal(loaded.predict(inputs), expected)
    assert loaded.metadata.signature.inputs.to_dict()[0]["tensor-spec"] == {"dtype": "float32", "shape": (-1, 1, 8, 8)}
    with pytest.raises(Exception, match="Shape of input"):
        loaded.predict(inputs.reshape(7, 64))
    raw = loaded.get_raw_model()
    assert all(torch.equal(a, b) for a, b in zip(raw.parameters(), network.parameters(), strict=True))


def test_the_model_belongs_to_the_trials_run_and_carries_its_test_metrics(
    mirrored: tuple[MadeUpSweep, torch.nn.Module],
) -> None:
    sweep, _ = mirrored
    runs = sweep.run_dir.parent
    client = MlflowClient(store.address(runs))
    model = client.get_logged_model(logged(runs)[0])
    run = client.get_run(str(model.source_run_id))
    assert run.info.run_name == "mlp-s-1-f000"
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert {metric.key: metric.value for metric in model.metrics or ()} == {"test_accuracy": 0.9}
    counts = verify(sweep.run_dir)
    assert counts["journal"] == counts["mlflow"] and counts["mlflow"]["models"] == 1


def test_a_model_is_logged_once_however_often_the_mirror_dies(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = MadeUpSweep(runs / "demo", trials=2)
    sweep.run()
    trained(sweep, "mlp-s-1-f000")

    class Killed(BaseException):
        pass

    def dies(*arguments: object, **options: object) -> None:
        raise Killed

    for call in ("log_model_artifacts", "log_outputs", "finalize_logged_model", "set_terminated"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(MlflowClient, call, dies)
            mirror.sync(sweep.run_dir)
    mirror.sync(sweep.run_dir)
    assert len(logged(runs)) == 1
    counts = verify(sweep.run_dir)
    assert counts["journal"] == counts["mlflow"]


def test_only_weights_and_text_are_stored_and_nothing_is_inferred(
    mirrored: tuple[MadeUpSweep, torch.nn.Module],
) -> None:
    sweep, _ = mirrored
    (folder,) = (sweep.run_dir.parent / store.ARTIFACTS / "models").glob("*/artifacts")
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {"MLmodel", "requirements.txt", "python_env.yaml", "data/weights.pt", "data/network.json"}
    assert json.loads((folder / "data" / "network.json").read_text())["card"]["fingerprint"] == CARD["fingerprint"]
    assert any(line.startswith("torch==") for line in (folder / "requirements.txt").read_text().splitlines())


def test_torn_weights_are_refused(mirrored: tuple[MadeUpSweep, torch.nn.Module]) -> None:
    sweep, _ = mirrored
    (weights,) = (sweep.run_dir.parent / store.ARTIFACTS / "models").glob("*/artifacts/data/weights.pt")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Exception, match="incomplete or altered"):
        models._load_pyfunc(str(weights.parent))
