"""Graph neural networks: each node's features are made anew from its neighbours', hop after hop.

Kipf, Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017 (gcn); Hamilton, Ying,
Leskovec, "Inductive representation learning on large graphs", NeurIPS 2017 (sage); Veličković and others, "Graph
attention networks", ICLR 2018 (gat); Xu, Hu, Leskovec, Jegelka, "How powerful are graph neural networks?", ICLR 2019
(gin). The layers are PyTorch Geometric's. M nodes of a batch's graphs, W width, N(v) the neighbours of v, O outputs:

    gcn    h'_v = Σ over u in N(v) and v of  W h_u / √(d_u d_v)        d: neighbours and itself
    sage   h'_v = W₁ mean of h_u over u in N(v)  +  W₂ h_v
    gat    h'_v = Σ over u in N(v) and v of  α_vu W h_u                α: softmax of leaky_relu(a · W h_u + b · W h_v)
    gin    h'_v = MLP(h_v + Σ over u in N(v) of h_u)                   MLP: W → W → W

    features of a node, what is said of it as 0 and 1, of length 1 → `hops` layers, a rectifier after each → dense → O,
    of every node, or of the sum, mean or maximum over a graph's nodes

The dial is the width; 16 is GCN's for Cora, 64 GAT's. More hops than two or three make nodes alike instead of better
(Li, Han, Wu, "Deeper insights into graph convolutional networks", AAAI 2018), so their number is in the search space.

Where nodes are classified, the papers' last hop gives the classes; here it has no rectifier, and a dense layer follows.

Departures: GIN reads out its last hop, the paper all of them; gat has a rectifier where the paper has ELU; sage has no
normalization of lengths. Dropout is before every hop as in gcn and gat, of attention's weights as in gat, and before
the dense layer where graphs are told, as in gin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.errors import UserError
from orchestrator.graphs import Graphs
from orchestrator.models.checks import check_dropout, found
from orchestrator.models.diagnostics import Notes, smoothness

PAPER = (
    "Kipf, Welling: Semi-supervised classification with graph convolutional networks, ICLR 2017 (gcn); "
    "Hamilton, Ying, Leskovec, NeurIPS 2017 (sage); Veličković and others, ICLR 2018 (gat); "
    "Xu, Hu, Leskovec, Jegelka, ICLR 2019 (gin)"
)

SIZES: Mapping[str, Mapping[str, int]] = {
    "xs": {"width": 16},
    "s": {"width": 32},
    "m": {"width": 64},
    "l": {"width": 128},
    "xl": {"width": 256},
}


@dataclass(frozen=True)
class Config:
    """heads: of gat, each width / heads wide. pooling: of a graph's nodes; not used where each node has outputs."""

    width: int
    layers: Literal["gcn", "sage", "gat", "gin"] = "gcn"
    hops: int = 2
    heads: int = 4
    pooling: Literal["mean", "sum", "max"] = "mean"
    batch_norm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if self.hops < 1:
            raise UserError(f"hops must be 1 or more, found {self.hops}")
        if self.heads < 1 or self.width % self.heads:
            raise UserError(f"gnn: {self.heads} heads don't share a width of {self.width} evenly")


class Nodes(NamedTuple):
    """The nodes of a batch, one below the other: features or states [M, …], the graph of each [M], links [2, L] from
    and to, and which rows of the tables [B, N] they stand in."""

    states: Tensor
    graph: Tensor
    links: Tensor
    own: Tensor


def nodes_of(tables: Tensor, shape: Graphs, dropout: nn.Module) -> Nodes:
    """[B, N, codes + neighbours] → the nodes with what is said of them, as features [M, vocabulary - 1].

    Dropout is of what is said, before it is spread out: the zeros need none, and are most of it.
    """
    own = tables[:, :, 0] != 0
    graph = own.nonzero()[:, 0]
    rows = tables[own].long()
    codes, neighbours = torch.split(rows, [shape.codes, shape.neighbours], 1)
    said = (codes != 0).float()
    said = dropout(said / said.sum(1, keepdim=True).sqrt())
    features = said.new_zeros(len(rows), shape.vocabulary).scatter_add_(1, codes, said)[:, 1:]
    counts = own.sum(1)
    first = (counts.cumsum(0) - counts)[graph]
    to, slot = neighbours.nonzero(as_tuple=True)
    links = torch.stack([first[to] + neighbours[to, slot] - 1, to])
    return Nodes(features, graph, links, own)


