import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from papers import citations

from orchestrator.data import Dataset, File
from orchestrator.data.card import Card
from orchestrator.data.graphs import tabulate
from orchestrator.data.load import load
from orchestrator.data.prepare import prepare
from orchestrator.data.raw import RawGraphs
from orchestrator.errors import UserError
from orchestrator.graphs import Graphs

SMILES = ("CCO", "c1ccccc1", "CC(=O)O", "C[N+](C)(C)C", "O=C=O", "C#N", "ClCCl", "[Na+].[Cl-]", "CCCCCC", "OCC(O)CO")


def molecules(folder: Path, text: str, task: str = "regression", target: tuple[str, ...] = ("y",)) -> Dataset:
    path = folder / "molecules.csv"
    path.write_text(text)
    files, own = (File(path.name, "", ""),), {path.name: path}
    return Dataset(
        "mine", task, "molecules", files, "none", own, inputs="smiles", target=target, classes=target[1:] and target
    )


def csv_of(rows: int, extra: str = "") -> str:
    return "smiles,y\n" + "".join(f"{SMILES[n % 10]},{n / 10}\n" for n in range(rows)) + extra


def test_a_table_has_codes_then_neighbours_and_zeros_after_them():
    raw = RawGraphs([[[3], [1, 2]], [[4], [5], [6]]], [[(0, 1), (1, 0), (1, 1)], [(2, 0), (2, 1)]], 7, np.zeros(2))
    first, second = tabulate("mine", raw).tolist()
    assert first == [[3, 0, 2, 0], [1, 2, 1, 0], [0, 0, 0, 0]]
    assert second == [[4, 0, 3, 0], [5, 0, 3, 0], [6, 0, 1, 2]]


@pytest.mark.parametrize(
    ("codes", "links", "message"),
    [
        ([[[1]], []], [[], []], "mine: graph 2 has no nodes"),
        ([[[1], []]], [[]], "mine: nothing is said of node 2 of graph 1"),
    ],
)
def test_a_graph_with_nothing_in_it_is_named(codes, links, message):
    with pytest.raises(UserError, match=re.escape(message)):
        tabulate("mine", RawGraphs(codes, links, 2, np.zeros(len(codes))))


def test_molecules_become_graphs_of_atoms(tmp_path):
    pytest.importorskip("rdkit")
    from orchestrator.data.molecules import FEATURES, KINDS

    folder = prepare(molecules(tmp_path, csv_of(60, "not a molecule,1\n")), tmp_path)
    data = load(folder)
    card = data.card
    assert isinstance(card.input_shape, Graphs) and card.graphs and card.dropped_rows == 1
    assert card.features == FEATURES and card.input_shape[:4] == (6, 7, 4, len(FEATURES) + 1)
    assert card.sizes == {"train": 36, "validation": 12, "test": 12}
    # Atoms of the ten molecules, without their hydrogens: 3 6 4 5 3 2 3 2 6 6; bonds twice 2 6 3 4 2 1 2 0 5 5.
    assert card.input_shape[4:] == (4, 6, False)
    scale, mean = card.normalization["target_scale"][0], card.normalization["target_mean"][0]
    for split in ("train", "validation", "test"):
        tables, targets = getattr(data, split).inputs, getattr(data, split).targets
        assert tables.dtype == torch.int16 and tables.shape[1:] == (6, 11)
        numbers = (targets[:, 0] * scale + mean) * 10
        for table, number in zip(tables, numbers.round().int().tolist(), strict=True):
            words = [[FEATURES[code - 1] for code in row[:7].tolist() if code] for row in table]
            atoms = [said for said in words if said]
            expected = {"CCO": 3, "c1ccccc1": 6, "[Na+].[Cl-]": 2}.get(SMILES[number % 10])
            assert expected in (None, len(atoms))
            assert all([word.rsplit(" ", 1)[0] for word in said] == list(KINDS) for said in atoms)
            if SMILES[number % 10] == "c1ccccc1":
                assert all("aromatic yes" in said and "in a ring yes" in said and "bonds 2" in said for said in atoms)
                assert (table[:, 7:9] > 0).all() and not table[:, 9:].any()
            if SMILES[number % 10] == "[Na+].[Cl-]":
                assert atoms[0][0] == "element Na" and atoms[0][2] == "charge 1" and not table[:, 7:].any()


def test_properties_that_are_not_known_stay_so(tmp_path):
    pytest.importorskip("rdkit")
    text = "smiles,a,b\n" + "".join(f"{SMILES[n % 10]},{n % 2},{'' if n % 3 else 1}\n" for n in range(60))
    data = load(prepare(molecules(tmp_path, text, "multilabel", ("a", "b")), tmp_path))
    assert data.card.classes == ("a", "b") and data.card.outputs == 2
    targets = torch.cat([data.train.targets, data.validation.targets, data.test.targets])
    assert targets[:, 0].sum() == 30 and targets[:, 1].isnan().sum() == 40 and targets[:, 1].nansum() == 20
    half = load(tmp_path / "prepared" / "mine", 0.5)
    assert len(half.train) == 18 and torch.equal(half.train.inputs, data.train.inputs[:18])


