import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from tune_encoder.errors import Interrupted
from tune_encoder.system.signals import STOP_SIGNALS, interruptible

ENDED_S = 15.0


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


@pytest.mark.parametrize("then", ["time.sleep(15)", "pass"])
def test_a_signal_while_a_process_is_forked_leaves_no_lock_locked_and_is_not_lost(then):
    program = f"""
import logging, os, signal, subprocess, sys, time
from tune_encoder.errors import Interrupted
from tune_encoder.system.signals import interruptible
once = iter([signal.SIGTERM])
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), next(once, 0)))
try:
    with interruptible(lambda: "stopped"):
        subprocess.Popen(["true"], preexec_fn=int)  # as Ray does, to fork
        {then}
except Interrupted as error:
    logging.getLogger("a").setLevel(1)  # takes the lock
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=ENDED_S,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
