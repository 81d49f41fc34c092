from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from orchestrator import records
from orchestrator.data.card import Card
from orchestrator.data.load import Data, Split
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.models import gnn
from orchestrator.models.diagnostics import smoothness
from orchestrator.tasks.examples import random_graphs
from orchestrator.training.fit import Job, fit
from orchestrator.training.parameters import describe

pytest.importorskip("torch_geometric")

LAYERS = ("gcn", "sage", "gat", "gin")
layers = pytest.mark.parametrize("layers", LAYERS)
CORA = Graphs(2708, 30, 168, 1434, 2708, 10556, each_node=True)
MOLECULES = Graphs(132, 7, 6, 73, 18, 39)


def build(config: dict[str, Any], shape: Graphs, outputs: int = 3, seed: int = 0) -> gnn.GNN:
    torch.manual_seed(seed)
    model = gnn.build(gnn.Config(**{"width": 8, **config}), shape, outputs)
    assert isinstance(model, gnn.GNN)
    return model.eval()


def table(codes: list[list[int]], links: list[tuple[int, int]], shape: Graphs) -> Tensor:
    """One graph [1, nodes, columns]."""
    rows = torch.zeros(shape.nodes, shape.codes + shape.neighbours, dtype=torch.int16)
    for node, said in enumerate(codes):
        rows[node, : len(said)] = torch.tensor(said)
        around = [b + 1 for a, b in links if a == node] + [a + 1 for a, b in links if b == node]
        rows[node, shape.codes : shape.codes + len(around)] = torch.tensor(around)
    return rows[None]


SHAPE = Graphs(nodes=7, codes=2, neighbours=4, vocabulary=9, mean_nodes=5, mean_links=10)
CODES = [[1, 5], [2, 8], [3], [4, 6], [7, 1]]
LINKS = [(0, 1), (1, 2), (2, 3), (0, 2), (3, 4)]


def features() -> Tensor:
    """What is said of the nodes of that graph, of length 1."""
    said = torch.zeros(5, 8)
    for node, codes in enumerate(CODES):
        said[node, [code - 1 for code in codes]] = 1 / len(codes) ** 0.5
    return said


def adjacency() -> Tensor:
    matrix = torch.zeros(5, 5)
    for a, b in LINKS:
        matrix[a, b] = matrix[b, a] = 1
    return matrix


def attended(hop: Any, said: Tensor) -> Tensor:
    """Equations 1, 3 and 5 of the paper, with a matrix of all pairs."""
    projected = hop.lin(said).unflatten(1, (4, 2)).transpose(0, 1)  # [heads, nodes, features]
    from_, to = ((projected * weight.transpose(0, 1)).sum(2) for weight in (hop.att_src, hop.att_dst))
    scores = functional.leaky_relu(to[:, :, None] + from_[:, None, :], 0.2)
    weights = scores.masked_fill(adjacency() + torch.eye(5) == 0, -torch.inf).softmax(2)
    return (weights @ projected).transpose(0, 1).flatten(1) + hop.bias


def test_each_kind_of_layer_is_its_papers_formula() -> None:
    links, said = adjacency(), features()
    near = links + torch.eye(5)
    root = near.sum(1).rsqrt()
    formulas = {
        "gcn": lambda hop: root[:, None] * near * root @ hop.lin(said) + hop.bias,
        "sage": lambda hop: hop.lin_l(links @ said / links.sum(1, keepdim=True)) + hop.lin_r(said),
        "gat": lambda hop: attended(hop, said),
        "gin": lambda hop: hop.nn(said + links @ said),
    }
    for kind, formula in formulas.items():
        model = build({"layers": kind, "hops": 1}, SHAPE)
        expected = functional.relu(formula(model.hops[0]))
        assert torch.allclose(model.states(table(CODES, LINKS, SHAPE)).states, expected, atol=1e-6), kind


@layers
def test_nodes_in_another_order_have_the_same_outputs_in_that_order(layers: str) -> None:
    order = [3, 0, 4, 2, 1]
    place = {node: index for index, node in enumerate(order)}
    moved = table([CODES[node] for node in order], [(place[a], place[b]) for a, b in LINKS], SHAPE)
    config = {"layers": layers, "hops": 3}
    each = build(config, SHAPE._replace(each_node=True))
    before, after = each(table(CODES, LINKS, SHAPE)), each(moved)
    assert torch.allclose(before[:, :, order], after[:, :, :5], atol=1e-6)
    assert not torch.allclose(before[:, :, 0], before[:, :, 3], atol=1e-4)
    for pooling in ("mean", "sum", "max"):
        whole = build(config | {"pooling": pooling}, SHAPE)
        assert torch.allclose(whole(table(CODES, LINKS, SHAPE)), whole(moved), atol=1e-5)


