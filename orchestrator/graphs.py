"""Graphs as tables of whole numbers, and the shape of a sample made of them.

A row of the table is a node: what is said of it, as ids of a vocabulary from 1 on, at least one, and the rows that it
is linked to, counted from 1. Zeros fill what is left, at the end of each part and below the last node. So graphs of
different size are one array, and a graph that is too large for anything else is one sample.
"""

from typing import NamedTuple


class Graphs(NamedTuple):
    """Input shape of samples [nodes, codes + neighbours]; the arrays are [n, nodes, codes + neighbours].

    `nodes`, `codes` and `neighbours` are those of the largest, `vocabulary` counts the ids with the 0. `mean_nodes` and
    `mean_links` (each way counted) are a graph's, rounded: what it costs. `each_node`: an output is wanted for every
    node, not for the graph as a whole.
    """

    nodes: int
    codes: int
    neighbours: int
    vocabulary: int
    mean_nodes: int
    mean_links: int
    each_node: bool = False

    def __str__(self) -> str:
        return f"graph of up to {self.nodes:,} nodes, {self.mean_nodes:,} on average"
