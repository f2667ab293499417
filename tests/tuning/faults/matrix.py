"""What can happen to a running search: how it ends, what it says, and how that is brought about."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from tests.tuning.conftest import STARTED_S, Command, finish
from tests.tuning.faults.processes import AGENT, HEAD, NODE, WORKER, children, of_ray
from tests.tuning.faults.promises import Problem, broken_promises

ROWS = 4  # epochs recorded before it happens
SPACE: dict[str, Any] = {"budget": {"trials": 3, "epochs": 12}, "scheduler": {"name": "none"}}
WAIT_S = 0.02

STOPPED = "stopped, everything is saved; resume with `tune-encoder resume tiny`"
NO_RAY = "Ray did not start ("
NO_NODE = "the Ray cluster is lost, the node of this process at 127.0.0.1:"
NO_HEAD = "the Ray cluster is lost, its head at 127.0.0.1:"


class Running:
    """A search in a process of its own."""

    def __init__(self, command: Command, space: dict[str, Any]) -> None:
        """Start it as the head of a process group, as a shell does."""
        self.command = command
        self.process = command.start(*command.search_options(space), own_group=True)

    def wait_for(self, rows: int) -> None:
        """Wait for so many epochs, or, if none, for the first process of a Ray that starts."""
        if rows:
            self.command.wait_for_rows(self.process, rows)
            return
        deadline = time.monotonic() + STARTED_S
        while not children(self.process) and time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(WAIT_S)


Happens = Callable[[Running], None]


def signal_search(number: int) -> Happens:
    """A signal to the process that was started."""
    return lambda search: search.process.send_signal(number)


def signal_group(number: int) -> Happens:
    """A signal to its process group, as a terminal sends it."""
    return lambda search: os.killpg(search.process.pid, number)


def signal_all(number: int) -> Happens:
    """A signal to the search and to all processes it has started, as systemd sends it."""

    def send(search: Running) -> None:
        for each in [*children(search.process), psutil.Process(search.process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    return send


def kill_of_ray(name: str) -> Happens:
    """SIGKILL to a process of Ray, as soon as there is one."""

    def kill(search: Running) -> None:
        deadline = time.monotonic() + STARTED_S
        while (found := of_ray(search.process, name)) is None:
            assert time.monotonic() < deadline, f"no process of Ray has {name} in its name"
            time.sleep(WAIT_S)
        found.kill()

    return kill


def stall(seconds: float) -> Happens:
    """The search gets no time for so long, as on a machine that is suspended."""

    def stop(search: Running) -> None:
        search.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        search.process.send_signal(signal.SIGCONT)

    return stop


def lock_study(seconds: float) -> Happens:
    """Another program holds study.db for so long, or until the search has ended."""

    def lock(search: Running) -> None:
        path = search.command.experiment.study_path
        with contextlib.closing(sqlite3.connect(path, timeout=seconds)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with contextlib.suppress(subprocess.TimeoutExpired):
                search.process.wait(seconds)

    return lock


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    what: str
    happens: Happens
    exit_code: int
    said: str
    """In the last line about it; nothing where the search goes on, or is killed."""
    rows: int = ROWS
    in_suite: bool = True
    """Whether the test suite has it; the rest takes longer, and shows what a kin of it shows."""

    @property
    def within_s(self) -> float:
        """How soon it ends after a signal, and after the loss of its cluster or of its record."""
        return 10.0 if self.exit_code > 128 else 60.0


FAULTS = (
    Fault("SIGTERM to the group", signal_group(signal.SIGTERM), 143, STOPPED, in_suite=False),
    Fault("SIGHUP to the group", signal_group(signal.SIGHUP), 129, STOPPED),
    Fault("Ctrl-C", signal_group(signal.SIGINT), 130, STOPPED, in_suite=False),
    Fault("SIGTERM to all processes", signal_all(signal.SIGTERM), 143, STOPPED),
    Fault("SIGTERM to the search", signal_search(signal.SIGTERM), 143, STOPPED, in_suite=False),
    Fault("SIGTERM while Ray starts", signal_search(signal.SIGTERM), 143, STOPPED, rows=0),
    Fault("Ctrl-C while Ray starts", signal_search(signal.SIGINT), 130, STOPPED, 0, in_suite=False),
    Fault("SIGKILL of the head while Ray starts", kill_of_ray(HEAD), 4, NO_RAY, 0, in_suite=False),
    Fault("SIGKILL of the search", signal_search(signal.SIGKILL), -9, "", in_suite=False),
    Fault("SIGKILL of a worker", kill_of_ray(WORKER), 0, "", in_suite=False),
    Fault("SIGKILL of the node's agent", kill_of_ray(AGENT), 4, NO_NODE),
    Fault("SIGKILL of the node", kill_of_ray(NODE), 4, NO_NODE, in_suite=False),
    Fault("SIGKILL of the cluster's head", kill_of_ray(HEAD), 4, NO_HEAD),
    Fault("no time for 20 s", stall(20), 0, "", in_suite=False),
    Fault("study.db locked for 6 s", lock_study(6), 0, "waiting for it", in_suite=False),
    Fault("study.db locked for good", lock_study(120), 4, "end that program", in_suite=False),
)


@dataclass(frozen=True)
class Met:
    """What a search did when something happened to it."""

    exit_code: int
    errors: str
    """All of stderr."""
    seconds: float
    """From what happened to its end."""
    problems: list[Problem]
    """Promises about the record that it did not keep."""

    @property
    def said(self) -> str:
        """The last line of the program itself."""
        lines = self.errors.splitlines()
        ours = [line for line in lines if line.startswith("tune-encoder: ") or "study.db:" in line]
        return ours[-1] if ours else ""


def meet(command: Command, fault: Fault, space: dict[str, Any] = SPACE) -> Met:
    """Let a search of a space run, and something happen to it; wait for its end."""
    search = Running(command, space)
    search.wait_for(fault.rows)
    before, at = command.experiment.trials() if fault.rows else [], time.monotonic()
    fault.happens(search)
    _, errors = finish(search.process, STARTED_S)
    seconds = time.monotonic() - at
    after = command.experiment.trials() if before else []
    problems = list(broken_promises(before, after))
    return Met(search.process.returncode, errors, seconds, problems)
