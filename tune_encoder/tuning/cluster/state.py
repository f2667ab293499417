"""The state of the cluster that we started: a file in the cache folder, and whether it still runs.

The file has the start time of each process besides its PID, so that no other process that got the
same PID later is ever ended.
"""

import http.client
import json
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tune_encoder.errors import StorageError
from tune_encoder.system.damage import parse_json
from tune_encoder.system.files import atomic_write, cache_dir
from tune_encoder.tuning.cluster.ray_settings import reach_loopback_directly, read_token

ANSWER_TIMEOUT_S = 5.0  # for its dashboard
_START_TOLERANCE_S = 0.02  # the start time of a process has a resolution of 0.01 s


@dataclass(frozen=True)
class Process:
    """A process of the cluster."""

    pid: int
    started: float
    """Seconds since 1970."""
    name: str

    def running(self) -> psutil.Process | None:
        """Return it, or None if it has ended, even if another process has its PID now."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _START_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class Cluster:
    """A cluster that was started on this machine."""

    address: str
    page: str
    folder: str
    """Folder of Ray's sockets and logs; removed when the cluster stops."""
    processes: list[Process]
    """The first is the parent of the others, and ends them when it is terminated."""

    def running(self) -> list[Process]:
        """Its processes that still run."""
        return [each for each in self.processes if each.running()]

    def tree(self) -> list[psutil.Process]:
        """Its processes that still run, and all their descendants, such as workers."""
        found: dict[int, psutil.Process] = {}
        for process in filter(None, (each.running() for each in self.processes)):
            found[process.pid] = process
            with suppress(psutil.NoSuchProcess):
                found.update({child.pid: child for child in process.children(recursive=True)})
        return list(found.values())


def process_of(process: psutil.Process) -> Process:
    """Return the state entry of a process, named after its script if it has one."""
    scripts = [Path(word).stem for word in process.cmdline() if word.endswith(".py")]
    return Process(process.pid, process.create_time(), (scripts or [process.name()])[0])


def processes_under(parent: psutil.Process) -> list[Process]:
    """Return the state entries of what a process has started, directly or not, and that runs."""
    entries = []
    for child in parent.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended, maybe still awaited by its parent
            entries.append(process_of(child))
    return entries


def find_cluster() -> Cluster | None:
    """Return the cluster that was started on this machine, if it is running."""
    cluster = _read_state()
    return cluster if cluster is not None and cluster.running() else None


def _read_state() -> Cluster | None:
    try:
        content = parse_json(_state_file().read_text(encoding="utf-8"))
        processes = [Process(**each) for each in content.pop("processes")]
        return Cluster(**content, processes=processes)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{_state_file()}: cannot be read ({error}); end Ray's processes yourself, then remove "
            "the file"
        ) from error


def remove_leftover_state() -> None:
    """Remove the files of a cluster that was not stopped, for instance after a reboot."""
    if (cluster := _read_state()) is not None:
        shutil.rmtree(cluster.folder, ignore_errors=True)
        _state_file().unlink()


def local_address() -> str:
    """Return the address of the cluster that runs on this machine; empty if there is none."""
    cluster = find_cluster()
    return cluster.address if cluster is not None else ""


def write_state(cluster: Cluster) -> None:
    """Save the state of a cluster."""
    atomic_write(_state_file(), json.dumps(asdict(cluster), indent=2).encode())


def state_folder() -> Path:
    """Return the folder of the state file and of the log of Ray's start."""
    return cache_dir() / "cluster"


def _state_file() -> Path:
    return state_folder() / "cluster.json"


def cluster_load(cluster: Cluster) -> dict[str, list[float]]:
    """Return the CPUs and GPUs that are in use and exist: {"CPU": [used, total], ...}.

    Raises:
        StorageError: if the dashboard does not answer, or another program has its port.
    """
    used = cluster_usage(cluster)
    return {name: used[name] for name in ("CPU", "GPU") if name in used}


def cluster_usage(cluster: Cluster) -> dict[str, list[float]]:
    """Return all of Ray's resources, each as [used, total]."""
    with _unanswered(cluster):
        status = _ask(cluster, "cluster_status")
        usage: dict[str, list[float]] = status["data"]["clusterStatus"]["loadMetricsReport"][
            "usage"
        ]
        return usage


def serves_page(cluster: Cluster) -> bool:
    """Whether a process of this cluster listens at the page's address, and not another program."""
    port = urllib.parse.urlsplit(cluster.page).port
    return any(port in _listening_ports(process) for process in cluster.tree())


def check_page(cluster: Cluster) -> None:
    """Raise a `StorageError` if another program may get what is sent to the page: our token."""
    if not serves_page(cluster):
        raise StorageError(
            f"{cluster.page}: no process of the cluster listens there; stop the cluster with "
            "`tune-encoder cluster stop` and start it again"
        )


def _listening_ports(process: psutil.Process) -> set[int]:
    try:
        sockets = process.net_connections("tcp")
    except psutil.Error:  # it has just ended
        return set()
    return {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}


def _ask(cluster: Cluster, what: str) -> Any:
    check_page(cluster)
    address = f"{cluster.page}/api/{what}"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {read_token()}"})
    reach_loopback_directly()
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
        return json.load(answer)


@contextmanager
def _unanswered(cluster: Cluster) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{cluster.page}: does not answer ({error}); stop the cluster with "
            "`tune-encoder cluster stop` and start it again"
        ) from error
