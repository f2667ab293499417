"""The database that has the record beside the experiment's folder: PostgreSQL, or another.

It is the truth, and study.db a copy of it. While a search runs, one connection does all the
writing, and in PostgreSQL that connection holds a lock: whoever writes holds it, and it is free as
soon as a driver or its machine is gone.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import URL, Pool, make_url, text
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.tuning.record.optuna_tables import Rows, read_rows
from tune_encoder.tuning.record.postgresql import InUse, is_postgresql, locking_pool, with_driver
from tune_encoder.tuning.record.stored_study import StoredStudy, make_study

RETRY_FOR_S = 15.0  # for a database that is started again
_RETRY_S = 0.5
_NAME_PREFIX = "tune-encoder/"  # of our studies' names: others may have theirs in the same database
_SEARCH_ATTRIBUTE = (
    "search"  # attribute with search.yaml's content; written last, it makes a study whole
)
_OWNER_ATTRIBUTE = (
    "owner"  # attribute with what tells the driver that opened it last from all others
)
_SELECT_NAMES = text(
    "SELECT study_name FROM studies WHERE study_name LIKE :ours ORDER BY study_name"
)
_DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
_EXAMPLE = "write it as postgresql://USER@HOST/DATABASE"


class Database:
    """The study of one search in a database, for as long as this process may write to it."""

    def __init__(self, url: str, name: str) -> None:
        """Connect, make Optuna's tables if there are none, and keep other drivers away.

        Args:
            url: As SQLAlchemy writes it, without a password.
            name: Of the search.

        Raises:
            ConfigError: if it is no such address, or its driver is not installed.
            StorageError: if it does not answer, or another process writes to this search.
        """
        self.url, self.name = url, name
        self._study_name = f"{_NAME_PREFIX}{name}"
        self._owner, self._connection_was_lost = secrets.token_hex(16), False
        self._write_error = ""
        with self._storage_errors(
            "cannot be opened", "check the address, PGPASSWORD and ~/.pgpass"
        ):
            self._storage = _connect(url, name)
            self._study = self._find()

    def _find(self) -> StoredStudy | None:
        try:
            self._check_schema_version()
            found = self._study_name in self._names()
            return StoredStudy(self._storage, self._study_name) if found else None
        except (*_DATABASE_ERRORS, StorageError):
            self.close()
            raise

    @property
    def study(self) -> StoredStudy:
        """The study, which has begun."""
        assert self._study is not None
        return self._study

    def search(self) -> dict[str, Any] | None:
        """Read the content of search.yaml; None if the search is not there, or not whole."""
        if self._study is None:
            return None
        with self._storage_errors("cannot be read", "make it answer"):
            content: dict[str, Any] | None
            content = self._storage.get_study_user_attrs(self._study.id).get(_SEARCH_ATTRIBUTE)
        return content

    def rows(self) -> Rows:
        """Read all that is there of the study."""
        with self._storage_errors("cannot be read", "make it answer"):
            return read_rows(self.study.engine, self.study.id)

    def claim(self) -> None:
        """Let drivers that had the study before write no more, also those that lost touch."""
        with self._storage_errors("cannot be written", "see that its user may"):
            self._storage.set_study_user_attr(self.study.id, _OWNER_ATTRIBUTE, self._owner)

    def list_searches(self) -> list[str]:
        """Name every search that is there."""
        return [name.removeprefix(_NAME_PREFIX) for name in self._names()]

    def create_study(
        self,
        direction: StudyDirection,
        known: Iterable[FrozenTrial],
        first: Iterable[dict[str, Any]],
        search: dict[str, Any],
    ) -> None:
        """Make the study, instead of one that was left half made; see `make_study`.

        Args:
            direction: As there.
            known: As there.
            first: As there.
            search: The content of search.yaml.
        """
        with self._storage_errors("cannot be written", "see that its user may"):
            if self._study is not None:
                self._storage.delete_study(self._study.id)
            make_study(self._storage, self._study_name, direction, known, first)
            self._study = StoredStudy(self._storage, self._study_name)
        self.claim()
        self.save_search(search)

    def save_search(self, search: dict[str, Any]) -> None:
        """Write the content of search.yaml."""
        self.write(
            lambda study: self._storage.set_study_user_attr(study.id, _SEARCH_ATTRIBUTE, search)
        )

    def write(self, change: Callable[[StoredStudy], None]) -> None:
        """Make a change, which may be made twice, waiting a while for a database that is gone.

        Raises:
            StorageError: if it stays away, or another driver has written meanwhile; every later
                change is then refused at once, so that none is written without those before it.
        """
        if self._write_error:
            raise StorageError(self._write_error)
        try:
            self._write(change, time.monotonic() + RETRY_FOR_S)
        except StorageError as error:
            self._write_error = str(error)
            raise

    def _write(self, change: Callable[[StoredStudy], None], deadline: float) -> None:
        while True:
            try:
                self._check_owner()
                return change(self.study)
            except UpdateFinishedTrialError as error:
                raise self._other_owner_error() from error
            except (*_DATABASE_ERRORS, InUse) as error:
                self._connection_was_lost = True
                if time.monotonic() > deadline:
                    gone = f"{self.url}: gone ({_reason(error)}); all is saved, start it"
                    raise StorageError(gone) from error
                time.sleep(_RETRY_S)

    def _check_owner(self) -> None:
        """Refuse to go on if another driver had the lock while the connection was lost."""
        if not self._connection_was_lost:
            return
        try:
            owner = self._storage.get_study_user_attrs(self.study.id).get(_OWNER_ATTRIBUTE)
        except KeyError as error:
            raise self._other_owner_error() from error
        if owner != self._owner:
            raise self._other_owner_error()
        self._connection_was_lost = False

    def _other_owner_error(self) -> StorageError:
        return StorageError(
            f"{self.url}: another program has gone on with {self.name}; wait until it ends"
        )

    def close(self) -> None:
        """Let others write."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _names(self) -> list[str]:
        with self._storage.engine.connect() as connection:
            return list(connection.execute(_SELECT_NAMES, {"ours": f"{_NAME_PREFIX}%"}).scalars())

    def _check_schema_version(self) -> None:
        found, ours = self._storage.get_current_version(), self._storage.get_head_version()
        if found != ours:
            raise StorageError(
                f"{self.url}: its tables are of Optuna's version {found}, not {ours}; run `optuna "
                f"storage upgrade --storage {self.url}`, or update Optuna"
            )

    @contextmanager
    def _storage_errors(self, what: str, todo: str) -> Iterator[None]:
        try:
            yield
        except _DATABASE_ERRORS as error:
            raise StorageError(f"{self.url}: {what} ({_reason(error)}); {todo}") from error


