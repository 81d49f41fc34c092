"""Tune's `Trainable` over `fit`: a worker imports torch once, loads the data once, and runs trial after trial."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray.tune import Trainable

from orchestrator import records

# Several epochs go into one message until this much time is over: a message costs the driver about 4 ms.
SECONDS_A_MESSAGE = 0.5


class TrialRunner(Trainable):
    """Runs one trial at a time; `reset_config` takes up the next without a new process."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(max(1, int(config["cpus"])))
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Epochs up to the next rung, or for `SECONDS_A_MESSAGE`, or to the trial's end."""
        from orchestrator.training.divergence import Diverged

        rows: list[dict[str, Any]] = []
        answer = {"rows": rows, "ended": "", "reason": "", "test": {}}
        began = time.monotonic()
        try:
            while time.monotonic() - began < SECONDS_A_MESSAGE:
                rows.append(next(self._epochs))
                if rows[-1]["epoch"] in self._rungs:
                    break
        except StopIteration as end:
            answer.update(ended=records.COMPLETE, **self._keep(end.value))
        except Diverged as divergence:
            answer.update(ended=records.DIVERGED, reason=str(divergence))
        except Exception:
            answer.update(ended=records.FAILED, reason=traceback.format_exc(limit=-8))
        return answer

    def cleanup(self) -> None:
        self._epochs.close()

    def _begin(self, config: dict[str, Any]) -> None:
        self._trial, self._rungs = config["trial"], set(config["rungs"])
        self._weights = Path(config["run_dir"]) / "models" / f"{config['trial']}.pt"
        self._checkpoint = Path(config["run_dir"]) / "checkpoints" / f"{config['trial']}.pt"
        self._epochs = _epochs(config, self._checkpoint)

    def _keep(self, outcome: Any) -> dict[str, Any]:
        """A finalist's best weights go beside the journal; its checkpoint has served."""
        from orchestrator.training import checkpoint

        if outcome.test is not None:
            checkpoint.save(self._weights, outcome.weights)
        reasons = ["no improvement"] if outcome.stopped_early else []
        if outcome.checkpoint_problem:
            reasons.append(f"began anew: {outcome.checkpoint_problem}")
        return {"test": outcome.test or {}, "reason": "; ".join(reasons)}


def _epochs(config: dict[str, Any], checkpoint: Path) -> Generator[dict[str, Any], None, Any]:
    """The trial's epochs. A generator, so that an error in loading or building is the trial's, like any other."""
    import torch

    from orchestrator.training.fit import Job, fit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    job = Job(
        family=config["family"],
        size=config["size"],
        config=config["hyperparameters"],
        seed=config["seed"],
        max_epochs=config["max_epochs"],
        metric=config["metric"],
        direction=config["direction"],
        patience=config["patience"],
        test=config["kind"] == records.FINAL,
    )
    outcome = yield from fit(job, _data(config["data"], config["data_fraction"], device), device, checkpoint)
    checkpoint.unlink(missing_ok=True)
    return outcome


@lru_cache(maxsize=4)
def _data(folder: str, fraction: float, device: str) -> Any:
    from orchestrator.data.load import load

    return load(Path(folder), fraction, device)
