"""What of a cluster we started: a file of the cache folder, and whether it still runs.

Process numbers stand there with the moment each began, so that none is ever ended that has
another's number by now.
"""

import json
import shutil
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tune_encoder.errors import StorageError
from tune_encoder.system.files import atomic_write, cache_dir
from tune_encoder.tuning.cluster.ray_settings import reach_loopback_directly, read_token

ANSWER_TIMEOUT_S = 5.0  # for its page
_START_TOLERANCE_S = 0.02  # a process's start is told in hundredths of a second


@dataclass(frozen=True)
class Process:
    """A process of ours."""

    pid: int
    started: float
    """Seconds since 1970."""
    name: str

    def running(self) -> psutil.Process | None:
        """Return it, or None if it has ended, also if its number is another's now."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _START_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class Cluster:
    """What was started."""

    address: str
    page: str
    folder: str
    """Of Ray's sockets and logs; removed at the end."""
    processes: list[Process]
    """The first keeps the others: it ends them when it is asked to end."""

    def running(self) -> list[Process]:
        """Its processes that still run."""
        return [each for each in self.processes if each.running()]


def process_of(process: psutil.Process) -> Process:
    """Note a process, by the name of its script where it has one."""
    scripts = [Path(word).stem for word in process.cmdline() if word.endswith(".py")]
    return Process(process.pid, process.create_time(), (scripts or [process.name()])[0])


def find_cluster() -> Cluster | None:
    """Return the cluster that was started here and runs."""
    cluster = _read_state()
    return cluster if cluster is not None and cluster.running() else None


def _read_state() -> Cluster | None:
    try:
        content = json.loads(_state_file().read_text(encoding="utf-8"))
        processes = [Process(**each) for each in content.pop("processes")]
        return Cluster(**content, processes=processes)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{_state_file()}: cannot be read ({error}); end Ray's processes by hand, then remove "
            "the file"
        ) from error


def remove_leftover_state() -> None:
    """Remove what a cluster left that ended by itself, as with the machine."""
    if (cluster := _read_state()) is not None:
        shutil.rmtree(cluster.folder, ignore_errors=True)
        _state_file().unlink()


def local_address() -> str:
    """Return the address of the cluster that runs here, empty without."""
    cluster = find_cluster()
    return cluster.address if cluster is not None else ""


def write_state(cluster: Cluster) -> None:
    """Write down what was started."""
    atomic_write(_state_file(), json.dumps(asdict(cluster), indent=2).encode())


def state_folder() -> Path:
    """Where the file lies, and the log of Ray's start."""
    return cache_dir() / "cluster"


def _state_file() -> Path:
    return state_folder() / "cluster.json"


def cluster_load(cluster: Cluster) -> dict[str, Any]:
    """Return what the cluster has and what of it is in use: {"CPU": [used, total], ...}.

    Raises:
        StorageError: if its page does not answer.
    """
    used = cluster_usage(cluster)
    return {name: used[name] for name in ("CPU", "GPU") if name in used}


def cluster_usage(cluster: Cluster) -> dict[str, Any]:
    """Return all that Ray counts, as [used, total] of each."""
    address = f"{cluster.page}/api/cluster_status"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {read_token()}"})
    reach_loopback_directly()
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
            report = json.load(answer)["data"]["clusterStatus"]["loadMetricsReport"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{cluster.page}: does not answer ({error}); end the cluster with "
            "`tune-encoder cluster stop` and start it anew"
        ) from error
    counted: dict[str, Any] = report["usage"]
    return counted
