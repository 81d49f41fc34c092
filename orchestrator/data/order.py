"""Which row goes where: a fixed split, and a training order of which every prefix is stratified.

Only integer arithmetic, correctly rounded divisions and the raw stream of PCG64 are used, which NumPy keeps
the same on every platform and in every version (NEP 19); `Generator.permutation` has no such promise.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

SEED = 20_240_229  # part of what "the split of a data set" means here: never to be changed


def strata(targets: NDArray[Any], task: str) -> Rows:
    """The group [n] that each row is stratified by: its class, or its tenth of the ranked targets."""
    if task == "classification":
        return targets.astype(np.int64)
    rows = len(targets)
    if targets.ndim > 1 and targets.shape[1] > 1:
        return np.zeros(rows, np.int64)
    bins = min(max(rows // 20, 1), 10)
    ranks = np.empty(rows, np.int64)
    ranks[np.argsort(targets.reshape(rows), kind="stable")] = np.arange(rows)
    return ranks * bins // max(rows, 1)


def split(groups: Rows, validation: int, test: int) -> dict[str, Rows]:
    """Row numbers of train, validation and test, each group shared out in proportion, train interleaved.

    Each group must have a row for every split that is not empty.
    """
    order = np.argsort(np.random.PCG64(SEED).random_raw(len(groups)), kind="stable")
    shuffled = groups[order]
    counts = np.bincount(groups)
    spare = 1 + (validation > 0)  # what the splits served later need of every group
    for_test = _allot(counts, test, counts - spare)
    for_validation = _allot(counts, validation, counts - for_test - 1)
    rank = _rank(shuffled)
    first, second = for_test[shuffled], (for_test + for_validation)[shuffled]
    train = order[rank >= second]
    return {
        "train": train[interleave(groups[train])],
        "validation": order[(rank >= first) & (rank < second)],
        "test": order[rank < first],
    }


def interleave(groups: Rows) -> Rows:
    """An order of the rows in which every prefix holds the groups in (nearly) their overall proportion."""
    counts = np.bincount(groups)
    # Row r of a group of c stands at (r + 1/2) / c of the way; equal fractions round to equal floats.
    place = (2 * _rank(groups) + 1) / (2 * counts[groups])
    return np.argsort(place, kind="stable").astype(np.int64)


def _rank(groups: Rows) -> Rows:
    """How many rows of the same group stand before each row."""
    by_group = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    rank = np.empty(len(groups), np.int64)
    rank[by_group] = np.arange(len(groups)) - starts[groups[by_group]]
    return rank


def _allot(counts: Rows, total: int, most: Rows) -> Rows:
    """Share `total` rows out in proportion to `counts`: largest remainder, at least 1, at most `most` a group."""
    if total == 0:
        return np.zeros_like(counts)
    rows = int(counts.sum())
    present = (counts > 0).astype(np.int64)
    given = np.minimum(np.maximum(counts * total // rows, present), np.maximum(most, 0))
    while given.sum() < total and (given < most).any():
        owed = np.where(given < most, counts * total - given * rows, np.iinfo(np.int64).min)
        given[np.argmax(owed)] += 1
    while given.sum() > total and (given > present).any():
        over = np.where(given > present, given * rows - counts * total, np.iinfo(np.int64).min)
        given[np.argmax(over)] -= 1
    return given
