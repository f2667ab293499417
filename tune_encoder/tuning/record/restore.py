"""What lies in an experiment's folder, made again from the database of its record."""

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

_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database
_WRITE_ERRORS = (OSError, sqlite3.Error, SQLAlchemyError, StorageInternalError)


@contextmanager
def open_database(experiment: Experiment) -> Iterator[Database | None]:
    """Connect to the database of a record, if it has one, and bring study.db up to it.

    Raises:
        ConfigError, StorageError: as `Database` and `update_file`, or if only study.db has the
            search, or the database has another one of that name.
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
        StorageError: if it has another one of that name.
    """
    content = database.search()
    if content is None:
        return False
    if str(content.get("id", "")) != experiment.identity():
        raise StorageError(
            f"{database.url}: has another search {database.name} than {experiment.path}; start "
            f"this one anew under another --name, or take `record` out of its search.yaml"
        )
    return True


def missing_record_error(experiment: Experiment, database: Database) -> StorageError:
    """Say that the database has not what the folder says it has."""
    return StorageError(
        f"{database.url}: has no search {database.name}; restore the database, or take `record` "
        f"out of {experiment.path / 'search.yaml'}"
    )


def restore(path: Path, url: str) -> str:
    """Make an experiment's folder again; returns what was found.

    Raises:
        ConfigError: if the database has no search of that name.
        StorageError: as `Database` and `update_file`, or if the folder cannot be written.
    """
    experiment = Experiment(path)
    with closing(Database(url, path.name)) as database:
        content = database.search()
        if content is None:
            others = ", ".join(database.list_searches())
            raise ConfigError(f"{url}: has no search {path.name}; there are {others or 'none'}")
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
    yield f"{experiment.path}: made again, {made}, from {url}"
    if not experiment.storage_settings().storage and not any(experiment.checkpoints.glob("*")):
        yield "its checkpoints are lost: what was best of trials that ended cannot be exported,"
        yield "and trials that had not ended begin anew"


def update_file(path: Path, database: Database) -> None:
    """Let study.db say what the database does: they differ where a driver was killed in between.

    Raises:
        StorageError: if the database lacks what study.db has, as after an old backup of it came
            back; nothing is then changed. Or if study.db cannot be written.
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
    """Refuse a database older than study.db, which is always written after it."""
    what = ""
    if ahead := epoch_rows(old).keys() - epoch_rows(rows).keys():
        number, epoch = min(ahead)
        what = f"trial {number}'s {epoch}"
    if lacking := trial_numbers(old) - trial_numbers(rows):
        what = f"trial {min(lacking)}"
    if what:
        raise StorageError(
            f"{database.url}: older than {path}, which has {what}; restore its newest backup, or "
            f"move {path} away to go on without what only that has"
        )


def write_from_database(path: Path, database: Database) -> Path | None:
    """Make study.db from the database; returns where the one is kept that was there.

    Raises:
        StorageError: if the database cannot be read or study.db not be written.
    """
    return _replace_file(path, database.rows())


def _replace_file(path: Path, rows: Rows) -> Path | None:
    """Replace a study.db by a new file: whoever reads the old one goes on reading that."""
    partial = partial_path(path)
    try:
        for file in _sqlite_files(partial):  # in a container a killed run had the same PID
            file.unlink(missing_ok=True)
        write_file(partial, rows)
        backup = set_aside(path)
        partial.rename(path)
        fsync_folder(path.parent)
    except _WRITE_ERRORS as error:
        raise StorageError(
            f"{path}: cannot be written ({' '.join(str(error).split())}); see that it can"
        ) from error
    return backup


def set_aside(path: Path) -> Path | None:
    """Rename a record and what SQLite keeps beside it, so that nothing of it is replayed."""
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
