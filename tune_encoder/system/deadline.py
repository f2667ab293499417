"""A deadline for leaving a block, after which the process ends itself."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from tune_encoder.errors import TuneEncoderError
from tune_encoder.system.events import tell


class Deadline:
    """Ends the process with an error's line and exit code if a block is not left in time.

    For a block that may wait, for ever and outside Python, for something that is gone. Nothing is
    cleaned up then, as after SIGKILL.
    """

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._at = math.inf
        self._lock = threading.RLock()  # a signal handler may interrupt its own thread here

    def __reduce__(self) -> "tuple[type[Deadline], tuple[()]]":
        """Pickle without the clock: Tune pickles what it calls back."""
        return Deadline, ()

    def __enter__(self) -> "Deadline":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._at = -math.inf
            self._cancel()

    def start(self, seconds: float, make_error: Callable[[], TuneEncoderError]) -> None:
        """Set the deadline; a sooner one that is set already stays as it is.

        Args:
            seconds: From now.
            make_error: Called, in another thread, when they are over.
        """
        with self._lock:
            if time.monotonic() + seconds < self._at:
                self._at = time.monotonic() + seconds
                self._cancel()
                self._timer = threading.Timer(seconds, _end_process, [make_error])
                self._timer.daemon = True
                self._timer.start()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _end_process(make_error: Callable[[], TuneEncoderError]) -> None:
    code = TuneEncoderError.exit_code
    try:
        error = make_error()
        code = error.exit_code
        tell("end", exit_code=code, error=str(error), result=None)
        print(f"tune-encoder: {error}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(code)
