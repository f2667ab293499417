"""Ctrl-C and SIGTERM end a search after its last report, with everything saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray.tune import Callback

from tune_encoder.search.steering import Steering

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignal(Callback):
    """Notes the first signal and passes it on to Tune; a second one ends the program at once."""

    def __init__(self, steering: Steering) -> None:
        self.number: int | None = None
        self._steering = steering

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs, then restore what was there before.

        To be entered after `ray.init`, which installs a handler of its own. Python lets only the
        main thread install any, so in another thread, as a notebook may use, none is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGUSR1)}
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Tune has its handler
        for number in _STOPPING:
            if number != signal.SIGHUP or before[number] is not signal.SIG_IGN:  # as under nohup
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
        self._steering.poll()
        if self.number is not None:
            os.kill(os.getpid(), signal.SIGUSR1)
