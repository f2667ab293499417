"""The database that stores the record in addition to study.db: PostgreSQL or another one.

The database is authoritative, and study.db is a copy of it. While a search runs, one connection
does all the writing. In PostgreSQL this connection holds a lock, which only the writer has and
which is released as soon as the driver or its machine is gone.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import URL, Pool, make_url, text
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError

from tune_encoder.config import MetricSettings, SettingValue
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import SearchFile
from tune_encoder.tuning.record.optuna_tables import Rows, read_rows
from tune_encoder.tuning.record.postgresql import InUse, is_postgresql, locking_pool, with_driver
from tune_encoder.tuning.record.stored_study import (
    DATABASE_ERRORS,
    RETRY_FOR_S,
    StoredStudy,
    database_error,
    make_study,
)
from tune_encoder.tuning.record.write_order import WriteOrder

_RETRY_S = 0.5
_NAME_PREFIX = "tune-encoder/"  # of our studies; the database may contain others
_SEARCH_ATTRIBUTE = "search"  # content of search.yaml; written last, so with it a study is complete
_OWNER_ATTRIBUTE = "owner"  # random id of the driver that opened the study last
_SELECT_NAMES = text(
    "SELECT study_name FROM studies WHERE study_name LIKE :ours ORDER BY study_name"
)
_EXAMPLE = "write it as postgresql://USER@HOST/DATABASE"


class Database:
    """The study of one search in a database, to which only this process may write."""

    def __init__(self, url: str, name: str) -> None:
        """Connect, create Optuna's tables if there are none, and lock out other drivers.

        Args:
            url: A database URL of SQLAlchemy, without a password.
            name: Name of the search.

        Raises:
            ConfigError: if the URL is invalid, or its database driver is not installed.
            StorageError: if the database does not answer, or another process writes to this search.
        """
        self.url, self.name = url, name
        self._study_name = f"{_NAME_PREFIX}{name}"
        self._owner, self._connection_was_lost = secrets.token_hex(16), False
        self._order = WriteOrder()
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
        except (*DATABASE_ERRORS, StorageError):
            self.close()
            raise

    @property
    def study(self) -> StoredStudy:
        """The study, which must exist."""
        assert self._study is not None
        return self._study

    def search(self) -> SearchFile | None:
        """Read the content of search.yaml; None if the search does not exist or is incomplete."""
        if self._study is None:
            return None
        with self._storage_errors("cannot be read", "check that it is running"):
            content: SearchFile | None
            content = self._storage.get_study_user_attrs(self._study.id).get(_SEARCH_ATTRIBUTE)
        return content

    def rows(self) -> Rows:
        """Read all rows of the study."""
        with self._storage_errors("cannot be read", "check that it is running"):
            return read_rows(self.study.engine, self.study.id)

    def claim(self) -> None:
        """Take the study over: earlier drivers can no longer write, even if they reconnect."""
        with self._storage_errors("cannot be written", "check its user's permissions"):
            self._storage.set_study_user_attr(self.study.id, _OWNER_ATTRIBUTE, self._owner)

    def list_searches(self) -> list[str]:
        """Return the names of all searches in the database."""
        return [name.removeprefix(_NAME_PREFIX) for name in self._names()]

    def create_study(
        self,
        metric: MetricSettings,
        known: Iterable[FrozenTrial],
        first: Iterable[dict[str, SettingValue]],
        search: SearchFile,
    ) -> None:
        """Create the study, replacing an incomplete one; see `make_study`.

        Args:
            metric: As there.
            known: As there.
            first: As there.
            search: The content of search.yaml.
        """
        with self._storage_errors("cannot be written", "check its user's permissions"):
            if self._study is not None:
                self._storage.delete_study(self._study.id)
            make_study(self._storage, self._study_name, metric, known, first)
            self._study = StoredStudy(self._storage, self._study_name)
        self.claim()
        self.save_search(search)

    def save_search(self, search: SearchFile) -> None:
        """Write the content of search.yaml."""
        self.write(
            lambda study: self._storage.set_study_user_attr(study.id, _SEARCH_ATTRIBUTE, search)
        )

    def write(self, change: Callable[[StoredStudy], None]) -> None:
        """Apply a change, which must be idempotent, retrying while the database does not answer.

        Raises:
            StorageError: if it does not answer for long, or another driver has written meanwhile;
                all later changes then fail at once, so that none is written without earlier ones.
        """
        with self._order.next():
            self._write(change, time.monotonic() + RETRY_FOR_S)

    def _write(self, change: Callable[[StoredStudy], None], deadline: float) -> None:
        while True:
            try:
                self._check_owner()
                return change(self.study)
            except UpdateFinishedTrialError as error:
                raise self._other_owner_error() from error
            except (*DATABASE_ERRORS, InUse) as error:
                self._connection_was_lost = True
                if time.monotonic() > deadline:
                    gone = (
                        f"{self.url}: no longer answers ({database_error(error)}); everything is "
                        "saved, restart the database"
                    )
                    raise StorageError(gone) from error
                time.sleep(_RETRY_S)

    def _check_owner(self) -> None:
        """Raise a `StorageError` if another driver had the lock while the connection was lost."""
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
            f"{self.url}: another program has resumed {self.name}; wait until it ends"
        )

    def close(self) -> None:
        """Disconnect, which lets other drivers write."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _names(self) -> list[str]:
        with self._storage.engine.connect() as connection:
            return list(connection.execute(_SELECT_NAMES, {"ours": f"{_NAME_PREFIX}%"}).scalars())

    def _check_schema_version(self) -> None:
        found, ours = self._storage.get_current_version(), self._storage.get_head_version()
        if found != ours:
            raise StorageError(
                f"{self.url}: its tables are of version {found} of Optuna, not {ours}; run `optuna "
                f"storage upgrade --storage {self.url}`, or update Optuna"
            )

    @contextmanager
    def _storage_errors(self, what: str, todo: str) -> Iterator[None]:
        try:
            yield
        except DATABASE_ERRORS as error:
            raise StorageError(f"{self.url}: {what} ({database_error(error)}); {todo}") from error


