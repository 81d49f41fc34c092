"""CMA-ES as a fold over the history: the distribution is computed from the trials, never stored."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import cmaes
import numpy as np
from optuna.distributions import CategoricalDistribution, IntDistribution

from orchestrator.records import seed_of
from orchestrator.search.parzen import CANDIDATES, Parzen
from orchestrator.search.sobol import sobol_point
from orchestrator.search.suggestion import Circumstances, Points
from orchestrator.search.unit import from_unit, to_unit

WIDTH = 0.3
# A generation that spreads over less than this of every range has converged: the search begins anew elsewhere.
NARROWEST = 0.01
# How many generations are folded again for each suggestion because a trial before them still runs.
MOST_OPEN = 50
# What falls outside the cube is drawn again so often, then moved to its side.
DRAWS = 20


def evolved_points(known: Circumstances) -> Points:
    """Candidates from the distribution of CMA-ES, [candidates, parameters], best first.

    CMA-ES (Hansen 2016, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; the library `cmaes`) moves a normal
    distribution over the numbers that every configuration has. Choices, and whatever has a condition, are drawn near
    the good trials as `Parzen` does, and no draw is made where `Divergence` sees a risk.

    A generation is the next few trials (4 + 3 ln of the numbers) in the order of their numbers among those of which a
    value is known or that diverged; who of them is better is `Standings.ranking` of just these, so pruned trials count
    by the rungs that they reached, running ones too, and diverged ones are last. Failed trials belong to none. Nobody
    waits for a generation: a trial asked before the one ahead is full comes from the last distribution that is known.
    The first trials, a Sobol sequence, are the first generation.
    """
    parzen = Parzen(known)
    columns = [column for column, name in enumerate(known.distributions) if _is_free_number(known, name)]
    if not parzen.knows_enough or not columns:
        return parzen.suggest()
    optimizer = _distribution(known, columns)
    optimizer.reseed_rng(known.seed)
    candidates = parzen.near_the_good()
    candidates[:, columns] = [optimizer.ask() for _ in range(CANDIDATES)]
    return parzen.divergence.avoid(candidates)


def _is_free_number(known: Circumstances, name: str) -> bool:
    distribution = known.distributions[name]
    choice = isinstance(distribution, CategoricalDistribution)
    return not choice and not distribution.single() and not known.space.parameters[name].when


def _distribution(known: Circumstances, columns: Sequence[int]) -> cmaes.CMA:
    """The fold over all full generations; what no later news can change is kept."""
    optimizer, done = known.kept.get("cmaes") or (_start(known, columns, 0), 0)
    standings, size = known.standings, optimizer.population_size
    heard = sorted(standings.heard())
    full = len(heard) // size
    oldest_running = min(standings.running, default=math.inf)
    generations = [heard[size * index : size * (index + 1)] for index in range(done, full)]
    closed = sum(generation[-1] < oldest_running for generation in generations)
    for index, generation in enumerate(generations[:closed], done):
        optimizer = _tell(known, columns, optimizer, generation, index)
    known.kept["cmaes"] = optimizer, done + closed
    still_open = generations[closed:]
    # A copy is made in every case: the copy is symmetric to the last bit, what is kept need not be.
    optimizer = copy.deepcopy(optimizer)
    skipped = max(0, len(still_open) - MOST_OPEN)
    for index, generation in enumerate(still_open[skipped:], done + closed + skipped):
        optimizer = _tell(known, columns, optimizer, generation, index)
    return optimizer


def _start(known: Circumstances, columns: Sequence[int], generation: int) -> cmaes.CMA:
    """A wide distribution: in the middle at first, later around a point of a Sobol sequence."""
    seed = seed_of(known.study_seed, "cmaes")
    mean = sobol_point(seed, generation, len(columns)) if generation else np.full(len(columns), 0.5)
    bounds = np.tile([0.0, 1.0], (len(columns), 1))
    return cmaes.CMA(mean, WIDTH, bounds, n_max_resampling=DRAWS, seed=0)


def _tell(
    known: Circumstances, columns: Sequence[int], optimizer: cmaes.CMA, generation: Sequence[int], index: int
) -> cmaes.CMA:
    points = {number: _told(known, columns, number) for number in generation}
    if np.ptp(np.array(list(points.values())), axis=0).max() < NARROWEST:
        return _start(known, columns, index + 1)
    ranked = known.standings.ranking(among=generation)
    ranked += [number for number in generation if number not in ranked]
    optimizer.tell([(points[number], float(rank)) for rank, number in enumerate(ranked)])
    return optimizer


def _told(known: Circumstances, columns: Sequence[int], number: int) -> Points:
    """Where the trial lies among the free numbers.

    A whole number is told as a point of its interval, drawn from the trial's identity: told as the middle it would
    have no spread once a generation agrees on it, and would never vary again.
    """
    place = known.standings.points[number][list(columns)]
    chance = np.random.default_rng(seed_of(known.study_seed, "cmaes", number))
    distributions = list(known.distributions.values())
    for index, column in enumerate(columns):
        one, shift = distributions[column], chance.random() - 0.5
        if isinstance(one, IntDistribution):
            place[index] = to_unit(one, from_unit(one, place[index]) + shift * one.step)
    return place
