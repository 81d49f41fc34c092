"""One Tune run that carries all cells of a sweep."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol

from orchestrator.engine import Engine
from orchestrator.errors import UserError
from orchestrator.ray.quiet import ENVIRONMENT, alone, silence
from orchestrator.records import Slots

# Ray then takes this machine for one that is alone: its address is 127.0.0.1, and its processes listen there and
# nowhere else. (Given as an address, 127.0.0.1 is replaced by one that others reach.) It is read when Ray is imported.
# The token is Ray's default since 2.59; whoever is on this machine needs it too.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
# Ray gives its own processes half a minute to come up, which a busy machine does not always keep.
ATTEMPTS = 3


class Runner(Protocol):
    """Where trials run: Ray on this machine, or a cluster that was joined (`JoinedCluster`).

    slots: what there is at the start, and what a trial gets. most: how many trials there may ever be at a time.
    """

    slots: Slots

    @property
    def most(self) -> int: ...

    def room(self) -> int:
        """How many trials may run now."""
        ...

    def wait(self) -> None: ...

    def shutdown(self) -> None: ...


class Cluster:
    """Ray on this machine with room for `slots`. Starting takes seconds of waiting: it begins here, in a thread.

    The thread stays until `shutdown`: Ray's processes are told by the kernel to die with the thread that began them,
    which is how a killed driver leaves nothing behind. `gone` is called, in another thread, once one of Ray's own
    processes has died: whoever waits for Ray then waits for ever.
    """

    def __init__(self, slots: Slots, gone: Callable[[], None] = lambda: None) -> None:
        os.environ.update({key: os.environ.get(key, value) for key, value in {**ENVIRONMENT, **ALONE}.items()})
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots.count)
        self.slots = slots
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._started = self._thread.submit(_start, slots)
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._watch_ray, args=(gone,), daemon=True)
        self._watch.start()

    def _watch_ray(self, gone: Callable[[], None]) -> None:
        wait([self._started])
        if self._started.exception() is not None:
            return
        import ray._private.worker as worker  # not before: two threads that import Ray at once get half of it

        processes = worker._global_node.all_processes
        vital = [info.process for name in ("gcs_server", "raylet") for info in processes.get(name, [])]
        while not self._over.wait(1.0):
            if any(process.poll() is not None for process in vital):
                gone()
                return

    @property
    def most(self) -> int:
        return self.slots.count

    def room(self) -> int:
        return self.slots.count

    def wait(self) -> None:
        """Until Ray is there.

        Raises:
            UserError: what kept Ray from starting.
        """
        self._started.result()

    def shutdown(self) -> None:
        """End the workers and Ray."""
        import ray

        wait([self._started])
        self._over.set()
        self._watch.join()
        ray.shutdown()
        self._thread.shutdown()


def _start(slots: Slots) -> None:
    import ray

    silence()
    alone()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(
                address="local",  # not a cluster that happens to be there
                num_cpus=max(1, math.ceil(slots.count * slots.cpus - 1e-9)),
                # None has Ray look for itself; 0 is none, whatever the machine has.
                num_gpus=None if slots.gpus else 0,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,  # it warns that it is not in the main thread, where SIGTERM is ours
                object_store_memory=100 * 1024**2,
            )
            return
        except Exception as error:
            if attempt == ATTEMPTS:
                reason = str(error).partition("\n")[0].strip() or type(error).__name__
                again = (
                    "nothing is lost, the same command tries again, on a machine that is less busy or has more memory"
                )
                raise UserError(f"Ray did not start here ({reason}); {again}") from error
            ray.shutdown()


def run(engine: Engine, cluster: Runner, context: dict[str, Any]) -> None:
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
    scheduler = EngineScheduler(engine, cluster.most)
    with tempfile.TemporaryDirectory(prefix="orchestrate-tune-") as scratch:
        resources = {"cpu": slots.cpus, **({"gpu": slots.gpus} if slots.gpus else {})}
        tune.Tuner(
            tune.with_resources(TrialRunner, resources),
            tune_config=tune.TuneConfig(
                search_alg=EngineSearcher(
                    engine, cluster.room, {**context, "cpus": slots.cpus, "device": "cuda" if slots.gpus else "cpu"}
                ),
                scheduler=scheduler,
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
    if scheduler.trouble:
        raise scheduler.trouble
