"""What a graph costs: it is gone through as a whole, however few of its nodes are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from papers import citations

from orchestrator import plan, spec
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare
from orchestrator.forecast import forecast, probe
from orchestrator.plan import Plan
from orchestrator.training.parameters import describe

pytest.importorskip("torch_geometric")

ROOT = Path(__file__).parents[1]
PIPELINE = f"""
name: small
data: cora
families: [gnn]
sizes: [xs]
data_fractions: [0.4, 1.0]
search_spaces: {ROOT / "search_spaces"}
metric: validation_accuracy
trials: 4
finalists: 1
max_epochs: 10
early_stopping: {{name: none}}
"""


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    (tmp_path / "small.yaml").write_text(PIPELINE)
    ((sweep, document),) = spec.load(tmp_path / "small.yaml", ())
    return plan.make(sweep, document, prepare(citations(tmp_path), tmp_path))


def test_an_epoch_of_every_cell_costs_the_graph(planned: Plan) -> None:
    card = planned.card
    graph = describe("gnn", "xs", card.input_shape, card.outputs, task=card.task).flops_per_sample
    assert [cell.train_samples for cell in planned.cells] == [6, 15]
    for cell in planned.cells:
        told = int((load(planned.data, cell.data_fraction).train.targets >= 0).sum())
        assert told == cell.train_samples
        assert graph <= cell.flops * cell.train_samples < graph + cell.train_samples
    assert forecast(planned).flops == pytest.approx(2 * (4 + 1) * 10 * graph, rel=1e-3)


def test_its_time_is_that_of_the_graph_too(planned: Plan) -> None:
    ((_, pace),) = probe(planned).items()
    an_epoch = pace.train * 15 + pace.validation
    assert forecast(planned, {("gnn", "xs"): pace}).seconds == pytest.approx(2 * (4 + 1) * 10 * an_epoch)
