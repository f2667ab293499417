"""Signals that stop a program: of a terminal, of a closed one, and of a service manager."""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tune_encoder.errors import Interrupted

_PR_SET_PDEATHSIG = 1  # of prctl(2)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(KeyboardInterrupt):
    """A signal; as of Ctrl-C, libraries that catch every error let it through."""


@contextmanager
def interruptible(message: Callable[[], str]) -> Iterator[None]:
    """Raise `Interrupted` with a message at a signal while the block runs.

    It may come anywhere, since every file is written atomically. In another thread than the main
    one nothing is changed.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        if before[number] is not signal.SIG_IGN:  # as SIGHUP under nohup
            signal.signal(number, interrupt)
    try:
        yield
    except _Stopped as stopped:
        raise Interrupted(message(), stopped.args[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_parent() -> None:
    """Ask the kernel to end this process when the thread that started it ends, even by SIGKILL.

    Only Linux can do that. Called between fork and exec, as `preexec_fn` of a `Popen`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
