"""Tune's `Searcher` over the engine: hands out trials, as late as possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from orchestrator.engine import Engine


class EngineSearcher(Searcher):
    """Gives Tune the engine's next trial whenever fewer of them run than `room` says (it may change at any time).

    Tune asks ahead of need unless it is refused; a suggestion drawn early would not know the last results, and
    two runs of one seed would differ. So nothing is handed out while every slot has a trial.
    """

    def __init__(self, engine: Engine, room: Callable[[], int], context: dict[str, Any]) -> None:
        super().__init__()
        self.engine: Engine | None = engine
        self._room: Callable[[], int] | None = room
        self._context = context
        self._live: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        assert self.engine is not None and self._room is not None
        if len(self._live) >= self._room():
            return None
        trial = self.engine.next()
        if trial is None:
            return self.FINISHED if self.engine.finished else None
        self._live[trial_id] = trial.id
        return {
            **self._context,
            "trial": trial.id,
            **{key: getattr(self.engine.cells[trial.cell], key) for key in ("family", "size", "data_fraction")},
            "seed": trial.seed,
            "hyperparameters": trial.config,
            "kind": trial.kind,
            **self.engine.orders(trial.id),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.pop(trial_id, None)  # what became of it, the scheduler has told the engine

    # Tune pickles its searcher into snapshots that this project never reads.
    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its journal, not from Tune's snapshot")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "engine": None, "_room": None}
