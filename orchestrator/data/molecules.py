"""Molecules as SMILES -> graphs, whose nodes are the atoms and whose links are the bonds; RDKit reads them."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.corpora import UTF_8
from orchestrator.data.dataset import Dataset
from orchestrator.data.raw import RawGraphs
from orchestrator.errors import UserError

# What is said of an atom: of each kind one of these, the last for whatever else. The elements are those of DeepChem's
# graph convolutions (Wu et al., "MoleculeNet", Chemical Science 9, 2018), the kinds those of the Open Graph Benchmark
# (Hu et al., NeurIPS 2020) but for chirality and radicals. Bonds have no features: the layers take none.
_ELEMENTS = (
    *("C", "N", "O", "S", "F", "Si", "P", "Cl", "Br", "Mg", "Na", "Ca", "Fe", "As", "Al", "I", "B", "V", "K", "Tl"),
    *("Yb", "Sb", "Sn", "Ag", "Pd", "Co", "Se", "Ti", "Zn", "H", "Li", "Ge", "Cu", "Au", "Ni", "Cd", "In", "Mn"),
    *("Zr", "Cr", "Pt", "Hg", "Pb", "other"),
)
KINDS: Mapping[str, Sequence[str]] = {
    "element": _ELEMENTS,
    "bonds": ("0", "1", "2", "3", "4", "5", "more"),
    "charge": ("-2", "-1", "0", "1", "2", "other"),
    "hydrogens": ("0", "1", "2", "3", "more"),
    "hybridization": ("SP", "SP2", "SP3", "SP3D", "SP3D2", "other"),
    "aromatic": ("no", "yes"),
    "in a ring": ("no", "yes"),
}
FEATURES = tuple(f"{kind} {value}" for kind, values in KINDS.items() for value in values)


def read_molecules(dataset: Dataset, paths: Mapping[str, Path]) -> RawGraphs:
    """A CSV with the column `dataset.inputs` of SMILES and the target columns; an empty target is NaN, not known.

    What RDKit refuses as a molecule is dropped and counted. UserError where RDKit is not installed.
    """
    rdkit = _rdkit()
    path = paths[dataset.files[0].name]
    codes, links, targets, dropped = [], [], [], 0
    for number, line in enumerate(_lines(path, (dataset.inputs, *dataset.target)), 1):
        smiles = line[dataset.inputs].strip()
        if not smiles:
            raise UserError(f"{path}: row {number} has no {dataset.inputs}")
        molecule = rdkit.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            dropped += 1
            continue
        codes.append([atom_codes(atom) for atom in molecule.GetAtoms()])
        links.append([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()])
        targets.append([_number(path, number, name, line[name]) for name in dataset.target])
    return RawGraphs(codes, links, len(FEATURES) + 1, np.array(targets), features=FEATURES, dropped_rows=dropped)


def atom_codes(atom: Any) -> list[int]:
    """What is said of RDKit's atom, one id of `FEATURES` (from 1) of each kind."""
    words = (
        atom.GetSymbol(),
        str(atom.GetDegree()),
        str(atom.GetFormalCharge()),
        str(atom.GetTotalNumHs()),
        str(atom.GetHybridization()),
        "yes" if atom.GetIsAromatic() else "no",
        "yes" if atom.IsInRing() else "no",
    )
    codes, first = [], 1
    for word, values in zip(words, KINDS.values(), strict=True):
        codes.append(first + (values.index(word) if word in values else len(values) - 1))
        first += len(values)
    return codes


def _number(path: Path, row: int, name: str, text: str) -> float:
    try:
        return float(text) if text.strip() else math.nan
    except ValueError:
        raise UserError(f"{path}: column '{name}', row {row} is '{text}'; a number is needed, or nothing") from None


def _lines(path: Path, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """The cells of each line by column; what a short line lacks is empty. UserError where the file lacks a name."""
    try:
        reader = csv.DictReader(io.StringIO(_text(path), newline=""), restval="")
        columns = list(reader.fieldnames or ())
        if missing := set(names) - set(columns):
            raise UserError(f"{path}: has no column '{min(missing)}'; it has {', '.join(columns)}")
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from None


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode(UTF_8)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from None


def _rdkit() -> Any:
    try:
        from rdkit import Chem, RDLogger
    except ImportError as error:
        why = str(error).partition("\n")[0]
        raise UserError(f"SMILES are read by RDKit ({why}): pip install -c constraints.txt -e '.[graphs]'") from None
    logger: Any = RDLogger
    logger.DisableLog("rdApp.*")  # what it refuses is counted, not told line by line
    return Chem
