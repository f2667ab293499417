"""Reading the trials of a record again and again, each time only those that have changed."""

import threading
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import Stamp, TrialRecord, read_changed, read_only


def record_stamp(path: Path) -> Stamp:
    """Return what differs once the record in the SQLite file at `path` has been written."""
    return file_stamp(path), file_stamp(path.with_name(f"{path.name}-wal"))


def file_stamp(path: Path) -> Stamp:
    """Return what differs once a file has been written; it need not exist."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


class ReadTrial(TrialRecord):
    """A trial as it was read: nobody changes its rows, so the best one is looked for once."""

    @cached_property  # figures of a thousand trials ask for it many times
    def best(self) -> EpochRow | None:
        return super().best


class TrialReader:
    """Reads a record whenever its files have changed, and of it the trials that have changed."""

    def __init__(self, path: Path, fields: Sequence[str]) -> None:
        """Prepare to read.

        Args:
            path: The SQLite file of the study; it need not exist yet.
            fields: Fields of each row to read besides epoch and objective.
        """
        self._path, self._fields = path, fields
        self._files: Stamp = ()
        self._stamps: dict[int, Stamp] = {}
        self._trials: dict[int, TrialRecord] = {}
        self._lock = threading.Lock()

    def read(self) -> list[TrialRecord]:
        """Return all trials in order of their numbers; one that is unchanged is the same object.

        Several threads may call it.

        Raises:
            sqlite3.Error, ValueError: if the record is damaged.
        """
        with self._lock:
            files = record_stamp(self._path)
            if files != self._files:
                self._update()
                self._files = files  # as before the reading: nothing written since is missed
            return list(self._trials.values())

    def _update(self) -> None:
        if not self._path.exists():
            self._stamps, self._trials = {}, {}
            return
        with closing(read_only(self._path)) as database:
            database.execute("BEGIN")  # one snapshot for both queries
            stamps, trials = read_changed(database, self._fields, self._stamps)
        known = {number: trial for number, trial in self._trials.items() if number in stamps}
        changed = {trial.number: ReadTrial(**vars(trial)) for trial in trials}
        self._trials = dict(sorted({**known, **changed}.items()))
        self._stamps = stamps
