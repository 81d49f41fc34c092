"""What of Ray and Tune is turned off: loggers, progress tables, snapshots, processes. What is read is the journal."""

from __future__ import annotations

ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # A lost worker is in the journal, and its trial goes on: no traceback on the screen.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    # A worker without a GPU of its own must not see one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


def silence() -> None:
    """Ray prints what it publishes of dead workers and nodes, state dumps of 40 lines and all, whatever it is told."""
    import ray._private.worker as worker

    worker.print_to_stdstream = lambda *_, **__: None


def alone() -> None:
    """Ray started here has no one to serve: no autoscaler, no copies of logs, no dashboard's server.

    Each is a Python process of its own that imports Ray while the sweep starts, on the same cores. There is no
    setting for it (`include_dashboard=False` leaves out the page, not the process).
    """
    from ray._private.node import Node

    for servant in ("start_monitor", "start_log_monitor", "start_api_server"):
        setattr(Node, servant, lambda *_, **__: None)
