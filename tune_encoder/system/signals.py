"""Signals that stop a program: of a terminal, of a closed one, and of a service manager."""

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from tune_encoder.errors import Interrupted

_PR_SET_PDEATHSIG = 1  # of prctl(2)
_SUBPROCESS = subprocess.Popen.__init__.__code__.co_filename
_AGAIN_S = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(KeyboardInterrupt):
    """A signal; as of Ctrl-C, libraries that catch every error let it through."""


@contextmanager
def interruptible(message: Callable[[], str]) -> Iterator[None]:
    """Raise `Interrupted` with a message at a signal while the block runs.

    It may come anywhere, since every file is written atomically. In another thread than the main
    one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupt = _Interrupt()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        if before[number] is not signal.SIG_IGN:  # as SIGHUP under nohup
            signal.signal(number, interrupt)
    try:
        with interrupt:
            yield
    except _Stopped as stopped:
        raise Interrupted(message(), stopped.args[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Interrupt:
    """A signal handler that raises `_Stopped`, a little later where that would break something."""

    def __init__(self) -> None:
        self._waiting: tuple[int, threading.Timer] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not _forks(frame):
            self._waiting = None
            raise _Stopped(number)
        main = threading.main_thread().ident  # another thread's signal does not wake it
        again = threading.Timer(_AGAIN_S, signal.pthread_kill, [main, number])
        again.daemon = True
        again.start()
        self._waiting = (number, again)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        if self._waiting is not None:  # nobody would hear it any more
            number, again = self._waiting
            again.cancel()
            raise _Stopped(number)


def _forks(frame: FrameType | None) -> bool:
    """Whether a process is being started: an error may leave locks of the interpreter locked."""
    while frame is not None:
        if frame.f_code.co_name == "_execute_child" and frame.f_code.co_filename == _SUBPROCESS:
            return True
        frame = frame.f_back
    return False


def end_with_parent() -> None:
    """Ask the kernel to end this process when the thread that started it ends, even by SIGKILL.

    Only Linux can do that. Called between fork and exec, as `preexec_fn` of a `Popen`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
