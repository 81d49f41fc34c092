"""The examples of docs/clusters against the schemas of those who read them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

EXAMPLES = Path(__file__).parents[2] / "docs" / "clusters"
KUBERNETES = "1.31"

# Of KubeRay's custom resource no tool has the schema: the fields of its API reference (v1.6) that may stand here.
TEXT, COUNT, START = {"type": "string"}, {"type": "integer", "minimum": 0}, {"additionalProperties": {"type": "string"}}


def _mapping(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "additionalProperties": False, "properties": properties}


HEAD = _mapping(("rayStartParams", "template"), rayStartParams=START, template=_mapping(("spec",), spec={}))
WORKERS = _mapping(
    ("groupName", "template"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=START,
    template=_mapping(("spec",), spec={}),
)
CLUSTER = _mapping(
    ("headGroupSpec", "workerGroupSpecs"),
    rayVersion=TEXT,
    authOptions=_mapping(("mode",), mode={"enum": ["token"]}),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = _mapping(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=TEXT,
    shutdownAfterJobFinishes={"type": "boolean"},
    backoffLimit=COUNT,
    rayClusterSpec=CLUSTER,
)


def test_the_launchers_yaml_is_what_ray_expects() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((EXAMPLES / "launcher.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**prepare_config(config), "head_start_command": []})


def test_the_manifest_is_what_kubernetes_and_kuberay_expect() -> None:
    documents = list(yaml.safe_load_all((EXAMPLES / "kuberay.yaml").read_text(encoding="utf-8")))
    (job,) = (document for document in documents if document["kind"] == "RayJob")
    assert job["apiVersion"] == "ray.io/v1"
    jsonschema.validate(job["spec"], JOB)
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        claims = {volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"]}
        assert claims <= {document["metadata"]["name"] for document in documents}
    for document in documents:
        if document is not job:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        pod["spec"]["containers"][0]["imagee"] = "a"
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_batch_script_is_bash() -> None:
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=True)


@pytest.mark.parametrize("name", ["launcher.yaml", "slurm.sh", "kuberay.yaml"])
def test_the_sweeps_command_is_one_that_there_is(name: str) -> None:
    import shlex

    from orchestrator.cli import orchestrate

    text = (EXAMPLES / name).read_text(encoding="utf-8")
    words = shlex.split(text.partition("orchestrate sweep ")[2].splitlines()[0].rstrip("'\""), comments=True)
    assert words[1:3] == ["--address", "auto"]
    assert (EXAMPLES.parents[1] / words[0]).is_file(), words[0]
    made = orchestrate.commands["sweep"].make_context("sweep", words)
    assert made.params["address"] == "auto"
    assert CliRunner().invoke(orchestrate, ["sweep", "--help"]).exit_code == 0
