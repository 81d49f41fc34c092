"""A scrambled Sobol sequence that conditional spaces cannot disturb and a restart cannot lose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc


def sobol_point(seed: int, number: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Point `number` of the scrambled Sobol sequence that `seed` names, [dimensions], in the unit cube.

    As the sampler `qmc`, trial n takes point n (Bergstra and Bengio 2012, section 3.3; Owen 1998). Every parameter of
    the space has a dimension of its own, used where its condition holds. Optuna's `QMCSampler` draws conditional
    parameters at random, and keeps its place in the sequence in the study's storage, which is not rebuilt from a
    journal: after a restart it would begin the sequence again.
    """
    sequence = qmc.Sobol(dimensions, scramble=True, rng=seed)
    if number:
        sequence.fast_forward(number)
    point: npt.NDArray[np.float64] = sequence.random(1)[0]
    return point
