"""The processes of a search that runs."""

import subprocess

import psutil

AGENT, NODE, HEAD, WORKER = "DashboardAgent", "raylet/raylet", "gcs_server", "ImplicitFunc"
"""Names by which Ray's processes are found."""


def children(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Return all processes that a search has started, directly or not."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def of_ray(process: "subprocess.Popen[str]", name: str) -> psutil.Process | None:
    """Return a process of its Ray, if there is one."""
    return next((each for each in children(process) if _is_named(each, name)), None)


def kill_with_workers(process: "subprocess.Popen[str]", within_s: float) -> str:
    """Kill a search; wait for its workers, which could still write; return what stderr said.

    Other processes of Ray live on for a minute, and do nothing.
    """
    workers = [each for each in children(process) if _is_named(each, WORKER)]
    process.kill()
    _, errors = process.communicate()
    psutil.wait_procs(workers, within_s)
    return errors


def _is_named(process: psutil.Process, name: str) -> bool:
    try:
        return name in " ".join(process.cmdline()[:1])
    except psutil.Error:  # it has just ended
        return False
