"""A Ray cluster that others started: joined, looked at again while the sweep runs, and left as it was."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterable, Mapping

from orchestrator.errors import UserError
from orchestrator.ray.quiet import ENVIRONMENT, silence
from orchestrator.records import Slots

SECONDS_TO_ANSWER = 5.0
# How long a look at the nodes holds. Ray itself takes about 14 s to call a node dead that vanished without a word.
SECONDS_A_LOOK = 1.0
# As many trials as there is room for: no limit of ours.
MANY = 1_000_000


class JoinedCluster:
    """The cluster at `address` (`host:port`, or `auto`: the one that runs on this machine).

    This process needs a node of the cluster on its own machine (Ray's rule); that node may have no CPUs to give.

    Raises:
        UserError: nothing answers there, it refuses this process, or none of its nodes can hold a trial.
    """

    def __init__(self, address: str, cpus: float, gpus: float | None, workers: int | None) -> None:
        os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(MANY)
        _join(address)
        self._most, self._looked, self._room = workers or MANY, 0.0, 0
        nodes = _nodes()
        if gpus is None:  # a GPU of its own where the cluster has any
            gpus = 1.0 if any(node.get("GPU") for node in nodes) else 0.0
        self.slots = Slots(room(nodes, Slots(MANY, cpus, gpus)), cpus, gpus)
        if not self.slots.count:
            self.shutdown()
            held = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
            wanted = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise UserError(f"--address {address}: no node holds a trial of {wanted}; its nodes: {held}")
        self.slots = Slots(min(self.slots.count, self._most), cpus, gpus)

    @property
    def most(self) -> int:
        """How many trials there may ever be at a time."""
        return self._most

    def wait(self) -> None:
        """It is there."""

    def room(self) -> int:
        """How many trials the nodes that are alive now hold, and at least one.

        One is handed out when no node is left: it waits in Ray's queue for the next to join.
        """
        if time.monotonic() - self._looked > SECONDS_A_LOOK:
            self._room, self._looked = room(_nodes(), self.slots), time.monotonic()
        return max(1, min(self._room, self._most))

    def shutdown(self) -> None:
        """Leave; what others run there goes on."""
        import ray

        ray.shutdown()


def room(nodes: Iterable[Mapping[str, float]], slots: Slots) -> int:
    """How many trials fit on `nodes` (the resources of each); none is spread over two of them."""
    return sum(slots.fit(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)


def _nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _join(address: str) -> None:
    import ray

    found = _reach(address)
    silence()
    try:
        # Not "auto" even if it was asked for: Ray would then turn authentication on whether the cluster has it or not.
        ray.init(address=found, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:
        raise UserError(f"--address {address}: {_first_line(error)}") from None


def _reach(address: str) -> str:
    """Where the cluster's head answers. Ray's own start would ask again and again, for a quarter of an hour."""
    if "://" in address:
        raise UserError(f"--address {address}: expected host:port or auto; start the sweep on a node of the cluster")
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address)
    except Exception as error:
        raise UserError(f"--address {address}: {_first_line(error)}") from None
    if not found:
        raise UserError(f"--address {address}: no Ray runs on this machine; `ray start` makes it a node of a cluster")
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, ValueError) as error:
        raise UserError(f"--address {address}: nothing answers at {found} ({error})") from None
    _authenticate(address, found)
    return str(found)


def _authenticate(address: str, found: str) -> None:
    """Ask the head who it is; where it wants Ray's token, show the one that this machine has."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    problem = _refusal(found)
    if problem and "RAY_AUTH_MODE" not in os.environ and maybe_enable_token_auth_if_token_available(False):
        problem = _refusal(found)
        if problem:
            os.environ.pop("RAY_AUTH_MODE")
    if problem and ("AuthToken" in problem or "nauthenticated" in problem):
        raise UserError(
            f"--address {address}: this cluster wants its token: put it into RAY_AUTH_TOKEN or ~/.ray/auth_token "
            "(`ray get-auth-token` on its head shows it)"
        )
    if problem:
        raise UserError(f"--address {address}: {problem}")


def _refusal(found: str) -> str | None:
    """What the head says against this process, if anything."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    try:
        GcsClient(address=found)
    except Exception as error:
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
