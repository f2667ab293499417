"""Standard output and error of a command: they may be closed, full, or lack letters."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from tune_encoder.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_OUT, _ERROR = 1, 2  # file descriptors
_ENDED_BY_READER = 128 + signal.SIGPIPE  # the exit code of `cat` then
_OnError = Callable[[OSError], int]


class Streams:
    """Standard output and error while a command runs.

    Letters that their encoding lacks are escaped. If standard output cannot be written, the command
    ends: without a word if its reader has left, else with a `StorageError`. What cannot be written
    to standard error goes to standard output, or is lost.
    """

    def __init__(self) -> None:
        self.outlives_reader = False
        """Whether the command goes on without standard output."""
        _open_closed_descriptors()
        self.out = _text(_Output(_OUT, self._on_lost_out), sys.stdout)
        # A closed one may be anything by now, such as a file that was opened since.
        self.error = _text(_Output(_OUT if sys.stderr is None else _ERROR, _to_out), sys.stderr)

    def _on_lost_out(self, error: OSError) -> int:
        has_left = isinstance(error, BrokenPipeError)
        what = f"standard output: cannot be written ({error.strerror})"
        if self.outlives_reader:
            if not has_left:
                self.error.write(f"warning: {what}; going on without it\n")
        elif has_left:
            raise SystemExit(_ENDED_BY_READER)
        else:
            raise StorageError(f"{what}; make room there, or write it elsewhere")
        return _nowhere()


@contextmanager
def standard_streams() -> Iterator[Streams]:
    """Replace the streams of the process while the block runs.

    Streams that a test or a notebook has put in their place stay as they are.
    """
    streams, before = Streams(), (sys.stdout, sys.stderr)
    try:
        if sys.stdout is sys.__stdout__:
            sys.stdout = streams.out
        if sys.stderr is sys.__stderr__:
            sys.stderr = streams.error
        yield streams
    finally:
        sys.stdout, sys.stderr = before


class _Output(io.RawIOBase):
    """A file descriptor, and another in its place once it cannot be written."""

    def __init__(self, descriptor: int, on_error: _OnError) -> None:
        super().__init__()
        self._descriptor, self._on_error = descriptor, on_error

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: "ReadableBuffer") -> int | None:
        try:
            return os.write(self._descriptor, content)
        except BlockingIOError:
            return None
        except OSError as error:
            on_error, self._on_error = self._on_error, _to_nowhere
            self._descriptor = _nowhere()  # also if this ends the command: there is more to flush
            self._descriptor = on_error(error)
            return self.write(content)


def _text(output: _Output, instead_of: TextIO | None) -> TextIO:
    """Return a stream like the one it replaces, which is None if it was closed."""
    like = instead_of if isinstance(instead_of, io.TextIOWrapper) else None
    is_buffered = like is None or not like.write_through  # not with PYTHONUNBUFFERED
    return io.TextIOWrapper(
        io.BufferedWriter(output) if is_buffered else cast("BinaryIO", output),
        encoding=like.encoding if like else "utf-8",
        errors="backslashreplace",
        line_buffering=like is None or like.line_buffering,
        write_through=not is_buffered,
    )


def _open_closed_descriptors() -> None:
    """Put the null device where a standard stream is closed, or the next file would be there."""
    while (descriptor := _nowhere()) <= _ERROR:
        pass
    os.close(descriptor)


def _nowhere() -> int:
    return os.open(os.devnull, os.O_RDWR)


def _to_out(error: OSError) -> int:
    return _OUT


def _to_nowhere(error: OSError) -> int:
    return _nowhere()
