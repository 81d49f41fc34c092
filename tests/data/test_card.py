"""What a data card says to people."""

from __future__ import annotations

from orchestrator.data.card import sample
from orchestrator.graphs import Graphs
from orchestrator.tokens import Tokens


def test_a_sample_is_told_in_words() -> None:
    assert sample((1, 28, 28)) == "1×28×28"
    assert sample(Tokens(128, 1070)) == "text of up to 128 tokens, of 1,070"
    assert sample(Graphs(132, 7, 6, 73, 19, 38)) == "graph of up to 132 nodes, 19 on average"
