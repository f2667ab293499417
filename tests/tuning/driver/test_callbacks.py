import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.deadline import Deadline
from tune_encoder.tuning.driver.callbacks import StopSignal


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
        stop = StopSignal(Quiet(), deadline, Experiment(Path()))
        with stop.listening():
            os.kill(os.getpid(), number)

    assert stop.number == number
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_stays_so_as_under_nohup():
    stop, before = (
        StopSignal(Quiet(), Deadline(), Experiment(Path())),
        signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    try:
        with stop.listening():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert stop.number is None


def test_in_another_thread_a_search_listens_to_nothing():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def search():
        with StopSignal(Quiet(), Deadline(), Experiment(Path())).listening():
            seen.extend(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM))

    assert in_thread(search) == []
    assert seen == handlers


def test_in_another_thread_an_error_of_the_search_is_not_lost():
    def search():
        with StopSignal(Quiet(), Deadline(), Experiment(Path())).listening():
            raise ValueError("no data")

    (raised,) = in_thread(search)
    assert str(raised) == "no data"
