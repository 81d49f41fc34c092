from __future__ import annotations

import pytest

from orchestrator.report import theme


@pytest.mark.parametrize(("low", "high"), [(0.8491, 0.8511), (0.86662, 0.86671), (0.0, 0.32), (1.2e6, 1.9e6)])
@pytest.mark.parametrize("which", ["x", "y"])
def test_no_two_ticks_of_an_axis_read_alike(which: str, low: float, high: float) -> None:
    with theme.style("any"):
        figure, axes = theme.panel()
        (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
        theme.linear_axis(axes, which)
        figure.draw_without_rendering()
        axis = axes.xaxis if which == "x" else axes.yaxis
        read = [label.get_text() for label in axis.get_ticklabels()]
    assert 3 <= len(set(read)) == len(read) <= 7
    assert [float(text) for text in read] == pytest.approx(list(axis.get_ticklocs()), abs=(high - low) / 100)