@layers
def test_a_graph_has_the_same_outputs_alone_and_among_others(layers: str) -> None:
    torch.manual_seed(0)
    others = random_graphs(3, SHAPE)
    mine = table(CODES, LINKS, SHAPE).long()
    for each_node in (True, False):
        model = build({"layers": layers}, SHAPE._replace(each_node=each_node))
        together = model(torch.cat([others[:2], mine, others[2:]]))
        assert torch.allclose(together[2], model(mine)[0], atol=1e-6)
    # The places of padding give nothing out.
    each = build({"layers": layers}, SHAPE._replace(each_node=True))
    assert not each(mine)[0, :, 5:].any()


@layers
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_a_node_sees_as_far_as_there_are_hops(layers: str, hops: int) -> None:
    chain = [(node, node + 1) for node in range(6)]
    model = build({"layers": layers, "hops": hops}, SHAPE._replace(each_node=True))
    before = model(table([[1], [2], [3], [4], [5], [6], [7]], chain, SHAPE))
    after = model(table([[8], [2], [3], [4], [5], [6], [7]], chain, SHAPE))
    changed = (before - after).abs().sum((0, 1)) > 1e-7
    assert not changed[hops + 1 :].any()
    assert changed[0]


def products(config: dict[str, Any], shape: Graphs, outputs: int) -> tuple[int, int]:
    """Multiplications of a graph by hand: of matrices, and along links, forwards."""
    nodes, links, width = shape.mean_nodes, shape.mean_links, 16
    dense = nodes * width * outputs if shape.each_node else width * outputs
    passed = 0
    for inputs in [shape.vocabulary - 1, *[width] * (config["hops"] - 1)]:
        kinds = {
            "gcn": (nodes * inputs * width, (links + nodes) * width),
            "sage": (2 * nodes * inputs * width, links * inputs),
            "gat": (nodes * inputs * width, (links + nodes) * width),
            "gin": (nodes * (inputs * width + width * width), links * inputs),
        }
        dense, passed = dense + kinds[config["layers"]][0], passed + kinds[config["layers"]][1]
    return dense, passed


@layers
@pytest.mark.parametrize("each_node", [True, False])
def test_operations_equal_a_count_by_hand(layers: str, each_node: bool) -> None:
    shape = Graphs(6, 3, 2, 20, mean_nodes=5, mean_links=9, each_node=each_node)
    config = {"layers": layers, "hops": 2}
    dense, passed = products(config, shape, 4)
    first, second = 19, 16
    # Backwards twice as much, but for what has no gradient: the features, so the first product's own input and, where
    # neighbours are gathered before it, their sum; and the links' weights, but for attention's.
    if layers == "gcn":
        backwards = 2 * dense - 5 * first * 16 + passed
    elif layers == "gat":
        backwards = 2 * dense - 5 * first * 16 + 2 * passed
    else:
        ways = 2 if layers == "sage" else 1
        backwards = 2 * dense - ways * 5 * first * 16 + 9 * second
    task = "node_classification" if each_node else "regression"
    counted = describe("gnn", "xs", shape, 4, task=task, config=config).flops_per_sample
    assert counted == 2 * (dense + passed + backwards)


@layers
def test_the_products_of_matrices_are_those_that_torch_counts(layers: str) -> None:
    shape = Graphs(6, 3, 2, 20, mean_nodes=6, mean_links=12)
    model = build({"layers": layers, "width": 16}, shape, 4)
    with FlopCounterMode(display=False) as counter:
        model(random_graphs(3, shape))
    assert counter.get_total_flops() == 3 * 2 * products({"layers": layers, "hops": 2}, shape, 4)[0]


@layers
@pytest.mark.parametrize(("shape", "task"), [(CORA, "node_classification"), (MOLECULES, "multilabel")], ids=str)
def test_parameters_at_least_double_whatever_the_layers(layers: str, shape: Graphs, task: str) -> None:
    config = {"layers": layers}
    counts = [describe("gnn", size, shape, 7, task=task, config=config).params for size in records.SIZES]
    assert all(after >= 2 * before for before, after in pairwise(counts)), counts


def test_gcn_of_width_16_has_the_papers_layers() -> None:
    # 1433 → 16 → 16 and 7 classes, where the paper's second hop gives the classes.
    count = describe("gnn", "xs", CORA, 7, task="node_classification").params
    assert count == (1433 + 1) * 16 + 17 * 16 + 17 * 7


@layers
def test_a_table_of_what_is_said_of_nodes_is_an_embedding(layers: str) -> None:
    described = describe("gnn", "xs", CORA, 7, task="node_classification", config={"layers": layers})
    tables = {"gcn": 1, "sage": 2, "gat": 1, "gin": 1}[layers]  # sage: one for neighbours, one for the node itself
    assert described.params - described.params_without_embeddings == tables * 1433 * 16
    if layers == "gcn":
        assert described.params_without_embeddings == 16 + 17 * 16 + 17 * 7


