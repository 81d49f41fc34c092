"""Which sampler and early-stopping rule to search with: simulated sweeps on recorded learning curves.

    OMP_NUM_THREADS=1 python benchmarks/search.py --pairs random+halving tpe+halving --seeds 3

The project's own engine, studies and stopping rules run against the LCBench surrogate of YAHPO Gym (Pfisterer et
al. 2022, arXiv 2109.03670; Apache-2.0): funnel networks, 7 hyperparameters × 50 epochs. Eight workers in simulated
time, 2,000 epochs of work (40 full trainings), noise of standard deviation 0.01 a report. The score is normalized
regret: 0 where the incumbent's noise-free best epoch equals the best value known, 1 where it is no better than the
median random configuration. Differences under 0.02 mean nothing.

The tables are not part of this repository. Take the `lcbench` folder of github.com/slds-lmu/yahpo_data, name its
model lcbench.onnx, put a lcbench.json with `code` (data set to number, its encoding) and `score_on` (data sets with
`best_balanced_accuracy_found`) beside it, and name the folder in ORCHESTRATOR_SEARCH_TABLES (default: ../shared/search
beside the repository). Needs onnxruntime (pip install onnxruntime).
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import records
from orchestrator.engine import Engine
from orchestrator.history import History, best_of_search
from orchestrator.journal import Event
from orchestrator.records import Cell, Trial
from orchestrator.space import Float, Int, Space
from orchestrator.spec import EarlyStopping, Sampler, Sweep

METRIC = "validation_balanced_accuracy"
SPACE = Space(
    "funnel",
    {
        "batch_size": Int(16, 512, log=True),
        "learning_rate": Float(1e-4, 1e-1, log=True),
        "momentum": Float(0.1, 0.99),
        "weight_decay": Float(1e-5, 1e-1, log=True),
        "num_layers": Int(1, 5),
        "max_units": Int(64, 1024, log=True),
        "max_dropout": Float(0.0, 1.0),
    },
)
EPOCHS = 50
NOISE = 0.01


class Surrogate:
    """Learning curves of one LCBench data set: `curve` gives noise-free balanced accuracy and seconds, by epoch."""

    def __init__(self, folder: Path, data: str) -> None:
        import onnxruntime

        described = json.loads((folder / "lcbench.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(folder / "lcbench.onnx", options)
        self._code = described["code"][data]
        self.best = described["score_on"][data]["best_balanced_accuracy_found"]
        self.median = self._median_of_random()

    def curve(self, config: Mapping[str, Any], first: int = 0, last: int = EPOCHS) -> tuple[np.ndarray, np.ndarray]:
        """Balanced accuracy and seconds since the start after each of the epochs `first` + 1 to `last`."""
        inputs = np.empty((last - first, 8), np.float32)
        # The surrogate's epoch 1 is the untrained network.
        inputs[:, 0] = np.arange(first + 2, last + 2)
        inputs[:, 1:] = [config[name] for name in SPACE.parameters]
        codes = np.full((last - first, 1), self._code, np.int32)
        output = self._session.run(None, {"x_cat": codes, "x_cont": inputs})[0]
        return np.clip(output[:, 3], 0, 1), output[:, 0]

    def regret(self, config: Mapping[str, Any]) -> float:
        return float((self.best - self.curve(config)[0].max()) / (self.best - self.median))

    def _median_of_random(self) -> float:
        random = np.random.default_rng(0)
        return float(np.median([self.curve(_random_config(random))[0].max() for _ in range(500)]))


def _random_config(random: np.random.Generator) -> dict[str, float]:
    config = {}
    for name, one in SPACE.parameters.items():
        assert not hasattr(one, "values")
        low, high = (np.log(one.low), np.log(one.high)) if one.log else (one.low, one.high)
        value = random.uniform(low, high)
        value = float(np.exp(value)) if one.log else float(value)
        config[name] = round(value) if isinstance(one, Int) else value
    return config


class Clock:
    """Stands in for the journal's writer: keeps nothing, tells simulated time."""

    now = 0.0

    def append(self, *events: tuple[str, str, str | None, dict[str, Any]]) -> float:
        return self.now


