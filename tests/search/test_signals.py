import os
import signal
import threading

import pytest

from tune_encoder.search.signals import StopSignal


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_while_listening_and_handled_as_before_afterwards(number):
    stop, before = StopSignal(also_when=bool), signal.getsignal(number)

    with stop.listening():
        os.kill(os.getpid(), number)

    assert stop.number == number
    assert signal.getsignal(number) is before


def test_in_another_thread_a_search_listens_to_nothing_and_can_still_be_ended():
    steps = []

    def search():
        stop = StopSignal(also_when=lambda: len(steps) == 3)
        with stop.listening():
            while True:
                stop.on_step_begin(len(steps), [])
                steps.append("step")

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert in_thread(search) == []
    assert len(steps) == 3
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_in_another_thread_an_error_of_the_search_is_not_lost():
    def search():
        with StopSignal(also_when=bool).listening():
            raise ValueError("no data")

    (raised,) = in_thread(search)
    assert str(raised) == "no data"
