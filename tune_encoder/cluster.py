"""A Ray cluster of one machine that several searches share, and its page outlives them.

What we started stands in a file of the cache folder: process numbers with the moment each began,
so that none is ever ended that has another's number by now.
"""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tune_encoder.config import cache_dir
from tune_encoder.dashboards import LOOPBACK, free_port
from tune_encoder.errors import StorageError
from tune_encoder.files import write_whole
from tune_encoder.lock import held
from tune_encoder.ray_settings import ENVIRONMENT, LEAVE_S, protect_token, token

PORT, PAGE_PORT = 6379, 8265  # Ray's own defaults; the next that is free is taken
START_S, DRAIN_S, END_S, POLL_S = 90.0, 40.0, 5.0, 0.2
_SAME_S = 0.02  # a process's start is told in hundredths of a second


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
            same = abs(process.create_time() - self.started) < _SAME_S
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


def start_cluster(cpus: int | None = None) -> tuple[Cluster, bool]:
    """Start a cluster of this machine that takes tokens only, or find that it runs.

    Args:
        cpus: How many CPUs it may give away; all without.

    Returns:
        The cluster, and whether it was started now.

    Raises:
        StorageError: if it does not start.
    """
    _home().mkdir(parents=True, exist_ok=True)
    with held(_home()):
        if (cluster := find_cluster()) is not None:
            return cluster, False
        _remove_remains()
        protect_token()
        return _start(cpus), True


def find_cluster() -> Cluster | None:
    """Return the cluster that was started here and runs."""
    cluster = _remembered()
    return cluster if cluster is not None and cluster.running() else None


def _remembered() -> Cluster | None:
    try:
        content = json.loads(_state().read_text(encoding="utf-8"))
        processes = [Process(**each) for each in content.pop("processes")]
        return Cluster(**content, processes=processes)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{_state()}: cannot be read ({error}); end Ray's processes by hand, then remove it"
        ) from error


def _remove_remains() -> None:
    """Remove what a cluster left that ended by itself, as with the machine."""
    if (cluster := _remembered()) is not None:
        shutil.rmtree(cluster.folder, ignore_errors=True)
        _state().unlink()


def local_address() -> str:
    """Return the address of the cluster that runs here, empty without."""
    cluster = find_cluster()
    return cluster.address if cluster is not None else ""


def stop_cluster() -> Cluster | None:
    """End what was started, and nothing else; returns what it was, or None if nothing ran.

    Raises:
        StorageError: if a process does not end.
    """
    if (cluster := find_cluster()) is None:
        return None
    ours = _with_descendants(cluster)
    if (head := cluster.processes[0].running()) is not None:
        head.terminate()
        _wait(ours, DRAIN_S)
    for process in _alive(ours):
        process.kill()
    _wait(ours, END_S)
    if left := _alive(ours):
        raise StorageError(f"processes {', '.join(str(p.pid) for p in left)} do not end")
    _remove_remains()
    return cluster


def load(cluster: Cluster) -> dict[str, Any]:
    """Return what the cluster has and what of it is in use: {"CPU": [used, total], ...}.

    Raises:
        StorageError: if its page does not answer.
    """
    address = f"{cluster.page}/api/cluster_status"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token()}"})
    try:
        with urllib.request.urlopen(request, timeout=END_S) as answer:
            report = json.load(answer)["data"]["clusterStatus"]["loadMetricsReport"]
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{cluster.page}: does not answer ({error}); end the cluster with "
            "`tune-encoder cluster stop` and start it anew"
        ) from error
    usage: dict[str, Any] = report["usage"]
    return {name: usage[name] for name in ("CPU", "GPU") if name in usage}


# --- starting ------------------------------------------------------------------------------------


def _home() -> Path:
    return cache_dir() / "cluster"


def _state() -> Path:
    return _home() / "cluster.json"


def _start(cpus: int | None) -> Cluster:
    # Not in the cache folder: the path of a socket has at most 107 letters.
    folder = tempfile.mkdtemp(prefix="tune_encoder_")
    port, page_port = free_port(PORT), free_port(PAGE_PORT)
    log = _home() / "head.log"
    keeper = psutil.Process(_spawn(_command(port, page_port, folder, cpus), log))
    page = f"http://{LOOPBACK}:{page_port}"
    first = Cluster(_address(port), page, folder, [_of(keeper)])
    _remember(first)  # so that whatever happens now, `stop` finds it
    try:
        _await_answer(first, log)
    except BaseException:
        stop_cluster()
        _remove_remains()
        raise
    processes = [first.processes[0], *map(_of, keeper.children(recursive=True))]
    cluster = Cluster(first.address, page, folder, processes)
    _remember(cluster)
    return cluster


def _spawn(command: list[str], log: Path) -> int:
    """Start a process that goes on when this one ends, whatever the terminal is told."""
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
        "temp-dir": folder,
        **({} if cpus is None else {"num-cpus": cpus}),
    }
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    return [*ray, *(f"--{name}={value}" for name, value in options.items())]


def _environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, LEAVE_S[0]: os.environ.get(*LEAVE_S)}


def _address(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _of(process: psutil.Process) -> Process:
    scripts = [Path(word).stem for word in process.cmdline() if word.endswith(".py")]
    return Process(process.pid, process.create_time(), (scripts or [process.name()])[0])


def _remember(cluster: Cluster) -> None:
    write_whole(_state(), json.dumps(asdict(cluster), indent=2).encode())


def _await_answer(cluster: Cluster, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(cluster):
        if not cluster.running() or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()
            reason = next((line for line in reversed(said) if line.strip()), "no reason given")
            raise StorageError(f"the cluster did not start: {reason.strip()[:200]}; see {log}")
        time.sleep(POLL_S)


def _answers(cluster: Cluster) -> bool:
    host, _, port = cluster.address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), END_S).close()
        return bool(load(cluster))
    except (OSError, StorageError):
        return False


# --- ending --------------------------------------------------------------------------------------


def _with_descendants(cluster: Cluster) -> list[psutil.Process]:
    """Our processes and all they started, such as workers."""
    ours: dict[int, psutil.Process] = {}
    for process in _processes(cluster):
        ours[process.pid] = process
        ours.update({child.pid: child for child in process.children(recursive=True)})
    return list(ours.values())


def _processes(cluster: Cluster) -> Iterator[psutil.Process]:
    for each in cluster.processes:
        if (process := each.running()) is not None:
            yield process


def _wait(processes: list[psutil.Process], limit_s: float) -> None:
    psutil.wait_procs(processes, limit_s)


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that run; psutil compares the start, so a number given anew is not among them."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
