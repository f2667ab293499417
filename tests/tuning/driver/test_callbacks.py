import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.deadline import Deadline
from tune_encoder.tuning.driver.callbacks import (
    BOTH_S,
    LOST_S,
    STOP_S,
    FailureRecorder,
    StopSignal,
)


def in_thread(run):
    """Run in a thread of its own, and return what it raised."""
    raised = []

    def caught():
        try:
            run()
        except Exception as error:  # noqa: BLE001  (handed to the test)
            raised.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join()
    return raised


class _Quiet:
    """A search that nobody steers."""

    def poll(self):
        pass


Quiet: Any = _Quiet


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_while_listening_and_handled_as_before_afterwards(number):
    before = signal.getsignal(number)

    with Deadline() as deadline:
        stop = StopSignal(Quiet(), deadline, Experiment(Path()), lambda: 37)
        with stop.listening():
            os.kill(os.getpid(), number)

    assert stop.number == number
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_stays_so_as_under_nohup():
    stop, before = (
        StopSignal(Quiet(), Deadline(), Experiment(Path()), lambda: 37),
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    try:
        with stop.listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert stop.number is None


@pytest.mark.parametrize("is_lost_first", [False, True])
def test_a_search_with_a_signal_ends_sooner_if_its_cluster_is_gone_too(is_lost_first):
    left = []

    def note_time_left():
        assert deadline._timer is not None
        left.append(deadline._at - time.monotonic())

    with Deadline() as deadline:
        stop = StopSignal(Quiet(), deadline, Experiment(Path("mine")), lambda: 37)
        events = [lambda: stop._on_signal(signal.SIGTERM, None), lambda: stop.give_up("its head")]
        for happens in reversed(events) if is_lost_first else events:
            happens()
            note_time_left()

    first, both = left
    assert both <= BOTH_S < first
    assert first <= (LOST_S if is_lost_first else STOP_S)


def test_in_another_thread_a_search_listens_to_nothing():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def search():
        with StopSignal(Quiet(), Deadline(), Experiment(Path()), lambda: 37).listening():
            seen.extend(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM))

    assert in_thread(search) == []
    assert seen == handlers


def test_in_another_thread_an_error_of_the_search_is_not_lost():
    def search():
        with StopSignal(Quiet(), Deadline(), Experiment(Path()), lambda: 37).listening():
            raise ValueError("no data")

    (raised,) = in_thread(search)
    assert str(raised) == "no data"


# --- failures ------------------------------------------------------------------------------------

OWNER_DIED = """Failure # 3 (occurred at 2026-11-29_22-03-45)
The actor died unexpectedly before finishing this task.
The actor is dead because its owner has died. Owner worker exit detail: Owner's node has crashed.
"""
KILLED = """Failure # 3 (occurred at 2026-11-29_22-03-45)
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""


class _Failures:
    """A scheduler that keeps what it is told of failures."""

    def __init__(self):
        self.told = []

    def fail(self, number, reason):
        self.told.append((number, reason))


def failed(tmp_path, told):
    """What is made of the failure of trial 7 after its last retry: its record, and the stop."""
    (tmp_path / "error.txt").write_text(told)
    scheduler: Any = _Failures()
    trial: Any = SimpleNamespace(config={"number": 7}, error_file=str(tmp_path / "error.txt"))
    unused: Any = None
    with Deadline() as deadline:
        stop = StopSignal(Quiet(), deadline, Experiment(Path("runs/mine")), lambda: 37)
        FailureRecorder(scheduler, unused, stop).on_trial_error(1, [], trial)
    return scheduler.told, stop


def test_a_trial_whose_workers_died_with_the_node_has_not_failed_and_the_search_ends(tmp_path):
    told, stop = failed(tmp_path, OWNER_DIED)

    assert told == []
    assert str(stop.error()) == (
        "the Ray cluster is lost, the node of this process has ended; everything is saved "
        "(37 epochs); resume with `tune-encoder resume mine`"
    )


def test_a_trial_whose_workers_were_killed_has_failed(tmp_path):
    told, stop = failed(tmp_path, KILLED)

    assert told == [(7, f"the worker died without giving a reason; see {tmp_path}/error.txt")]
    assert stop.lost == ""
