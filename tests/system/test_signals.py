import os
import signal
from contextlib import suppress

import pytest

from tune_encoder.errors import Interrupted
from tune_encoder.system.signals import STOP_SIGNALS, interruptible


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_an_error_with_its_exit_code_also_within_code_that_hides_errors(number):
    before = signal.getsignal(number)

    with (
        pytest.raises(Interrupted, match="resume with x") as found,
        interruptible(lambda: "stopped; resume with x"),
        suppress(Exception),  # as libraries do
    ):
        os.kill(os.getpid(), number)

    assert found.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with interruptible(lambda: "stopped"):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
