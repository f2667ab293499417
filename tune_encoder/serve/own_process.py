"""Work in a process of its own, which answers with JSON.

It loads what takes several times the memory of the server, and gives it back when it ends.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tune_encoder.errors import TuneEncoderError, error_line
from tune_encoder.system.signals import end_with_parent

_LONGEST_S = 600.0
_NICENESS = 10  # the search comes first
PROBLEM = "problem"


class NoAnswer(TuneEncoderError):
    """A process that ended, or was ended, without an answer."""


class _Children:
    """The processes that are waited for; at the end of the server they end, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False

    @contextmanager
    def start(self, words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._is_over:
                raise NoAnswer("the server ends; load this page again when it is back")
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=end_with_parent,
            )
            self._running.add(child)
        try:
            with child:
                try:
                    yield child
                finally:
                    child.kill()  # if it was not waited for to its end
        finally:
            with self._lock:
                self._running.discard(child)

    def open(self) -> None:
        with self._lock:
            self._is_over = False

    def close(self) -> None:
        with self._lock:
            self._is_over = True
            for child in self._running:
                child.terminate()


_children = _Children()


@contextmanager
def end_own_processes() -> Iterator[None]:
    """End what `ask` waits for when the block ends, and start nothing more."""
    _children.open()
    try:
        yield
    finally:
        _children.close()


def ask(module: str, *words: str) -> dict[str, Any]:
    """Run a module, and return what it answers.

    Args:
        module: Its name; it calls `answer`.
        *words: Its arguments.

    Raises:
        NoAnswer: if it did not answer, as it failed, took too long, or the server ends.
        TuneEncoderError: with its words if it raised one.
    """
    command = [sys.executable, "-m", module, *words]
    try:
        with _children.start(command) as child:
            out, err = child.communicate(timeout=_LONGEST_S)
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, command, out, err)
        found: dict[str, Any] = json.loads(out)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise NoAnswer(_why(error)) from error
    if PROBLEM in found:
        raise TuneEncoderError(found[PROBLEM])
    return found


def _why(error: Exception) -> str:
    """Say why there was no answer, with the last line of what the process said."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took over {_LONGEST_S:.0f} s and was stopped; use the command line for it"
    said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip().splitlines()
    return error_line(f"its process ended without an answer ({said[-1] if said else error})")


def answer(work: Callable[..., object], *arguments: object) -> None:
    """Do the work of this process, and write what it returns, or the error that it raises."""
    os.nice(_NICENESS)
    try:
        found = work(*arguments)
    except (TuneEncoderError, OSError) as error:
        found = {PROBLEM: error_line(error)}
    sys.stdout.write(json.dumps(found))
