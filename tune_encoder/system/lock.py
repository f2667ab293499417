"""A lock, so that only one launch at a time runs an experiment."""

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypedDict

from tune_encoder.errors import StorageError

LOCK_NAME = "lock"
_HOLDER = re.compile(r"pid (\d+) on (.+)")


class Process(TypedDict):
    """The process that holds a lock; both are None until it has written them."""

    pid: int | None
    host: str | None


@contextmanager
def lock_experiment(folder: Path) -> Iterator[None]:
    """Lock the experiment while the block runs; a killed process releases its lock at once.

    Raises:
        StorageError: if another process holds the lock, naming it.
    """
    path = folder / LOCK_NAME
    with path.open("a+", encoding="utf-8") as file:
        if not lock_file(file):
            file.seek(0)
            holds = file.readline().strip() or "another process"
            raise StorageError(f"{folder}: in use by {holds}; wait until it ends, or stop it")
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def lock_file(file: TextIO | int) -> bool:
    """Lock a file, with retries, since who looks whether it is locked does so for a moment.

    Returns:
        Whether it could be locked, as no other process holds it.
    """
    for wait_s in (0.01, 0.04, 0.1, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if wait_s is not None:
                time.sleep(wait_s)
        else:
            return True
    return False


def lock_holder(folder: Path) -> str | None:
    """Return which process holds the lock, or None if none does."""
    path = folder / LOCK_NAME
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.readline().strip() or "another process"
    return None


def lock_process(folder: Path) -> Process | None:
    """Return the process that holds the lock, which may not have written its name yet."""
    holder = lock_holder(folder)
    if holder is None:
        return None
    found = _HOLDER.fullmatch(holder)
    return {"pid": int(found[1]), "host": found[2]} if found else {"pid": None, "host": None}


def write_note(folder: Path, line: str) -> None:
    """Write a line that other processes can read while this one holds the lock."""
    with (folder / LOCK_NAME).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def read_note(folder: Path) -> str:
    """Return the note of the process that holds the lock; empty if there is none."""
    lines = (folder / LOCK_NAME).read_text(encoding="utf-8").splitlines()
    return lines[1] if len(lines) > 1 else ""
