"""A small specification with its spaces on disk, and the plan that it makes."""

from __future__ import annotations

from pathlib import Path

from orchestrator import plan, spec
from orchestrator.data.prepare import prepare
from orchestrator.plan import Plan

PIPELINE = """\
name: small
data: digits
families: [perceptron, mlp]
sizes: [xs, s]
data_fractions: [0.25, 1.0]
trials: 4
finalists: 1
max_epochs: 9
early_stopping: {name: halving, min_epochs: 1, reduction_factor: 3}
"""
SPACE = """\
family: FAMILY
parameters:
  learning_rate: {type: float, low: 1.0e-3, high: 1.0e-1, log: true}
  label_smoothing: {type: float, low: 0.0, high: 0.2, when: {task: [classification]}}
  loss_function: {type: choice, values: [mse, mae], when: {task: [regression]}}
"""


def write(folder: Path) -> Path:
    """Specification and spaces, under `folder`."""
    (folder / "pipelines").mkdir()
    (folder / "search_spaces").mkdir()
    for family in ("perceptron", "mlp"):
        (folder / "search_spaces" / f"{family}.yaml").write_text(SPACE.replace("FAMILY", family))
    (folder / "pipelines" / "small.yaml").write_text(PIPELINE)
    return folder


def made(project: Path, data_root: Path, *overrides: str) -> Plan:
    """The plan of what is written there."""
    ((sweep, document),) = spec.load(project / "pipelines" / "small.yaml", overrides)
    return plan.make(sweep, document, prepare(plan.dataset(sweep, document), data_root))


def generators(project: Path, data_root: Path, *overrides: str) -> Plan:
    """The same with three families that make images."""
    spaces = Path(__file__).parents[1] / "search_spaces"
    names = ("data=digits_images", "families=[vae, gan, diffusion]", f"search_spaces={spaces}")
    return made(project, data_root, *names, *overrides)