def check_record_free(url: str, name: str) -> None:
    """Raise a `ConfigError` if the database has a search of that name, or cannot be used."""
    with closing(Database(url, name)) as database:
        if database.search() is not None:
            raise ConfigError(
                f"{url}: already has a search {name}; resume it with `tune-encoder resume "
                f"{name} --record {url}` or choose another --name"
            )


def _connect(url: str, name: str) -> RDBStorage:
    parsed = _parse_url(url)
    pool: Pool | None = None
    try:
        pool = locking_pool(parsed, url, name) if is_postgresql(parsed) else None
        return _with_tables(parsed.render_as_string(hide_password=False), pool)
    except ArgumentError as error:  # such as an unknown kind of database
        raise ConfigError(f"record: {database_error(error)}; {_EXAMPLE}") from error
    except ImportError as error:
        needed = "'tune-encoder[postgresql]'" if is_postgresql(parsed) else "one"
        raise ConfigError(
            f"record: no driver for {parsed.get_backend_name()} is installed; pip install {needed}"
        ) from error
    except DATABASE_ERRORS:
        if pool is not None:
            pool.dispose()
        raise


def _with_tables(address: str, pool: Pool | None) -> RDBStorage:
    """Create Optuna's tables, retrying if another search creates them at the same time."""
    options = {} if pool is None else {"pool": pool}
    for wait_s in (0.5, 1.0):
        try:
            return RDBStorage(address, options, skip_compatibility_check=True)
        except (IntegrityError, ProgrammingError):
            time.sleep(wait_s)
    return RDBStorage(address, options, skip_compatibility_check=True)


def _parse_url(url: str) -> URL:
    """Parse a database URL; an invalid one is not shown, since it may contain a secret."""
    try:
        return with_driver(make_url(url))
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"record: not the address of a database; {_EXAMPLE}") from error
