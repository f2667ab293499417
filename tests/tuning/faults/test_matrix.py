"""What happens to a search, its exit code, what is said, and that nothing is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest

from tests.tuning.conftest import STARTED_S, Command, finish
from tests.tuning.test_resume import LONG, kept

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROWS = 4  # epochs recorded before it happens, unless it happens sooner


@dataclass(frozen=True)
class Fault:
    """A line of the table."""

    what: str
    happens: Callable[[int], None]
    """To a search with this PID."""
    exit_code: int
    said: str
    rows: int = ROWS


def signal_group(number: int) -> Callable[[int], None]:
    return lambda pid: os.killpg(pid, number)


def signal_all(number: int) -> Callable[[int], None]:
    """A signal to the search and to all processes it has started, as systemd sends it."""

    def send(pid: int) -> None:
        search = psutil.Process(pid)
        for each in [*search.children(recursive=True), search]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    return send


def signal_search(number: int) -> Callable[[int], None]:
    return lambda pid: os.kill(pid, number)


def kill_of_ray(name: str) -> Callable[[int], None]:
    """SIGKILL to the process of Ray with this in its command line."""

    def kill(pid: int) -> None:
        ours = psutil.Process(pid).children(recursive=True)
        (found,) = [each for each in ours if name in " ".join(each.cmdline()[:1])]
        found.kill()

    return kill


STOPPED = "stopped, everything is saved; resume with `tune-encoder resume tiny`"
NO_NODE = "the Ray cluster is lost, the node of this process at 127.0.0.1:"
NO_HEAD = "the Ray cluster is lost, its head at 127.0.0.1:"
FAULTS = (
    Fault("SIGTERM to the process group", signal_group(signal.SIGTERM), 143, STOPPED),
    Fault("SIGHUP to the process group", signal_group(signal.SIGHUP), 129, STOPPED),
    Fault("SIGTERM to all processes", signal_all(signal.SIGTERM), 143, STOPPED),
    Fault("SIGTERM while Ray starts", signal_search(signal.SIGTERM), 143, STOPPED, rows=0),
    Fault("Ctrl-C while Ray starts", signal_search(signal.SIGINT), 130, STOPPED, rows=0),
    Fault("SIGKILL of the node's agent", kill_of_ray("DashboardAgent"), 4, NO_NODE),
    Fault("SIGKILL of the cluster's head", kill_of_ray("gcs_server"), 4, NO_HEAD),
)


def wait_for(command: Command, process: subprocess.Popen[str], rows: int) -> None:
    """Wait for so many epochs, or, if none, for the first process of a Ray that starts."""
    if rows:
        command.wait_for_rows(process, rows)
        return
    deadline = time.monotonic() + STARTED_S
    while not psutil.Process(process.pid).children() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.what for fault in FAULTS])
def test_a_fault_ends_a_search_with_its_code_and_a_line_and_nothing_is_lost(
    command: Command, fault: Fault
) -> None:
    process = command.start(*command.search_options(LONG), own_group=True)
    wait_for(command, process, fault.rows)
    before = command.experiment.trials()

    fault.happens(process.pid)
    _, errors = finish(process, STARTED_S)

    (line,) = [line for line in errors.splitlines() if line.startswith("tune-encoder: ")]
    assert process.returncode == fault.exit_code, errors
    assert fault.said in line
    assert line.endswith("resume with `tune-encoder resume tiny`")
    assert "Traceback" not in errors
    assert "(raylet)" not in errors
    kept(before, command.experiment.trials())
    if command.experiment.study_path.exists():  # not yet, where Ray starts
        command.experiment.check_record()


def test_a_search_outlives_its_reader_and_does_without_standard_error(command: Command) -> None:
    options = command.search_options({"budget": {"trials": 2, "epochs": 2}})
    options.remove("--no-export")
    search = [sys.executable, "-u", "-m", "tune_encoder", *options]
    process = subprocess.Popen(
        search, cwd=command.folder, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2)
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(STARTED_S) == 0
    assert [trial.state for trial in command.experiment.trials()] == ["COMPLETE"] * 2
    assert (command.experiment.path / "best" / "metrics.json").is_file()
    assert (command.experiment.path / "report.html").is_file()
