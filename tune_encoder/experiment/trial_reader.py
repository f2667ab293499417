"""Reading the trials of a record again and again, each time only those that have changed."""

import threading
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import Improvement, Seen, TrialRecord, read_changed, read_only

Stamp = tuple[object, ...]
"""What a file has only while it is unchanged."""


def record_stamp(path: Path) -> Stamp:
    """Return what differs once the record in the SQLite file at `path` has been written.

    The first part is the file's own number, which differs if it was replaced.
    """
    own = file_stamp(path)
    return own[-1:], own, file_stamp(path.with_name(f"{path.name}-wal"))


def file_stamp(path: Path) -> Stamp:
    """Return what differs once a file has been written; it need not exist."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


class ReadTrial(TrialRecord):
    """A trial as it was read: nobody changes its rows, so each answer is worked out once."""

    @cached_property  # figures of a thousand trials ask for it many times
    def best(self) -> EpochRow | None:
        return super().best

    @cached_property
    def improvements(self) -> list[Improvement]:
        return super().improvements

    @cached_property
    def seconds(self) -> float:
        return super().seconds

    @cached_property
    def recorded_at(self) -> float:
        return super().recorded_at


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
        self._seen = Seen()
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
                if files[:1] != self._files[:1]:
                    self._seen = Seen()  # another file, of which nothing is known
                self._update()
                self._files = files  # as before the reading: nothing written since is missed
            return list(self._trials.values())

    def _update(self) -> None:
        if not self._path.exists():
            self._seen, self._trials = Seen(), {}
            return
        with closing(read_only(self._path)) as database:
            database.execute("BEGIN")  # one snapshot for all queries
            seen, trials = read_changed(database, self._fields, self._seen)
        known = {n: trial for n, trial in self._trials.items() if n in seen.states}
        changed = {trial.number: ReadTrial(**vars(trial)) for trial in trials}
        self._trials = dict(sorted({**known, **changed}.items()))
        self._seen = seen
