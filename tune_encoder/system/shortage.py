"""What a machine is short of, such as room on a disk: never the fault of what is trained."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tune_encoder.errors import StorageError

_ROOM = "make room on the disk, or for more files (`df -i`)"
_HANDLES = "allow more open files (`ulimit -n`)"
_WRITABLE = "mount it writable"
# By what the system and SQLite say: torch, pyarrow and Ray pass on no more than these words.
_REMEDIES = {
    os.strerror(errno.ENOSPC): _ROOM,
    os.strerror(errno.EDQUOT): "make room, or ask for a larger quota",
    os.strerror(errno.EMFILE): _HANDLES,
    os.strerror(errno.ENFILE): _HANDLES,
    os.strerror(errno.EROFS): _WRITABLE,
    "database or disk is full": _ROOM,
    "readonly database": _WRITABLE,
}


def shortage(said: str) -> str:
    """Return in a line what an error says is missing, and what to do; empty if it is another."""
    lines = [line.strip() for line in said.splitlines()]
    for line in reversed(lines):  # of a traceback the last says most
        for words, remedy in _REMEDIES.items():
            if words in line:
                return line if remedy in line else f"{line}; {remedy}"
    return ""


@contextmanager
def resumable(how_to_resume: Callable[[], str]) -> Iterator[None]:
    """Say how to resume if what the machine is short of ends the block.

    Args:
        how_to_resume: Returns the end of the error's line.

    Raises:
        StorageError: instead of an error of the system, and of any that a shortage has caused.
    """
    try:
        yield
    except Exception as error:
        problem = shortage(str(error)) or (str(error) if isinstance(error, OSError) else "")
        if not problem or "resume with" in problem:
            raise
        raise StorageError(f"{problem}; {how_to_resume()}") from error
