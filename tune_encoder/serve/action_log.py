"""The log of what was done on the page, one line an action: who, when, what, what came of it."""

import getpass
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from tune_encoder.system.files import cache_dir, make_cache_folder

Note = Callable[[Mapping[str, object]], None]


def action_log_path() -> Path:
    """Return the file of the log, which only this user can read."""
    return cache_dir() / "serve" / "actions.log"


@contextmanager
def action_log() -> Iterator[Note]:
    """Open the log, and yield what adds a line of JSON to it.

    Raises:
        StorageError, OSError: if it cannot be written, so that nothing is done unseen.
    """
    path = action_log_path()
    make_cache_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(content: Mapping[str, object]) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = json.dumps({"at": now, "user": _user(), **content})
        os.write(descriptor, f"{line}\n".encode())  # in one go, so that lines never mix

    try:
        yield note
    finally:
        os.close(descriptor)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, whose user has no name
        return str(os.getuid())