@dataclass(frozen=True)
class Setting:
    """One way to search, and how much work it may do. `faults`: some configurations diverge, some workers die."""

    sampler: str
    stopping: str
    work: int = 2000
    workers: int = 8
    trials: int = 1_000_000
    max_epochs: int = EPOCHS
    min_epochs: int = 1
    reduction_factor: float = 3.0
    startup: int = 10
    faults: bool = False


class Simulation:
    """One sweep of one cell in simulated time."""

    def __init__(self, surrogate: Surrogate, setting: Setting, seed: int) -> None:
        self.surrogate, self.setting, self.clock = surrogate, setting, Clock()
        spec = Sweep(
            name="simulated",
            data="lcbench",
            families=["funnel"],
            metric=METRIC,
            trials=setting.trials,
            finalists=0,
            max_epochs=setting.max_epochs,
            seed=seed,
            sampler=Sampler(name=setting.sampler, startup_trials=setting.startup),
            early_stopping=EarlyStopping(
                name=setting.stopping, min_epochs=setting.min_epochs, reduction_factor=setting.reduction_factor
            ),
        )
        cell = Cell("funnel", "m", 1.0, 0, 0, 0)
        history = History()
        planned = {"spec": spec.model_dump(), "direction": "max", "cells": [asdict(cell)]}
        history.apply(Event(0, "planned", "planned", None, 0.0, planned))
        self.engine = Engine(spec, [cell], {"funnel": SPACE}, self.clock, history)  # type: ignore[arg-type]
        self.work = 0
        # (when, order, trial, epochs that it has then, noise-free values of the new ones)
        self._running: list[tuple[float, int, Trial, int, np.ndarray]] = []
        self._order = 0

    def run(self, at: Sequence[int]) -> list[float]:
        """Regret of the incumbent after each amount of work in `at` (epochs)."""
        regrets: list[float] = []
        for _ in range(self.setting.workers):
            self._start()
        while self._running:
            self.clock.now, _, trial, epochs, values = heapq.heappop(self._running)
            self._arrive(trial, epochs, values)
            while len(regrets) < len(at) and self.work >= at[len(regrets)]:
                regrets.append(self._regret())
            if self.work >= self.setting.work:
                break
        return regrets + [self._regret()] * (len(at) - len(regrets))

    def _start(self) -> None:
        trial = self.engine.next()
        if trial is not None:
            self.engine.started(trial.id, "worker")
            self._go_on(trial)

    def _go_on(self, trial: Trial) -> None:
        """To the next rung, or to the end."""
        done = len(self.engine.history.trials[trial.id].reports)
        ahead = self.engine.rungs_ahead(trial.id)
        goal = ahead[0] if ahead else self.setting.max_epochs
        # One epoch more at the front, for the time that the new ones take.
        values, seconds = self.surrogate.curve(trial.config, max(done - 1, 0), goal)
        duration = float(seconds[-1] - (seconds[0] if done else 0.0))
        when = self.clock.now + max(duration, 1e-3)
        self._order += 1
        heapq.heappush(self._running, (when, self._order, trial, goal, values[-(goal - done) :]))

    def _arrive(self, trial: Trial, epochs: int, values: np.ndarray) -> None:
        told = self.engine.history.trials[trial.id]
        noise = np.random.default_rng(trial.seed).normal(0.0, NOISE, EPOCHS)
        done = len(told.reports)
        self.work += epochs - done
        rows = [
            {"epoch": epoch, METRIC: float(value + noise[epoch - 1]), "flops": epoch, "seconds": 0.0}
            for epoch, value in enumerate(values, start=done + 1)
            if epoch < self._diverges_at(trial)
        ]
        if self._dies(trial, told.attempts):
            self.engine.lost(trial.id, "simulated")
        elif len(rows) < len(values):
            self.engine.report(trial.id, rows)
            self.engine.end(trial.id, records.DIVERGED, "simulated")
        elif self.engine.report(trial.id, rows):
            self.engine.end(trial.id, records.PRUNED)
        elif epochs >= self.setting.max_epochs:
            self.engine.end(trial.id, records.COMPLETE)
        else:
            return self._go_on(trial)
        return self._start()

    def _diverges_at(self, trial: Trial) -> int:
        """An epoch past the last, but in a tenth of the space: the corner of high learning rate and high momentum."""
        rate = np.log(trial.config["learning_rate"] / 1e-4) / np.log(1e3)
        momentum = (trial.config["momentum"] - 0.1) / 0.89
        if not self.setting.faults or rate < 0.684 or momentum < 0.684:
            return EPOCHS + 1
        return int(np.random.default_rng(trial.seed + 1).integers(1, EPOCHS + 1))

    def _dies(self, trial: Trial, attempts: int) -> bool:
        return self.setting.faults and attempts == 1 and np.random.default_rng(trial.seed + 2).random() < 0.05

    def _regret(self) -> float:
        best = best_of_search(self.engine.history.trials.values(), "max")
        return 1.0 if best is None else self.surrogate.regret(best.trial.config)