def check_record_free(url: str, name: str) -> None:
    """Raise a `ConfigError` if the database has a search of that name, or cannot have one."""
    with closing(Database(url, name)) as database:
        if database.search() is not None:
            raise ConfigError(
                f"{url}: has a search {name} already; continue it with `tune-encoder resume "
                f"{name} --record {url}` or choose another --name"
            )


def _connect(url: str, name: str) -> RDBStorage:
    parsed = _parse_url(url)
    pool: Pool | None = None
    try:
        pool = locking_pool(parsed, url, name) if is_postgresql(parsed) else None
        return _with_tables(parsed.render_as_string(hide_password=False), pool)
    except ArgumentError as error:  # such as a kind of database that SQLAlchemy does not know
        raise ConfigError(f"record: {_reason(error)}; {_EXAMPLE}") from error
    except ImportError as error:
        needed = "'tune-encoder[postgresql]'" if is_postgresql(parsed) else "one"
        raise ConfigError(
            f"record: no driver of {parsed.get_backend_name()} is installed; pip install {needed}"
        ) from error
    except _DATABASE_ERRORS:
        if pool is not None:
            pool.dispose()
        raise


def _with_tables(address: str, pool: Pool | None) -> RDBStorage:
    """Make Optuna's tables, which several searches may be about to, and see them first."""
    options = {} if pool is None else {"pool": pool}
    for wait_s in (0.5, 1.0):
        try:
            return RDBStorage(address, options, skip_compatibility_check=True)
        except (IntegrityError, ProgrammingError):
            time.sleep(wait_s)
    return RDBStorage(address, options, skip_compatibility_check=True)


def _parse_url(url: str) -> URL:
    """Read an address; what cannot be read is not repeated, since it may hold a secret."""
    try:
        return with_driver(make_url(url))
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"record: not the address of a database; {_EXAMPLE}") from error


def _reason(error: BaseException) -> str:
    """The first line of what the database said."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
