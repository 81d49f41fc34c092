"""Logged models of what is neither a table nor one output a row."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import pyfunc

from orchestrator.data.card import Card
from orchestrator.graphs import Graphs
from orchestrator.models import FAMILIES
from orchestrator.tasks import TASKS
from orchestrator.tracking import models
from orchestrator.training import checkpoint
from orchestrator.training.parameters import split_config
from orchestrator.windows import Windows

GRAPHS = Graphs(6, 3, 2, 20, 6, 12)


# MLflow, of its own types, in whichever test loads a model first.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
@pytest.mark.parametrize(
    ("family", "task", "shape", "outputs"),
    [
        ("unet", "segmentation", (3, 16, 24), (2, 16, 24)),
        ("gru", "regression", Windows(12, 2), (2,)),
        ("gnn", "multilabel", GRAPHS, (2,)),
        ("gnn", "node_classification", GRAPHS._replace(each_node=True), (2, 6)),
    ],
)
def test_a_logged_model_gives_what_the_network_gives(
    family: str, task: str, shape: tuple[int, ...], outputs: tuple[int, ...], tmp_path: Path
) -> None:
    if not FAMILIES[family].installed():
        pytest.skip("needs the extra graphs")
    window = (12, 1) if isinstance(shape, Windows) else None
    card = Card("mine", task, shape, 2, (), {}, "", {}, "", {}, graphs=family == "gnn", window=window)
    settings = split_config(family, "xs", task, {})
    torch.manual_seed(0)
    network = settings.family.build(settings.model, shape, 2).eval()
    checkpoint.save(tmp_path / "weights.pt", network.state_dict())
    folder = tmp_path / "model"
    folder.mkdir()
    models._write(folder, "m-1", "r-1", models.Network(family, "xs", {}, asdict(card)), tmp_path / "weights.pt")
    loaded = pyfunc.load_model(str(folder))
    inputs, _ = TASKS[task]().example(5, shape, 2)
    with torch.inference_mode():
        expected = network(inputs).numpy()
    found = loaded.predict(inputs.numpy())
    assert found.shape == (5, *outputs) and np.array_equal(found, expected)
    signature = loaded.metadata.signature
    assert tuple(signature.outputs.to_dict()[0]["tensor-spec"]["shape"]) == (-1, *outputs)
    assert tuple(signature.inputs.to_dict()[0]["tensor-spec"]["shape"]) == (-1, *inputs.shape[1:])
    assert ("torch-geometric" in (folder / "requirements.txt").read_text()) == (family == "gnn")
