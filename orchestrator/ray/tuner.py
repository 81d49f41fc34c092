"""One Tune run that carries all cells of a sweep."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from orchestrator.engine import Engine
from orchestrator.records import Slots

# Tune's own loggers, progress tables and snapshots are not read by anything here: the journal is.
QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # A worker without a GPU of its own must not see one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


class Cluster:
    """Ray on this machine with room for `slots`. Starting takes seconds of waiting: it begins here, in a thread.

    The thread stays until `shutdown`: Ray's processes are told by the kernel to die with the thread that began them,
    which is how a killed driver leaves nothing behind.
    """

    def __init__(self, slots: Slots) -> None:
        os.environ.update({key: os.environ.get(key, value) for key, value in QUIET.items()})
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots.count)
        self.slots = slots
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._started = self._thread.submit(_start, slots)

    def wait(self) -> None:
        """Until Ray is there.

        Raises:
            Exception: whatever kept Ray from starting.
        """
        self._started.result()

    def shutdown(self) -> None:
        """End the workers and Ray."""
        import ray

        wait([self._started])
        ray.shutdown()
        self._thread.shutdown()


def _start(slots: Slots) -> None:
    import ray

    ray.init(
        address="local",  # not a cluster that happens to be there
        num_cpus=max(1, math.ceil(slots.count * slots.cpus - 1e-9)),
        # None has Ray look for itself; 0 is none, whatever the machine has.
        num_gpus=None if slots.gpus else 0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,  # it warns that it is not in the main thread, where SIGTERM is ours
        object_store_memory=100 * 1024**2,
        _node_ip_address="127.0.0.1",  # nobody else's business
    )


def run(engine: Engine, cluster: Cluster, context: dict[str, Any]) -> None:
    """Run trials on a cluster's slots until the engine has finished, or until SIGINT.

    `context` is what every trial is told beside its own configuration (plain data).
    """
    from ray import tune

    from orchestrator.ray.scheduler import EngineScheduler, StartNotice
    from orchestrator.ray.searcher import EngineSearcher
    from orchestrator.ray.trainable import TrialRunner

    for name in ("ray", "ray.tune", "ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    cluster.wait()
    slots = cluster.slots
    with tempfile.TemporaryDirectory(prefix="orchestrate-tune-") as scratch:
        resources = {"cpu": slots.cpus, **({"gpu": slots.gpus} if slots.gpus else {})}
        tune.Tuner(
            tune.with_resources(TrialRunner, resources),
            tune_config=tune.TuneConfig(
                search_alg=EngineSearcher(
                    engine, slots.count, {**context, "cpus": slots.cpus, "device": "cuda" if slots.gpus else "cpu"}
                ),
                scheduler=EngineScheduler(engine, slots.count),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[StartNotice(engine)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
