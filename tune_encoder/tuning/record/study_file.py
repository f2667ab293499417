"""The study in study.db, a file that other programs may lock, and a disk may fill up."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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
from tune_encoder.tuning.record.write_order import WriteOrder

NOTICE_S = 3.0  # of waiting for a lock, after which it is said
_LOCKED = "locked"
_WHAT_TO_DO = {  # by what SQLite says
    _LOCKED: "another program is using it; end that program",
    "readonly": "make it writable",
    "full": "make room on the disk",
}
_ELSE = "make room on the disk, also for more files (`df -i`), or check it"


class StudyFile(StoredStudy):
    """The study of an SQLite file, which other programs may lock."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            StorageError: if that is impossible.
        """
        self._path = path
        self._order = WriteOrder()
        with file_errors(path, "read"):
            engine = {"creator": partial(_connect, path)}
            super().__init__(RDBStorage(study_url(path), engine_kwargs=engine), STUDY_NAME)

    def write(self, change: Callable[[StoredStudy], None]) -> None:
        """Apply a change, waiting while another program locks the file.

        Raises:
            StorageError: if it stays locked, or cannot be written for another reason; all later
                changes then fail at once, so that none is written without earlier ones.
        """
        with self._order.next():
            self._write(change, time.monotonic() + RETRY_FOR_S)

    def _write(self, change: Callable[[StoredStudy], None], deadline: float) -> None:
        is_said = False
        while True:
            try:
                return change(self)
            except DATABASE_ERRORS as error:
                if _LOCKED not in database_error(error) or time.monotonic() > deadline:
                    raise _cannot_be("written", self._path, error) from error
            if not is_said:
                waiting = f"{self._path}: locked by another program; waiting for it"
                print(waiting, file=sys.stderr, flush=True)  # noqa: T201
                is_said = True


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=NOTICE_S, check_same_thread=False)
    # Commits do not wait for the disk; a power failure can only undo the last ones completely.
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


@contextmanager
def file_errors(path: Path, done: str) -> Iterator[None]:
    """Raise a `StorageError` if a file cannot be "read" or "written", whichever is `done`."""
    try:
        yield
    except (*DATABASE_ERRORS, sqlite3.Error) as error:
        raise _cannot_be(done, path, error) from error


def _cannot_be(done: str, path: Path, error: Exception) -> StorageError:
    reason = database_error(error)
    todo = next((todo for said, todo in _WHAT_TO_DO.items() if said in reason), _ELSE)
    return StorageError(f"{path}: cannot be {done} ({reason}); {todo}")
