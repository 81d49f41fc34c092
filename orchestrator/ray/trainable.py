"""Tune's `Trainable` over `fit`: a worker imports torch once, loads the data once, and runs trial after trial."""

from __future__ import annotations

import ctypes
import signal
import socket
import sys
import time
import traceback
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune import Trainable

from orchestrator import records
from orchestrator.errors import UserError
from orchestrator.ray.places import checkpoint_file, model_file, start_file

if TYPE_CHECKING:
    from orchestrator.data.load import Data

# Several epochs go into one message until this much time is over: a message costs the driver about 4 ms.
SECONDS_A_MESSAGE = 0.5


class TrialRunner(Trainable):
    """Runs one trial at a time; `reset_config` takes up the next without a new process."""

    def setup(self, config: dict[str, Any]) -> None:
        import torch

        _die_with_parent()
        torch.set_num_threads(max(1, int(config["cpus"])))
        # The same trial gives the same curve, on a GPU too as far as cuDNN goes.
        torch.backends.cudnn.deterministic = True
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Epochs up to the next rung, or for `SECONDS_A_MESSAGE`, or to the trial's end."""
        from orchestrator.training.divergence import Diverged
        from orchestrator.training.memory import out_of_memory

        rows: list[dict[str, Any]] = []
        answer: dict[str, Any] = {"rows": rows, "ended": "", "reason": "", "cause": "", "last_finite": None, "test": {}}
        began = time.monotonic()
        try:
            while time.monotonic() - began < SECONDS_A_MESSAGE:
                rows.append(next(self._epochs))
                if rows[-1]["epoch"] in self._rungs:
                    break
        except StopIteration as end:
            answer.update(ended=records.COMPLETE, **end.value)
        except Diverged as divergence:
            about = {"cause": divergence.kind, "last_finite": divergence.last_finite}
            answer.update(ended=records.DIVERGED, reason=str(divergence), **about)
        except UserError as error:
            answer.update(ended=records.FAILED, reason=str(error), cause=records.ERROR)
        except Exception as error:
            cause = records.OUT_OF_MEMORY if out_of_memory(error) else records.ERROR
            answer.update(ended=records.FAILED, reason=traceback.format_exc(limit=-8), cause=cause)
        return answer

    def cleanup(self) -> None:
        self._epochs.close()

    def _begin(self, config: dict[str, Any]) -> None:
        self._trial, self._rungs = config["trial"], set(config["rungs"])
        self._epochs = _epochs(config)


def _die_with_parent() -> None:
    """Ray's raylet began this process; killed, it would leave it behind, training what another has taken up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _epochs(config: dict[str, Any]) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """The trial's epochs; returns what its last message adds.

    A generator, so that an error in loading, building or saving is the trial's, like any other.
    """
    from orchestrator.training import checkpoint
    from orchestrator.training.fit import Job, fit

    version = config["data_version"], config["judge"]
    data = _data(config["data"], *version, config["data_fraction"], config["task"], config["device"])
    name = f"{config['family']}-{config['size']}"
    job = Job(
        family=config["family"],
        size=config["size"],
        config=config["hyperparameters"],
        seed=config["seed"],
        max_epochs=config["max_epochs"],
        metric=config["metric"],
        direction=config["direction"],
        patience=config["patience"],
        micro_batches=config["micro_batches"],
        test=config["kind"] == records.FINAL,
        start=_start(config["storage"], name, config["starts"][name]) if name in config["starts"] else None,
    )
    outcome = yield from fit(
        job,
        data,
        config["device"],
        checkpoint_file(config["storage"], config["trial"]),
        checkpoint_epochs=config["checkpoint_epochs"],
    )
    if outcome.test is not None:  # a finalist: from there the driver brings its best weights beside the journal
        checkpoint.save(model_file(config["storage"], config["trial"]), outcome.weights)
    reasons = ["no improvement"] if outcome.stopped_early else []
    if outcome.checkpoint_problem:
        reasons.append(f"began anew: {outcome.checkpoint_problem}")
    if outcome.unsaved:
        reasons.append(outcome.unsaved)
    return {"test": outcome.test or {}, "reason": "; ".join(reasons)}


@lru_cache(maxsize=16)
def _data(folder: str, version: str, judge: str | None, fraction: float, task: str, device: str) -> Data:
    from orchestrator.data import judge_digest
    from orchestrator.data.load import load

    if not Path(folder).is_dir():
        raise UserError(f"{socket.gethostname()}: no prepared data at {folder}; it must be there on every node")
    data = load(Path(folder), fraction, device)
    if data.card.fingerprint != version:
        raise UserError(f"{folder}: the data changed while the sweep ran ({data.card.fingerprint}, not {version})")
    if judge and judge_digest(Path(folder)) != judge:
        raise UserError(
            f"{socket.gethostname()}: {folder}: not the judge of images that the sweep began with; copy the prepared "
            "data from where it began, for no two machines make the same"
        )
    return data.learnt_by(task)


@lru_cache(maxsize=16)
def _start(storage: str, name: str, sha256: str) -> dict[str, Any]:
    """The weights that trainings of a family and size begin with."""
    from orchestrator.training import checkpoint

    place = start_file(storage, name)
    state, problem = checkpoint.load(place)
    if state is None or checkpoint.digest(place) != sha256:
        raise UserError(f"{socket.gethostname()}: {place}: not the weights to start from ({problem or 'missing'})")
    return state
