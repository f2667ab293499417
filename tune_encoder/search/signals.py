"""Ctrl-C and SIGTERM end a search after its last report, with everything saved."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from ray.tune import Callback

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(Exception):
    """Ends Tune where no signal can: Tune cleans up after any error of a callback."""


class StopSignal(Callback):
    """Notes the first signal and passes it on to Tune; a second one ends the program at once."""

    def __init__(self, also_when: Callable[[], bool]) -> None:
        self.number: int | None = None
        self._also_when = also_when

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs, then restore what was there before.

        To be entered after `ray.init`, which installs a handler of its own. Python lets only the
        main thread install any, so in another thread, as a notebook may use, none is changed.
        """
        if not _in_main_thread():
            with suppress(_Stop):
                yield
            return
        before = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGUSR1)}
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Tune has its handler
        for number in _STOPPING:
            signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Ask Tune to stop; it listens to SIGUSR1 only while it runs, so not in the handler."""
        if self.number is not None or self._also_when():
            if not _in_main_thread():
                raise _Stop  # Tune has no handler here either, so SIGUSR1 would end the program
            os.kill(os.getpid(), signal.SIGUSR1)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