def folder() -> Path:
    named = os.environ.get("ORCHESTRATOR_SEARCH_TABLES")
    place = Path(named) if named else Path(__file__).resolve().parents[1].parent / "shared" / "search"
    if not (place / "lcbench.onnx").is_file():
        raise SystemExit(f"{place}: no lcbench.onnx; see the top of {Path(__file__).name} for where to get it")
    return place


def compare(settings: Mapping[str, Setting], seeds: Sequence[int], at: Sequence[int]) -> Iterator[str]:
    """One line a setting: mean regret after each amount of work, its standard error over seeds, and by data set."""
    place = folder()
    names = list(json.loads((place / "lcbench.json").read_text())["score_on"])
    surrogates = [Surrogate(place, name) for name in names]
    yield f"{'':28}" + "".join(f"{work:>8}" for work in at) + f"{'±':>8}  {'trials':>6}  " + " ".join(names)
    for label, setting in settings.items():
        regrets, trials, diverged = np.empty((len(names), len(seeds), len(at))), [], []
        for row, surrogate in enumerate(surrogates):
            for column, seed in enumerate(seeds):
                simulation = Simulation(surrogate, setting, seed)
                regrets[row, column] = simulation.run(at)
                counts = simulation.engine.history.counts()
                trials.append(counts["asked"])
                diverged.append(counts["diverged"] / counts["asked"])
        by_seed = regrets[:, :, -1].mean(axis=0)
        error = statistics.stdev(by_seed) / len(seeds) ** 0.5 if len(seeds) > 1 else float("nan")
        means = "".join(f"{value:8.3f}" for value in regrets.mean(axis=(0, 1)))
        by_data = " ".join(f"{value:6.3f}" for value in regrets[:, :, -1].mean(axis=1))
        faults = f"  diverged {statistics.fmean(diverged):.1%}" if setting.faults else ""
        yield f"{label:28}{means}{error:8.3f}  {statistics.fmean(trials):6.0f}  {by_data}{faults}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", nargs="+", default=["random+halving", "tpe+halving", "parzen+halving"])
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--work", type=int, default=2000, help="epochs, over all trials; ignored with --trials")
    parser.add_argument("--trials", type=int, help="a small sweep: this many trials, all run to their end")
    parser.add_argument("--max-epochs", type=int, default=EPOCHS)
    parser.add_argument("--min-epochs", type=int, default=1)
    parser.add_argument("--reduction-factor", type=float, default=3.0)
    parser.add_argument("--startup", type=int, default=10)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--faults", action="store_true", help="some configurations diverge, some workers die")
    given = parser.parse_args()
    work = 10**9 if given.trials else given.work
    settings = {
        pair: Setting(
            *pair.split("+"),
            work=work,
            workers=given.workers,
            trials=given.trials or 10**6,
            max_epochs=given.max_epochs,
            min_epochs=given.min_epochs,
            reduction_factor=given.reduction_factor,
            startup=given.startup,
            faults=given.faults,
        )
        for pair in given.pairs
    }
    at = [work] if given.trials else [work // 8, work // 4, work // 2, work]
    began = time.perf_counter()
    for line in compare(settings, range(given.first_seed, given.first_seed + given.seeds), at):
        print(line, flush=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
