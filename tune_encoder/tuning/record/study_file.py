"""The study in study.db, a file that other programs may lock, and a disk may fill up."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import RDBStorage

from tune_encoder.errors import StorageError
from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.tuning.record.stored_study import (
    DATABASE_ERRORS,
    RETRY_FOR_S,
    StoredStudy,
    database_error,
    study_url,
)

NOTICE_S = 3.0  # of waiting for a lock, after which it is said
_LOCKED = "locked"
_WHAT_TO_DO = {  # by what SQLite says
    _LOCKED: "another program is using it; end that program",
    "readonly": "make it writable",
    "full": "make room on the disk",
}
_ELSE = "check its disk"


def open_study_file(path: Path) -> StoredStudy:
    """Open the study of an SQLite file.

    Raises:
        StorageError: if that is impossible.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=NOTICE_S, check_same_thread=False)
        # Commits do not wait for the disk; a power failure can only undo the last ones completely.
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    with file_errors(path, "read"):
        storage = RDBStorage(study_url(path), engine_kwargs={"creator": connect})
        return StoredStudy(storage, STUDY_NAME)


@contextmanager
def file_errors(path: Path, done: str) -> Iterator[None]:
    """Raise a `StorageError` if a file cannot be "read" or "written", whichever is `done`."""
    try:
        yield
    except (*DATABASE_ERRORS, sqlite3.Error) as error:
        raise _cannot_be(done, path, error) from error


def write_file(file: StoredStudy, change: Callable[[StoredStudy], None]) -> None:
    """Apply a change, which must be idempotent, waiting while another program locks the file.

    Raises:
        StorageError: if it stays locked, or cannot be written for another reason.
    """
    deadline, is_said = time.monotonic() + RETRY_FOR_S, False
    while True:
        try:
            return change(file)
        except DATABASE_ERRORS as error:
            if _LOCKED not in database_error(error) or time.monotonic() > deadline:
                raise _cannot_be("written", _path(file), error) from error
        if not is_said:
            waiting = f"{_path(file)}: locked by another program; waiting for it"
            print(waiting, file=sys.stderr, flush=True)  # noqa: T201
            is_said = True


def _path(file: StoredStudy) -> Path:
    return Path(str(file.engine.url.database))


def _cannot_be(done: str, path: Path, error: Exception) -> StorageError:
    reason = database_error(error)
    todo = next((todo for said, todo in _WHAT_TO_DO.items() if said in reason), _ELSE)
    return StorageError(f"{path}: cannot be {done} ({reason}); {todo}")
