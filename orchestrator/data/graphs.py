"""Graphs -> tables of nodes (see `orchestrator/graphs.py`), split: of many graphs, or of the nodes of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data import order
from orchestrator.data.arrays import Prepared, encode_targets, split_counts, statistics
from orchestrator.data.card import SPLITS
from orchestrator.data.check import check_classes, check_finite, check_rows
from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import RawGraphs
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs

LARGEST = np.iinfo(np.int16).max  # number of a node, or id: what the tables are stored in


def arrange_graphs(dataset: Dataset, raw: RawGraphs) -> Prepared:
    """Check, split and tabulate. UserError names the graph or node that is wrong."""
    check_rows(dataset.name, len(raw.codes))
    tables = tabulate(dataset.name, raw)
    shape = shape_of(raw, tables)
    made = _labelled_nodes if dataset.task == "node_classification" else _graphs
    return made(dataset, raw, tables, shape)


def tabulate(name: str, raw: RawGraphs) -> NDArray[Any]:
    """Tables [graphs, nodes, codes + neighbours]; the neighbours of a node in the order of their numbers."""
    around = [_neighbours(name, number, *graph) for number, graph in enumerate(zip(raw.codes, raw.links, strict=True))]
    nodes = max(len(graph) for graph in raw.codes)
    codes = max(len(said) for graph in raw.codes for said in graph)
    most = max(len(others) for graph in around for others in graph)
    if max(nodes, raw.vocabulary) > LARGEST:
        raise UserError(f"{name}: {nodes} nodes and {raw.vocabulary} ids; at most {LARGEST} of each fit")
    tables = np.zeros((len(raw.codes), nodes, codes + most), "<i2")
    for table, graph, others in zip(tables, raw.codes, around, strict=True):
        for row, said, numbers in zip(table, graph, others, strict=False):
            row[: len(said)] = said
            row[codes : codes + len(numbers)] = numbers
    return tables


def _neighbours(
    name: str, number: int, codes: Sequence[Sequence[int]], links: Sequence[tuple[int, int]]
) -> list[list[int]]:
    """Of each node, the numbers of the nodes linked to it, from 1; a link to itself is none."""
    around: list[set[int]] = [set() for _ in codes]
    for one, other in links:
        if one != other:
            around[one].add(other + 1)
            around[other].add(one + 1)
    if not codes:
        raise UserError(f"{name}: graph {number + 1} has no nodes")
    empty = next((node for node, said in enumerate(codes) if not said), None)
    if empty is not None:
        raise UserError(f"{name}: nothing is said of node {empty + 1} of graph {number + 1}; it needs a feature")
    return [sorted(others) for others in around]


def shape_of(raw: RawGraphs, tables: NDArray[Any]) -> Graphs:
    """The shape of one graph, each node without an output of its own."""
    count, nodes, columns = tables.shape
    codes = max(len(said) for graph in raw.codes for said in graph)
    links = int(np.count_nonzero(tables[:, :, codes:]))
    own = int(np.count_nonzero(tables[:, :, 0]))
    return Graphs(nodes, codes, columns - codes, raw.vocabulary, round(own / count), round(links / count))


def _graphs(dataset: Dataset, raw: RawGraphs, tables: NDArray[Any], shape: Graphs) -> Prepared:
    """Samples are graphs: numbers to be told of each, or properties that it has or not (NaN: not known)."""
    targets = raw.targets.astype("<f4" if dataset.task == "multilabel" else "<f8").reshape(len(tables), -1)
    if dataset.task == "regression":
        check_finite(dataset.name, "target", targets)
    elif not np.isin(targets[np.isfinite(targets)], (0, 1)).all():
        raise UserError(f"{dataset.name}: the properties of multilabel are 1, 0 or empty (not known)")
    rows = order.split(order.strata(targets, dataset.task), *split_counts(dataset, len(tables), published=False))
    arrays = {}
    for split, chosen in rows.items():
        arrays[f"{split}_inputs"], arrays[f"{split}_targets"] = tables[chosen], targets[chosen]
    fitted = {"mean": [0.0] * targets.shape[1], "scale": [1.0] * targets.shape[1]}
    if dataset.task == "regression":
        fitted = statistics(dataset.name, arrays["train_targets"])
    return Prepared(
        arrays=arrays,
        input_shape=shape,
        outputs=targets.shape[1],
        classes=dataset.classes,
        sizes={split: len(chosen) for split, chosen in rows.items()},
        normalization={"target_mean": fitted["mean"], "target_scale": fitted["scale"]},
        features=raw.features,
        dropped_rows=raw.dropped_rows,
        graphs=True,
    )


def _labelled_nodes(dataset: Dataset, raw: RawGraphs, tables: NDArray[Any], shape: Graphs) -> Prepared:
    """Samples are the nodes of one graph: as many of each class to be trained on, `dataset.train` in all."""
    [labels], classes = encode_targets(dataset, [raw.targets], raw.classes)
    if len(tables) != 1 or len(labels) != shape.nodes:
        raise UserError(f"{dataset.name}: {len(tables)} graphs and {len(labels)} labels; one graph, a label each node")
    check_classes(dataset.name, labels, classes, splits=3)
    rows = order.split(labels, *split_counts(dataset, len(labels), published=False))
    each = dataset.train // len(classes)
    train = np.concatenate([rows["train"][labels[rows["train"]] == label][:each] for label in range(len(classes))])
    if len(train) != dataset.train:
        raise UserError(f"{dataset.name}: {dataset.train} nodes to train on are not as many of each class")
    rows["train"] = train[order.interleave(labels[train])]
    arrays: dict[str, NDArray[Any]] = {"graph_inputs": tables}
    for split in SPLITS:
        arrays[f"{split}_nodes"], arrays[f"{split}_targets"] = rows[split], labels[rows[split]]
    return Prepared(
        arrays=arrays,
        input_shape=shape._replace(each_node=True),
        outputs=len(classes),
        classes=classes,
        sizes={split: len(rows[split]) for split in SPLITS},
        normalization={},
        graphs=True,
    )
