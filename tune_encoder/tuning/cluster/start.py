"""Starting a Ray cluster on this machine."""

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tune_encoder.errors import StorageError
from tune_encoder.system.files import make_cache_folder
from tune_encoder.system.lock import lock_experiment
from tune_encoder.system.ports import LOOPBACK, free_port
from tune_encoder.tuning.cluster.ray_settings import (
    ENVIRONMENT,
    LOOPBACK_ONLY,
    METRICS_ON,
    METRICS_PORT,
    RELEASE_TIMEOUT,
    protect_token,
)
from tune_encoder.tuning.cluster.state import (
    Cluster,
    cluster_usage,
    find_cluster,
    process_of,
    processes_under,
    remove_leftover_state,
    serves_page,
    state_folder,
    write_state,
)
from tune_encoder.tuning.cluster.stop import stop_cluster
from tune_encoder.tuning.cluster.temporary import ray_parent

PORT, DASHBOARD_PORT = 6379, 8265  # Ray's defaults; if one is taken, the next free port is used
START_TIMEOUT_S, ANSWER_TIMEOUT_S, POLL_S = 90.0, 5.0, 0.2
_ATTEMPTS = 3
_FOLDER_PREFIX = "tune_encoder_"  # of the folder of sockets; `tempfile` adds eight letters
_PORT_TAKEN = "in use"  # in Ray's error for a port
_JOINED_ANOTHER = "does not match persisted value"  # in its error where two clusters took one port


class _Ended(StorageError):
    """Ray's processes ended before it answered."""


def start_cluster(cpus: int | None = None, metrics: bool = False) -> tuple[Cluster, bool]:
    """Start a cluster on this machine that requires a token, or return the one that runs.

    Args:
        cpus: How many CPUs trials may use; by default all.
        metrics: Whether searches on it can export metrics, to this machine only.

    Returns:
        The cluster, and whether it was started by this call.

    Raises:
        StorageError: if it does not start.
    """
    make_cache_folder(state_folder())
    with lock_experiment(state_folder()):
        if (cluster := find_cluster()) is not None:
            return cluster, False
        remove_leftover_state()
        protect_token()
        return _start_with_retries(cpus, metrics), True


def _start_with_retries(cpus: int | None, metrics: bool) -> Cluster:
    """Start it, again if another program took a port in the meantime or Ray ended by itself.

    Ray binds some of its ports long after it chose them, and ends if another Ray was faster.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            return _start(cpus, metrics)
        except StorageError as error:
            is_taken = any(sign in str(error) for sign in (_PORT_TAKEN, _JOINED_ANOTHER))
            if not (is_taken or isinstance(error, _Ended)):
                raise
    return _start(cpus, metrics)


def _start(cpus: int | None, metrics: bool) -> Cluster:
    parent = ray_parent(f"{_FOLDER_PREFIX}12345678")
    parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent)
    port, page_port = free_port(PORT), free_port(DASHBOARD_PORT)
    log = state_folder() / "head.log"
    command = [*_command(port, page_port, folder, cpus), *_metrics_options(metrics)]
    keeper = psutil.Process(_spawn(command, log))
    page = f"http://{LOOPBACK}:{page_port}"
    first = Cluster(_address(port), page, folder, [process_of(keeper)])
    write_state(first)  # so that `stop` finds it, whatever happens now
    try:
        _wait_for_answer(first, log)
    except BaseException:
        stop_cluster()
        remove_leftover_state()
        raise
    cluster = Cluster(first.address, page, folder, [*first.processes, *processes_under(keeper)])
    write_state(cluster)
    return cluster


def _spawn(command: list[str], log: Path) -> int:
    """Start a process that survives this one and the terminal's signals."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        to_log = [(os.POSIX_SPAWN_DUP2, descriptor, number) for number in (1, 2)]
        from_nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
        return os.posix_spawn(
            command[0], command, _environment(), file_actions=[from_nothing, *to_log], setsid=True
        )
    finally:
        os.close(descriptor)


def _command(port: int, page_port: int, folder: str, cpus: int | None) -> list[str]:
    options = {
        "port": port,
        "dashboard-host": LOOPBACK,
        "dashboard-port": page_port,
        "include-dashboard": "true",
        "dashboard-agent-listen-port": 0,  # any; if the default port is taken, no jobs are accepted
        "temp-dir": folder,
        **({} if cpus is None else {"num-cpus": cpus}),
    }
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    return [*ray, *(f"--{name}={value}" for name, value in options.items())]


def _metrics_options(metrics: bool) -> list[str]:
    if not metrics:
        return []
    port, settings = free_port(METRICS_PORT), json.dumps(METRICS_ON)
    return [f"--metrics-export-port={port}", f"--system-config={settings}"]


def _environment() -> dict[str, str]:
    leave = {RELEASE_TIMEOUT[0]: os.environ.get(*RELEASE_TIMEOUT)}
    return {**os.environ, **ENVIRONMENT, **LOOPBACK_ONLY, **leave}


def _address(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _wait_for_answer(cluster: Cluster, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(cluster):
        has_ended = not cluster.running()
        if has_ended or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()
            reason = next((line for line in reversed(said) if line.strip()), "no reason given")
            kind = _Ended if has_ended else StorageError
            raise kind(f"the cluster did not start: {reason.strip()[:200]}; see {log}")
        time.sleep(POLL_S)


def _answers(cluster: Cluster) -> bool:
    if not all(map(_is_open, (cluster.address, cluster.page.removeprefix("http://")))):
        return False
    if not serves_page(cluster):  # another program was faster; Ray may have moved its page
        raise StorageError(f"the cluster did not start: {cluster.page} is {_PORT_TAKEN}")
    try:
        return "memory" in cluster_usage(cluster)  # then its node has joined
    except StorageError:
        return False


def _is_open(address: str) -> bool:
    """Whether any program listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_TIMEOUT_S).close()
        return True
    except OSError:
        return False