class GNN(nn.Module):
    # torch's counter sees no sums over neighbours.
    counted_on_meta: ClassVar[bool] = True
    notes: Notes | None = None

    def __init__(self, config: Config, shape: Graphs, outputs: int, layers: Any) -> None:
        """`layers`: the module torch_geometric.nn."""
        super().__init__()
        self.config, self.shape = config, shape
        inputs = [shape.vocabulary - 1, *[config.width] * (config.hops - 1)]
        self.hops = nn.ModuleList(one_hop(layers, width, config) for width in inputs)
        norm = nn.BatchNorm1d if config.batch_norm else nn.Identity
        self.norms = nn.ModuleList(norm(config.width) for _ in inputs)
        self.rectified = config.hops - shape.each_node  # hops that a rectifier follows
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.width, outputs)
        pools = {"mean": layers.global_mean_pool, "sum": layers.global_add_pool, "max": layers.global_max_pool}
        self.pool = pools[config.pooling]

    def embedding_tables(self) -> list[Tensor]:
        """A row for each id of the vocabulary: see `embeddings.py`. Its sums over what is said of a node are computed
        as a product all the same, which is among the operations counted."""
        hop: Any = self.hops[0]
        if self.config.layers == "sage":
            return [hop.lin_l.weight, hop.lin_r.weight]
        return [hop.nn[0].weight if self.config.layers == "gin" else hop.lin.weight]

    def forward(self, tables: Tensor) -> Tensor:
        """[B, N, codes + neighbours] → [B, O], or where each node has outputs [B, O, N], zeros for padding."""
        return self.countable(len(tables)) if tables.is_meta else self.read_out(self.states(tables))

    def states(self, tables: Tensor) -> Nodes:
        """The nodes after the last hop, [M, W]."""
        nodes = nodes_of(tables, self.shape, self.dropout)
        states = nodes.states
        for index, (hop, norm) in enumerate(zip(self.hops, self.norms, strict=True)):
            states = norm(hop(self.dropout(states) if index else states, nodes.links))
            if index < self.rectified:
                states = functional.relu(states)
        if self.notes:
            self.notes.add("smoothness", self, partial(mean_smoothness, states, nodes.graph))
        return nodes._replace(states=states)

    def read_out(self, nodes: Nodes) -> Tensor:
        if not self.shape.each_node:
            pooled = self.pool(nodes.states, nodes.graph, size=len(nodes.own))
            outputs: Tensor = self.dense(self.dropout(pooled))
            return outputs
        logits = self.dense(nodes.states)
        places = logits.new_zeros(*nodes.own.shape, logits.shape[1])
        places[nodes.own] = logits
        transposed: Tensor = places.mT
        return transposed

    def countable(self, graphs: int) -> Tensor:
        """Products of the sizes that are made for so many graphs of mean size: for counting, nothing else."""
        nodes, links = graphs * self.shape.mean_nodes, graphs * self.shape.mean_links
        states = self.dense.weight.new_empty(nodes, self.shape.vocabulary - 1)
        for hop in self.hops:
            states = products(hop, self.config, states, links)
        if not self.shape.each_node:
            outputs: Tensor = self.dense(states[:1].expand(graphs, -1))
            return outputs
        places: Tensor = self.dense(states)[:1, :, None].expand(graphs, -1, self.shape.nodes)
        return places


def mean_smoothness(states: Tensor, graph: Tensor) -> Tensor:
    return smoothness(states.float(), graph).mean()


def one_hop(layers: Any, inputs: int, config: Config) -> nn.Module:
    """One hop, [M, inputs] and links [2, L] → [M, W]; normalization makes its bias superfluous."""
    width, bias = config.width, not config.batch_norm
    made: Any
    if config.layers == "gcn":
        made = layers.GCNConv(inputs, width, bias=bias)
    elif config.layers == "sage":
        made = layers.SAGEConv(inputs, width, bias=bias)
    elif config.layers == "gat":
        heads = config.heads
        made = layers.GATConv(inputs, width // heads, heads=heads, dropout=config.dropout, bias=bias)
    else:
        made = layers.GINConv(nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width, bias=bias)))
    return cast(nn.Module, made)


def products(hop: Any, config: Config, states: Tensor, links: int) -> Tensor:
    """The products of one hop, [M, inputs] → [M, W]."""
    if config.layers == "gcn":
        return passed(functional.linear(states, hop.lin.weight), links + len(states))
    if config.layers == "sage":
        return functional.linear(passed(states, links), hop.lin_l.weight) + functional.linear(states, hop.lin_r.weight)
    if config.layers == "gat":
        projected = functional.linear(states, hop.lin.weight)
        # Attention's weights are learnt, so that their gradient is a product too.
        return passed(projected, links + len(states), projected[:1, :1])
    summed: Tensor = hop.nn(passed(states, links))
    return summed


def passed(states: Tensor, links: int, weight: Tensor | None = None) -> Tensor:
    """[M, F] → [M, F] by a weight times the states for each link: 2 L F operations, as of a sparse matrix."""
    weights = states.new_ones(1, links) if weight is None else weight.expand(1, links)
    return (weights @ states[:1].expand(links, -1)).expand(len(states), -1)


def build(config: Config, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    if not isinstance(input_shape, Graphs):
        raise UserError(f"gnn takes graphs (tables of nodes), found {found(input_shape)}")
    try:
        from torch_geometric import nn as layers
    except ImportError as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"gnn needs PyTorch Geometric ({why}): pip install -c constraints.txt -e '.[graphs]'") from None
    return GNN(config, input_shape, outputs, layers)
