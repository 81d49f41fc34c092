"""How much each hyperparameter mattered, by two evaluators of Optuna, over plain columns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)

optuna.logging.set_verbosity(optuna.logging.WARNING)

# Shallow trees: grown to single trials, as by default, they explain noise, and each split is walked in Python.
TREES, DEPTH = 16, 6
# What PED-ANOVA holds to be the best: a tenth, but no fewer than its authors advise.
BEST, FEWEST_BEST = 0.1, 5
# Trials looked at, evenly spread over those there are: the time of fANOVA grows with them.
MOST_TRIALS = 300

Column = Sequence[float | str | None]


@dataclass(frozen=True)
class Importance:
    """fanova: share of the variance that the hyperparameter explains alone, by a random forest over the whole space
    (Hutter et al. 2014, ICML); None where some trials do not have it.
    ped_anova: its share, among all hyperparameters, of what tells the best tenth of the trials from all of them
    (Watanabe et al. 2023, arXiv 2304.10255). Both are None where all trials are alike.
    """

    fanova: float | None
    ped_anova: float | None


def importances(columns: Mapping[str, Column], goodness: Sequence[float]) -> dict[str, Importance]:
    """Importances by name of hyperparameter.

    columns: name → its value in each trial [trials]: numbers, or words for a choice; None where its condition does
    not hold. fANOVA weighs a range evenly: give what was drawn on a logarithmic scale as its logarithm.
    goodness: [trials], larger is better, finite.
    """
    chosen = np.unique(np.linspace(0, len(goodness) - 1, min(len(goodness), MOST_TRIALS)).astype(int))
    columns = {name: [values[place] for place in chosen] for name, values in columns.items()}
    good = [float(goodness[place]) for place in chosen]
    if len(set(good)) < 2:
        return dict.fromkeys(columns, Importance(None, None))
    study = _study(columns, good)
    best = min(max(BEST, FEWEST_BEST / len(good)), 0.5)
    shares = _evaluated(study, FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0))
    divergences = _evaluated(study, PedAnovaImportanceEvaluator(target_quantile=best))
    total = sum(divergences.values())
    return {
        name: Importance(shares.get(name), divergences.get(name, 0.0) / total if total > 0 else None)
        for name in columns
    }


def _study(columns: Mapping[str, Column], goodness: Sequence[float]) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    distributions = {name: _distribution(values) for name, values in columns.items()}
    trials = []
    for place, good in enumerate(goodness):
        config = {name: values[place] for name, values in columns.items() if values[place] is not None}
        active = {name: distributions[name] for name in config}
        trials.append(optuna.trial.create_trial(params=config, distributions=active, value=good))
    study.add_trials(trials)
    return study


def _distribution(values: Column) -> BaseDistribution:
    """The range that was tried: the space itself may have been widened on the way."""
    known = [value for value in values if value is not None]
    numbers = [float(value) for value in known if not isinstance(value, str)]
    if numbers and len(numbers) == len(known):
        return FloatDistribution(min(numbers), max(numbers))
    return CategoricalDistribution(tuple(sorted({str(value) for value in known})) or ("none",))


def _evaluated(study: optuna.Study, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    with warnings.catch_warnings():
        # That shares which are not scaled to one are experimental; that few trials say little, which the report says.
        warnings.simplefilter("ignore")
        try:
            found = get_param_importances(study, evaluator=evaluator, normalize=False)
        except RuntimeError:  # no tree could be grown
            return {}
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}
