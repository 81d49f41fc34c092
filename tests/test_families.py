"""`orchestrate families`: what there is to choose from, and what it costs."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator import models, records
from orchestrator.models import FAMILIES

ROOT = Path(__file__).parents[1]


@pytest.fixture
def told(orchestrate, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command tells programs of some families, from the repository's folder."""
    monkeypatch.chdir(ROOT)

    def ask(*names: str) -> list[dict[str, Any]]:
        said = orchestrate("families", *names, "--json")
        assert said.code == 0 and not said.err
        return json.loads(said.out)

    return ask


def test_every_family_is_told_with_its_tasks_sizes_paper_and_space(told) -> None:
    everything = told()
    assert [one["family"] for one in everything] == list(FAMILIES)
    for one in everything:
        family = FAMILIES[one["family"]]
        assert (one["paper"], one["installed"]) == (family.paper, family.installed())
        assert one["search_space"] == f"search_spaces/{one['family']}.yaml" and one["search_space_exists"]
        assert list(one["tasks"]) == list(family.tasks) and tuple(one["sizes"]) == records.SIZES
        for task in one["tasks"].values() if one["installed"] else ():
            counts = list(task["counts"].values())
            for less, more in pairwise(counts):
                assert more["params"] >= 2 * less["params"] and more["flops_per_sample"] > less["flops_per_sample"] > 0
            assert all(0 < one["params_without_embeddings"] <= one["params"] for one in counts)


def test_counts_are_of_the_example_that_is_told_beside_them(told) -> None:
    mlp, gru, gan, vae = told("mlp", "gru", "gan", "vae")
    classification = mlp["tasks"]["classification"]
    assert classification["example"] == {"kind": "numbers", "shape": [1, 8, 8], "outputs": 10}
    layers = [64 * 64, 64 * 64, 64 * 10]
    assert classification["counts"]["m"] == {
        **dict.fromkeys(("params", "params_without_embeddings"), sum(layers) + 64 + 64 + 10),
        "flops_per_sample": 2 * (3 * sum(layers) - layers[0]),
    }
    speech = gru["tasks"]["language_modelling"]
    assert speech["example"] == {"kind": "tokens", "time": 12, "vocabulary": 10, "outputs": 10}
    cells, output = 3 * (32 * 32 + 32 * 32 + 32 + 32), 33 * 10
    xs = speech["counts"]["xs"]
    assert (xs["params"], xs["params_without_embeddings"]) == (10 * 32 + cells + output, cells + output)
    assert gan["tasks"]["adversarial_generation"]["data"] == "generation"
    assert vae["tasks"]["anomaly_detection"]["example"] == {"kind": "numbers", "shape": [10], "outputs": 10}


def test_variants_are_what_can_be_chosen(told) -> None:
    gnn, gan, bert = told("gnn", "gan", "bert")
    assert gnn["variants"] == {
        "layers": ["gcn", "sage", "gat", "gin"],
        "pooling": ["mean", "sum", "max"],
        "batch_norm": [False, True],
    }
    losses = gan["tasks"]["adversarial_generation"]["choices"]["adversarial_loss"]
    assert losses == ["non_saturating", "hinge", "wasserstein"] and bert["variants"] == {}


def test_people_get_a_block_a_family_that_fits_their_screen(orchestrate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    said = orchestrate("families")
    assert said.code == 0 and max(map(len, said.out.splitlines())) <= 100
    blocks = said.out.split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == list(FAMILIES)
    bert = blocks[list(FAMILIES).index("bert")]
    assert "search_spaces/bert.yaml" in bert and "NAACL 2019" in bert and "masked_language_modelling" in bert
    assert "6 of 12 tokens → 12" in blocks[list(FAMILIES).index("transformer")]
    assert "12 of 10 tokens → 10" in bert and "no embeddings" in bert and "no embeddings" not in blocks[0]


def test_without_its_extra_a_family_is_told_with_what_to_install(orchestrate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda library: None)
    (gnn,) = json.loads(orchestrate("families", "gnn", "--json").out)
    assert not gnn["installed"] and all(task["counts"] is None for task in gnn["tasks"].values())
    said = orchestrate("families", "gnn").out
    assert "graphs: pip install -c constraints.txt -e '.[graphs]'" in said and "not counted without the extra" in said


def test_spaces_may_lie_elsewhere(orchestrate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert "search_spaces/mlp.yaml: no such file" in orchestrate("families", "mlp").out
    (tmp_path / "mine").mkdir()
    shutil.copy(ROOT / "search_spaces" / "mlp.yaml", tmp_path / "mine")
    assert "mine/mlp.yaml\n" in orchestrate("families", "mlp", "--spaces", "mine").out


def test_an_unknown_family_is_one_line(orchestrate) -> None:
    said = orchestrate("families", "mlp", "resnt")
    assert said.code == 2 and said.err.startswith("error: unknown family 'resnt'; did you mean 'resnet'?")
    assert said.err.count("\n") == 1 and not said.out
