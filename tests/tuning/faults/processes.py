"""The processes of a search that runs."""

import contextlib
import re
import subprocess

import psutil

from tests.processes import command_of

AGENT, NODE, HEAD = "DashboardAgent", "raylet/raylet", "gcs_server"
"""Names by which Ray's processes are found."""
WORKER = r"ray::TrialWorker|: worker \d"  # before an epoch, and during one


def children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return all processes that a search has started, directly or not."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def of_ray(process: "subprocess.Popen[str]", name: str) -> psutil.Process | None:
    """Return a process of its Ray, if there is one."""
    return next((each for each in children(process) if is_named(each, name)), None)


def kill_with_workers(process: "subprocess.Popen[str]", within_s: float) -> str:
    """Kill a search; wait for its workers, which could still write; return what stderr said.

    What else is left of its Ray does nothing, but would hold the pipes for up to a minute.
    """
    started = children(process)
    workers = [each for each in started if is_named(each, WORKER)]
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, within_s)
    assert not alive, alive
    for each in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return process.communicate(timeout=within_s)[1]


def is_named(process: psutil.Process, name: str) -> bool:
    """Whether the title of a process has a name, which is one of those above."""
    return re.search(name, command_of(process, 1)) is not None
