"""Restoring and updating an experiment's folder from the database of its record."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.files import fsync_folder, partial_path
from tune_encoder.system.formats import count_noun
from tune_encoder.tuning.record.database import Database
from tune_encoder.tuning.record.optuna_tables import (
    Rows,
    attributes,
    ended_trials,
    epoch_rows,
    read_file,
    trial_numbers,
    write_file,
)

_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")  # of SQLite's files next to a database
_WRITE_ERRORS = (OSError, sqlite3.Error, SQLAlchemyError, StorageInternalError)


@contextmanager
def open_database(experiment: Experiment) -> Iterator[Database | None]:
    """Connect to the database of a record, if it has one, and update study.db from it.

    Raises:
        ConfigError, StorageError: for the reasons of `Database` and `update_file`, or if only
            study.db has the search, or the database has another search of that name.
    """
    url = experiment.storage_settings().record
    if not url:
        yield None
        return
    with closing(Database(url, experiment.record_name())) as database:
        if has_search(experiment, database):
            update_file(experiment.study_path, database)
            database.claim()
        elif experiment.study_path.exists():
            raise missing_record_error(experiment, database)
        yield database


def has_search(experiment: Experiment, database: Database) -> bool:
    """Whether the database has the experiment's search.

    Raises:
        StorageError: if it has another search of that name.
    """
    content = database.search()
    if content is None:
        return False
    if str(content.get("id", "")) != experiment.identity():
        raise StorageError(
            f"{database.url}: its search {database.name} is not the one in {experiment.path}; "
            "start this one again with another --name, or remove `record` from its search.yaml"
        )
    return True


def missing_record_error(experiment: Experiment, database: Database) -> StorageError:
    """Return the error for a database that does not have the search of the folder."""
    return StorageError(
        f"{database.url}: has no search {database.name}; restore the database, or remove `record` "
        f"from {experiment.path / 'search.yaml'}"
    )


def restore(path: Path, url: str) -> str:
    """Restore an experiment's folder from the database; return a description of it.

    Raises:
        ConfigError: if the database has no search of that name.
        StorageError: for the reasons of `Database` and `update_file`, or if the folder cannot be
            written.
    """
    experiment = Experiment(path)
    with closing(Database(url, path.name)) as database:
        content = database.search()
        if content is None:
            others = ", ".join(database.list_searches())
            raise ConfigError(f"{url}: has no search {path.name}; searches: {others or 'none'}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            update_file(experiment.study_path, database)
            experiment.write_search({**content, "record": url})
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error}); name another root") from error
    return "\n".join(_describe_restored(experiment, url))


def _describe_restored(experiment: Experiment, url: str) -> Iterator[str]:
    trials = [trial for trial in experiment.trials() if trial.rows]
    epochs = sum(len(trial.rows) for trial in trials)
    made = f"{count_noun(len(trials), 'trial')} with {count_noun(epochs, 'epoch')}"
    yield f"{experiment.path}: restored {made} from {url}"
    if not experiment.storage_settings().storage and not any(experiment.checkpoints.glob("*")):
        yield "its checkpoints are lost: the best models of ended trials cannot be exported,"
        yield "and unfinished trials start again"


def update_file(path: Path, database: Database) -> None:
    """Update study.db from the database; they differ if a driver was killed between two writes.

    Raises:
        StorageError: if the database lacks something that study.db has, for instance because an
            old backup was restored; nothing is changed then. Or if study.db cannot be written.
    """
    rows = database.rows()
    old = read_file(path) if path.exists() else None
    if old is None:
        _replace_file(path, rows)
        return
    _check_not_older(rows, old, path, database)
    if attributes(old) == attributes(rows):
        return
    backup = _replace_file(path, rows)
    nothing_lost = epoch_rows(old).items() <= epoch_rows(rows).items() and ended_trials(
        old
    ) <= ended_trials(rows)
    if backup is not None and nothing_lost:
        for file in _sqlite_files(backup):
            file.unlink(missing_ok=True)


def _check_not_older(rows: Rows, old: Rows, path: Path, database: Database) -> None:
    """Raise a `StorageError` if the database is older than study.db, which is written after it."""
    what = ""
    if ahead := epoch_rows(old).keys() - epoch_rows(rows).keys():
        number, epoch = min(ahead)
        what = f"trial {number}'s {epoch}"
    if lacking := trial_numbers(old) - trial_numbers(rows):
        what = f"trial {min(lacking)}"
    if what:
        raise StorageError(
            f"{database.url}: older than {path}, which has {what}; restore its newest backup, or "
            f"move {path} away to continue without what only that file has"
        )


def write_from_database(path: Path, database: Database) -> Path | None:
    """Replace study.db by a copy of the database; return where the old one was moved to.

    Raises:
        StorageError: if the database cannot be read, or study.db cannot be written.
    """
    return _replace_file(path, database.rows())


def _replace_file(path: Path, rows: Rows) -> Path | None:
    """Replace study.db by a new file; open connections keep reading the old one."""
    partial = partial_path(path)
    try:
        for file in _sqlite_files(partial):  # in a container a killed process had the same PID
            file.unlink(missing_ok=True)
        write_file(partial, rows)
        backup = set_aside(path)
        partial.rename(path)
        fsync_folder(path.parent)
    except _WRITE_ERRORS as error:
        raise StorageError(
            f"{path}: cannot be written ({' '.join(str(error).split())}); check the disk and its "
            "permissions"
        ) from error
    return backup


def set_aside(path: Path) -> Path | None:
    """Rename a record together with SQLite's files, so that none of them is replayed."""
    number = 1
    while any(path.parent.glob(f"{path.name}.damaged-{number}*")):
        number += 1
    backup = path.with_name(f"{path.name}.damaged-{number}")
    for file, aside in zip(_sqlite_files(path), _sqlite_files(backup), strict=True):
        if file.exists():
            file.rename(aside)
    return backup if backup.exists() else None


def _sqlite_files(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in ("", *_SQLITE_SUFFIXES)]
