"""A finalist's network as a logged model: its weights, what to build them into, and its signature.

MLflow's own way for torch traces the network (`torch.export`, about a second each) or pickles it. Here the weights are
copied as they are, beside a description; loading builds the network with this package and fills it. Nothing is
pickled, and writing needs no torch.

    model = mlflow.pyfunc.load_model("models:/m-…")     rows in, what the network gives out (NumPy, float32)
    network = model.get_raw_model()                     the torch module

Inputs are normalized as in training, by the card beside the weights. What makes images or texts leaves some in its run,
`samples.png` or `samples.txt`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.reading import RUN_TAG, TRIAL_TAG
from orchestrator.training import samples
from orchestrator.training.network import Network

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from torch import nn

DESCRIPTION, WEIGHTS = "network.json", "weights.pt"
IMAGES, TEXTS = "samples.png", "samples.txt"


@dataclass(frozen=True)
class Destination:
    """Where a model goes: the run of the trial that trained it."""

    client: MlflowClient
    experiment: str
    run_id: str


def log(to: Destination, trial: str, network: Network, weights: Path, tags: Mapping[str, str]) -> str:
    """Log a finalist's model to its run; what is there already is kept or completed. Returns its id."""
    from mlflow.entities import LoggedModelOutput

    tags = {key: text for key, text in tags.items() if not key.startswith("mlflow.")}
    query = f"tags.`{RUN_TAG}` = '{tags[RUN_TAG]}' AND tags.`{TRIAL_TAG}` = '{trial}'"
    there = to.client.search_logged_models([to.experiment], query)
    if there and there[0].status == "READY":
        return str(there[0].model_id)
    name = trial.replace(".", "_")  # a dot is not allowed
    model = (
        there[0]
        if there
        else to.client.create_logged_model(to.experiment, name, to.run_id, dict(tags), model_type=network.family)
    )
    with tempfile.TemporaryDirectory(prefix="orchestrate-") as folder:
        _write(Path(folder), model.model_id, to.run_id, network, weights)
        to.client.log_model_artifacts(model.model_id, folder)
    _leave_samples(to, network, weights)
    # MLflow refuses an output that it has.
    outputs = to.client.get_run(to.run_id).outputs.model_outputs if there else []
    if model.model_id not in [output.model_id for output in outputs]:
        to.client.log_outputs(to.run_id, [LoggedModelOutput(model.model_id, 0)])
    to.client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _leave_samples(to: Destination, network: Network, weights: Path) -> None:
    """Leave in the run what the network makes; nothing where it tells classes or values, or can't be sampled."""
    if network.card["task"] == "generation":
        to.client.log_image(to.run_id, samples.sheet(network.filled(weights)), IMAGES)
    elif network.card["task"] == "language_modelling":
        writer = network.filled(weights)
        if hasattr(writer, "sample"):
            to.client.log_text(to.run_id, samples.texts(writer, network.card), TEXTS)


def _write(folder: Path, model_id: str, run_id: str, network: Network, weights: Path) -> None:
    """The files of an MLflow model: MLmodel, environment, and `data/` for `_load_pyfunc`."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    data = folder / "data"
    data.mkdir()
    shutil.copyfile(weights, data / WEIGHTS)
    (data / DESCRIPTION).write_text(json.dumps(asdict(network), indent=1) + "\n", encoding="utf-8")
    float32, shape = np.dtype(np.float32), network.card["input_shape"]
    tokens = bool(network.card.get("vocabulary"))
    graphs = bool(network.card.get("graphs"))
    rows = TensorSpec(np.dtype(np.int64), (-1, shape[0])) if tokens else TensorSpec(float32, (-1, *shape))
    if graphs:
        rows = TensorSpec(np.dtype(np.int64), (-1, shape[0], shape[1] + shape[2]))
    # What a generator gives out for an image is its own affair: a discriminator one score.
    outputs = -1 if network.card["task"] == "generation" else network.card["outputs"]
    # Of what has a class at every place, the pixels of an image or the nodes of a graph, outputs are for all of them.
    places = {"segmentation": shape[1:], "node_classification": shape[:1]}.get(network.card["task"], ())
    signature = ModelSignature(Schema([rows]), Schema([TensorSpec(float32, (-1, outputs, *places))]))
    model = Model(run_id=run_id, model_id=model_id, signature=signature)
    pyfunc.add_to_model(model, __name__, data="data", python_env="python_env.yaml")
    model.save(str(folder / "MLmodel"))
    needed = requirements("torch-geometric") if graphs else requirements()
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in needed), encoding="utf-8")
    (folder / "python_env.yaml").write_text(
        f"python: {pyfunc.PYTHON_VERSION}\ndependencies:\n- -r requirements.txt\n", encoding="utf-8"
    )


@cache
def requirements(*libraries: str) -> tuple[str, ...]:
    """What loading needs, `libraries` among it, at the versions that are here; nothing is inferred by running pip."""
    versions = {name: metadata.version(name) for name in ("mlflow", "torch", "numpy", *libraries)}
    # The distribution that brings this package is known by its command.
    mine = [point.dist for point in metadata.entry_points(group="console_scripts", name="orchestrate")]
    versions |= {dist.name: dist.version for dist in mine if dist is not None}
    return tuple(f"{name}=={version}" for name, version in versions.items())


class _Predictor:
    """What MLflow calls: rows [n, *input_shape] (float32) → outputs [n, outputs], at every place of an image or graph.

    Token ids [n, time] and tables of nodes [n, nodes, columns] are int64.
    """

    def __init__(self, network: nn.Module, whole: bool) -> None:
        self._network, self._whole = network, whole

    def predict(self, inputs: np.ndarray[Any, Any], params: dict[str, Any] | None = None) -> Any:
        import torch

        with torch.inference_mode():
            kind = torch.int64 if self._whole else torch.float32
            return self._network(torch.as_tensor(inputs, dtype=kind)).numpy()

    def get_raw_model(self) -> nn.Module:
        return self._network


def _load_pyfunc(path: str) -> _Predictor:
    """The name that MLflow asks for. `path` is the model's `data` folder."""
    network = Network(**json.loads((Path(path) / DESCRIPTION).read_text(encoding="utf-8")))
    whole = bool(network.card.get("vocabulary") or network.card.get("graphs"))
    return _Predictor(network.filled(Path(path) / WEIGHTS), whole)