def test_what_a_short_line_lacks_is_not_known(tmp_path):
    pytest.importorskip("rdkit")
    text = "smiles,a,b\n" + "".join(f"{SMILES[n % 10]},{n % 2}{'' if n % 3 else ',1'}\n" for n in range(60))
    data = load(prepare(molecules(tmp_path, text, "multilabel", ("a", "b")), tmp_path))
    targets = torch.cat([data.train.targets, data.validation.targets, data.test.targets])
    assert targets[:, 0].sum() == 30 and targets[:, 1].isnan().sum() == 40 and targets[:, 1].nansum() == 20


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    pytest.importorskip("rdkit")
    plain, marked = (Card.read(prepare(molecules(tmp_path, mark + csv_of(60)), tmp_path)) for mark in ("", "\ufeff"))
    assert plain.source != marked.source and plain.fingerprint == marked.fingerprint


@pytest.mark.parametrize(
    ("text", "task", "message"),
    [
        ("molecule,y\nC,1\n", "regression", "has no column 'smiles'; it has molecule, y"),
        (csv_of(30, "C,much\n"), "regression", "column 'y', row 31 is 'much'"),
        (csv_of(30, "C,\n"), "regression", "mine: target, row 31, position (0,) is nan"),
        (csv_of(30), "multilabel", "the properties of multilabel are 1, 0 or empty"),
        ("smiles,y\nnothing,1\n", "regression", "mine: the data is empty"),
        (csv_of(30, "CCO\n"), "regression", "mine: target, row 31, position (0,) is nan"),
        (csv_of(30, ",1\n"), "regression", "molecules.csv: row 31 has no smiles"),
        (csv_of(30, " ,1\n"), "regression", "molecules.csv: row 31 has no smiles"),
        ("y,smiles\n1,C\n2\n", "regression", "molecules.csv: row 2 has no smiles"),
        (csv_of(30, "C" * 140_000 + ",1\n"), "regression", "molecules.csv: cannot be read as CSV (field larger than"),
    ],
)
def test_bad_molecules_are_one_line(tmp_path, text, task, message):
    pytest.importorskip("rdkit")
    with pytest.raises(UserError, match=re.escape(message)) as error:
        prepare(molecules(tmp_path, text, task), tmp_path)
    assert "\n" not in str(error.value)


def test_an_rdkit_that_is_broken_is_one_line_too(tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "rdkit.py").write_text("raise ImportError('libXrender.so.1: cannot open\\nmore of it')")
    monkeypatch.delitem(sys.modules, "rdkit", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "broken")
    with pytest.raises(UserError, match=r"RDKit \(libXrender.so.1: cannot open\): pip install") as error:
        prepare(molecules(tmp_path, csv_of(30)), tmp_path)
    assert "\n" not in str(error.value)


def test_without_rdkit_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(UserError, match=r"pip install -c constraints.txt -e '.\[graphs\]'") as error:
        prepare(molecules(tmp_path, csv_of(30)), tmp_path)
    assert "\n" not in str(error.value)


def test_papers_become_one_graph_of_which_each_split_tells_some(tmp_path):
    folder = prepare(citations(tmp_path), tmp_path)
    data, card = load(folder), Card.read(folder)
    assert card.input_shape == Graphs(90, 2, 4, 9, 90, 360, True) and card.classes == ("Cases", "Nets", "Theory")
    assert card.sizes == {"train": 15, "validation": 30, "test": 30} and card.outputs == 3
    told = [split.targets[0] >= 0 for split in (data.train, data.validation, data.test)]
    assert [int(where.sum()) for where in told] == [15, 30, 30] and int((sum(told) > 1).sum()) == 0
    for split in (data.train, data.validation, data.test):
        assert split.inputs.shape == (1, 90, 6) and torch.equal(split.inputs, data.train.inputs)
        where = split.targets[0] >= 0
        assert torch.equal(split.targets[0][where], (torch.arange(90) % 3)[where])
    assert torch.bincount(data.train.targets[0][told[0]]).tolist() == [5, 5, 5]
    # Paper 7: word 2, topic 1; cited by 5 and 6, cites 8 and 9.
    assert data.train.inputs[0, 7].tolist() == [3, 7, 6, 7, 9, 10]


def test_a_fraction_tells_fewer_nodes_of_the_same_graph(tmp_path):
    folder = prepare(citations(tmp_path), tmp_path)
    whole, part = load(folder), load(folder, 0.4)
    assert torch.equal(whole.train.inputs, part.train.inputs)
    told, fewer = whole.train.targets[0] >= 0, part.train.targets[0] >= 0
    assert int(fewer.sum()) == 6 and not (fewer & ~told).any()
    assert torch.bincount(part.train.targets[0][fewer]).tolist() == [2, 2, 2]
    with pytest.raises(UserError, match="leaves 2 of 15 training rows"):
        load(folder, 0.1)


@pytest.mark.parametrize("train", [16, 60])
def test_classes_that_can_not_have_as_many_nodes_are_refused(tmp_path, train):
    with pytest.raises(UserError, match=f"mine: {train} nodes to train on are not as many of each class"):
        prepare(citations(tmp_path, train), tmp_path)


def test_nothing_is_done_twice(tmp_path):
    dataset = citations(tmp_path)
    folder = prepare(dataset, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare(dataset, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert len(before) == 8  # the graph, and of each split nodes and classes, and the card
