"""What lies in an experiment's folder, made again from the database of its record."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel, StudyModel, TrialModel
from sqlalchemy import Connection, Select, Table, select, update
from sqlalchemy.exc import DatabaseError

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment import STUDY_NAME, Experiment
from tune_encoder.files import partial_path, sync_folder
from tune_encoder.search.database import Database
from tune_encoder.search.stored import StoredStudy, study_url, write_ahead

_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database
_OTHERS = ("version_info", "trial_heartbeats")  # tables without anything of a study


@contextmanager
def open_database(experiment: Experiment) -> Iterator[Database | None]:
    """Connect to the database of a record, if it has one, and bring study.db up to it.

    Raises:
        ConfigError, StorageError: as `Database`, or if only study.db has the search.
    """
    url = experiment.keeping().record
    if not url:
        yield None
        return
    with closing(Database(url, experiment.record_name())) as database:
        if database.search() is None and experiment.study_path.exists():
            raise not_there(experiment, database)
        if database.search() is not None:
            bring_up(experiment.study_path, database.study)
        yield database


def not_there(experiment: Experiment, database: Database) -> StorageError:
    """Say that the database has not what the folder says it has."""
    return StorageError(
        f"{database.url}: has no search {database.name}; restore the database, or take `record` "
        f"out of {experiment.path / 'search.yaml'}"
    )


def restore(path: Path, url: str) -> str:
    """Make an experiment's folder again; returns what was found.

    Raises:
        ConfigError: if the database has no search of that name.
        StorageError: as `Database`, or if the folder cannot be written.
    """
    experiment = Experiment(path)
    with closing(Database(url, path.name)) as database:
        content = database.search()
        if content is None:
            others = ", ".join(database.others())
            raise ConfigError(f"{url}: has no search {path.name}; there are {others or 'none'}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            experiment.write_search({**content, "record": url})
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error}); name another root") from error
        bring_up(experiment.study_path, database.study)
    return "\n".join(_found(experiment, url))


def _found(experiment: Experiment, url: str) -> Iterator[str]:
    trials = [trial for trial in experiment.trials() if trial.rows]
    epochs = sum(len(trial.rows) for trial in trials)
    yield f"{experiment.path}: made again, {len(trials)} trials with {epochs} epochs, from {url}"
    if not experiment.keeping().storage and not any(experiment.checkpoints.glob("*")):
        yield "its checkpoints are lost: what was best of trials that ended cannot be exported,"
        yield "and trials that had not ended begin anew"


def bring_up(path: Path, study: StoredStudy) -> None:
    """Let study.db say what the database does: they differ where a driver was killed in between."""
    if path.exists():
        try:
            _copy(study, path)
        except DatabaseError:  # damaged: SQLite cannot write it either
            put_aside(path)
    if not path.exists():
        make_anew(path, study)


def make_anew(path: Path, study: StoredStudy) -> None:
    """Make a study.db, where none is."""
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    _copy(study, partial)
    write_ahead(partial)
    partial.rename(path)
    sync_folder(path.parent)


def _copy(study: StoredStudy, path: Path) -> None:
    """Replace all that an SQLite file has in one transaction, so that nobody reads a half."""
    target = RDBStorage(study_url(path)).engine
    tables = [t for t in BaseModel.metadata.sorted_tables if t.name not in _OTHERS]
    with study.engine.connect() as source, target.begin() as file:
        for table in reversed(tables):
            file.execute(table.delete())
        for table in tables:
            _copy_table(table, study.id, source, file)
        file.execute(update(StudyModel).values(study_name=STUDY_NAME))
    target.dispose()


def _copy_table(table: Table, study: int, source: Connection, target: Connection) -> None:
    rows = source.execute(_of(study, table)).mappings().all()
    if rows:
        target.execute(table.insert(), [dict(row) for row in rows])


def _of(study: int, table: Table) -> Select[tuple[object, ...]]:
    """What a table has of a study, in the order in which it was written."""
    if "study_id" in table.c:
        belongs = table.c.study_id == study
    else:
        ours = select(TrialModel.trial_id).where(TrialModel.study_id == study)
        belongs = table.c.trial_id.in_(ours)
    return select(table).where(belongs).order_by(*table.primary_key)


def put_aside(path: Path) -> Path | None:
    """Rename a record and what SQLite keeps beside it, so that nothing of it is replayed."""
    number = 1
    while any(path.parent.glob(f"{path.name}.damaged-{number}*")):
        number += 1
    kept = path.with_name(f"{path.name}.damaged-{number}")
    for suffix in ("", *_BESIDE):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(kept.with_name(kept.name + suffix))
    return kept if kept.exists() else None