def test_many_hops_make_nodes_alike() -> None:
    torch.manual_seed(0)
    shape = Graphs(40, 3, 6, 60, 40, 240)
    tables = random_graphs(1, shape)
    alike = []
    for hops in (1, 2, 4, 8, 16):
        nodes = build({"hops": hops, "width": 64}, shape).states(tables)
        alike.append(smoothness(nodes.states, nodes.graph).item())
    assert all(before < after for before, after in pairwise(alike)), alike
    assert alike[0] < 0.7 and alike[-1] > 0.95, alike


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8)], ids=str)
def test_refuses_what_is_no_graph_in_one_line(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="gnn takes graphs") as error:
        gnn.build(gnn.Config(16), shape, 3)
    assert "\n" not in str(error.value) and "×".join(map(str, shape)) in str(error.value)


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt -e '.\[graphs\]'") as error:
        gnn.build(gnn.Config(16), MOLECULES, 3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"hops": 0}, "hops"), ({"heads": 3}, "3 heads"), ({"heads": 0}, "head")]
)
def test_what_is_not_possible_is_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        gnn.Config(16, **wrong)


@pytest.fixture(scope="module")
def papers() -> Data:
    """Two circles of papers that cite their neighbours in the circle, of which a few are told; words tell little."""
    chance = torch.Generator().manual_seed(0)
    shape = Graphs(120, 3, 4, 40, 120, 480, each_node=True)
    classes = torch.arange(120) // 60
    inputs = torch.zeros(1, 120, 7, dtype=torch.int16)
    for node in range(120):
        words = torch.randint(1, 40, (3,), generator=chance)
        words[0] = 1 + classes[node] if torch.rand(1, generator=chance) < 0.3 else words[0]
        inputs[0, node, :3] = words
        inputs[0, node, 3:] = torch.tensor([60 * (node // 60) + (node + step) % 60 + 1 for step in (1, -1, 5, -5)])
    order = torch.randperm(120, generator=chance)
    splits = {}
    for name, chosen in {"train": order[:20], "validation": order[20:70], "test": order[70:]}.items():
        targets = torch.full((1, 120), -1)
        targets[0, chosen] = classes[chosen]
        splits[name] = Split(inputs, targets)
    sizes = {"train": 20, "validation": 50, "test": 50}
    card = Card("papers", "node_classification", shape, 2, ("a", "b"), sizes, "", {}, "", {}, graphs=True)
    return Data(card, **splits)


@layers
def test_what_neighbours_are_is_learnt_from_a_few_that_are_told(layers: str, papers: Data) -> None:
    config = {"layers": layers, "learning_rate": 1e-2, "optimizer": "adam", "dropout": 0.3, "weight_decay": 1e-3}
    rows = list(fit(Job("gnn", "s", config, 0, 60), papers))
    inputs = papers.train.inputs.clone()
    inputs[:, :, 3:] = 0
    alone = [Split(inputs, split.targets) for split in (papers.train, papers.validation, papers.test)]
    words = list(fit(Job("gnn", "s", config, 0, 60), Data(papers.card, *alone)))
    best, best_alone = (max(row["validation_accuracy"] for row in found) for found in (rows, words))
    assert best > best_alone + 0.1, (best, best_alone)
    assert rows[-1]["samples"] == 60 and rows[-1]["flops"] == 60 * rows[0]["flops"]


def test_an_interrupted_training_goes_on_as_it_was_and_pieces_change_nothing(papers: Data, tmp_path: Path) -> None:
    job = Job("gnn", "xs", {"dropout": 0.5}, 0, 4)
    whole = [row["validation_loss"] for row in fit(job, papers)]
    path = tmp_path / "a.pt"
    epochs = fit(job, papers, "cpu", path, checkpoint_epochs={2})
    next(epochs), next(epochs)
    epochs.close()
    assert [row["validation_loss"] for row in fit(job, papers, "cpu", path)] == whole
    # One graph can't be divided: pieces are asked for and there is one.
    in_pieces = Job("gnn", "xs", {"dropout": 0.5}, 0, 4, micro_batches=2)
    assert [row["validation_loss"] for row in fit(in_pieces, papers)] == whole


def test_the_layers_are_pytorch_geometrics() -> None:
    modules = {type(module) for kind in LAYERS for module in build({"layers": kind}, SHAPE).hops}
    assert {module.__name__ for module in modules} == {"GCNConv", "SAGEConv", "GATConv", "GINConv"}
    assert all(issubclass(module, nn.Module) and module.__module__.startswith("torch_geometric") for module in modules)
