"""Stopping a cluster: only the processes that were started for it."""

import psutil

from tune_encoder.errors import StorageError
from tune_encoder.tuning.cluster.state import Cluster, find_cluster, remove_leftover_state

DRAIN_TIMEOUT_S, END_TIMEOUT_S = 40.0, 5.0  # Ray lets its nodes drain for 30 s


def stop_cluster() -> Cluster | None:
    """Stop the cluster that was started here, and return it, or None if none was running.

    Raises:
        StorageError: if a process does not end.
    """
    if (cluster := find_cluster()) is None:
        return None
    ours = cluster.tree()
    if (head := cluster.processes[0].running()) is not None:
        head.terminate()
        _wait([head], DRAIN_TIMEOUT_S)
        _wait(ours, END_TIMEOUT_S)
    for process in _alive(ours):
        process.kill()
    _wait(ours, END_TIMEOUT_S)
    if left := _alive(ours):
        pids = ", ".join(str(process.pid) for process in left)
        raise StorageError(f"processes {pids} of the cluster do not end; kill them yourself")
    remove_leftover_state()
    return cluster


def _wait(processes: list[psutil.Process], limit_s: float) -> None:
    psutil.wait_procs(processes, limit_s)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that run; psutil compares start times, so a reused PID does not count."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
