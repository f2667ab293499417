"""Reading the trials of a record again and again, each time only those that have changed."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tune_encoder.experiment.trials import Stamp, TrialRecord, read_changed, read_only


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

    def read(self) -> list[TrialRecord]:
        """Return all trials in order of their numbers; one that is unchanged is the same object.

        Raises:
            sqlite3.Error, ValueError: if the record is damaged.
        """
        files = self._file_stamp()
        if files != self._files:
            self._update()
            self._files = files  # as before the reading, so that nothing written since is missed
        return list(self._trials.values())

    def _file_stamp(self) -> Stamp:
        log = self._path.with_name(f"{self._path.name}-wal")
        found = [path.stat() for path in (self._path, log) if path.exists()]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)

    def _update(self) -> None:
        if not self._path.exists():
            self._stamps, self._trials = {}, {}
            return
        with closing(read_only(self._path)) as database:
            database.execute("BEGIN")  # one snapshot for both queries
            stamps, trials = read_changed(database, self._fields, self._stamps)
        known = {number: trial for number, trial in self._trials.items() if number in stamps}
        changed = {trial.number: trial for trial in trials}
        self._trials = dict(sorted({**known, **changed}.items()))
        self._stamps = stamps
