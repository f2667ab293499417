"""The study of a search in one database, in Optuna's tables."""

import json
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from tune_encoder.config import CLOSED_FORM_CONFIG, MetricSettings, SettingValue
from tune_encoder.errors import StorageError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import STUDY_NAME
from tune_encoder.experiment.importance import silence_optuna
from tune_encoder.experiment.trials import epoch_key
from tune_encoder.tuning.record.outcome import directions

IS_CLOSED_FORM = "closed_form"  # attribute of the trial of `SearchSpace.closed_form_settings`
RETRY_FOR_S = 15.0  # while a database is restarted, or its file is locked
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
_REOPEN_STATEMENTS = (
    text("DELETE FROM trial_values WHERE trial_id = :key"),
    text("UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = :key"),
)
_UPDATE_ATTRIBUTE = text(
    "UPDATE trial_user_attributes SET value_json = :value WHERE trial_id = :key AND key = :name"
)


class StoredStudy:
    """Writes changes to a study, whose trials are identified by their numbers."""

    def __init__(self, storage: BaseStorage, name: str) -> None:
        silence_optuna()
        self.storage = storage
        self.id = storage.get_study_id_from_name(name)
        self._trial_ids: dict[int, int] = {}

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine of the database."""
        assert isinstance(self.storage, RDBStorage)
        return self.storage.engine

    def write(self, change: Callable[["StoredStudy"], None]) -> None:
        """Apply a change, which must be idempotent."""
        change(self)

    def __contains__(self, number: int) -> bool:
        try:
            self._trial_id(number)
        except KeyError:
            return False
        return True

    def _trial_id(self, number: int) -> int:
        if number not in self._trial_ids:
            key = self.storage.get_trial_id_from_study_id_trial_number(self.id, number)
            self._trial_ids[number] = key
        return self._trial_ids[number]

    def trials(self) -> list[FrozenTrial]:
        """Read all trials."""
        return self.storage.get_all_trials(self.id)

    def directions(self) -> list[StudyDirection]:
        """Read the study's directions."""
        return self.storage.get_study_directions(self.id)

    def add_trial(self, trial: FrozenTrial) -> None:
        """Write a new trial atomically; if it has been written before, nothing changes.

        Raises:
            StorageError: if another driver has written a different trial with this number.
        """
        if trial.number in self:  # written, and only the answer lost
            same = self.storage.get_trial(self._trial_id(trial.number)).params == trial.params
        else:
            same = self.storage.create_new_trial(self.id, trial) == self._trial_id(trial.number)
        if not same:
            raise StorageError(
                f"trial {trial.number} has been written by another program; stop that program"
            )

    def start_trial(self, trial: FrozenTrial) -> None:
        """Start an enqueued trial; if killed before the last line, it is still enqueued."""
        key = self._trial_id(trial.number)
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            self.storage.set_trial_param(key, name, kind.to_internal_repr(value), kind)
        for name, value in trial.user_attrs.items():
            self.storage.set_trial_user_attr(key, name, value)
        self.storage.set_trial_state_values(key, TrialState.RUNNING)

    def add_row(self, number: int, row: EpochRow, value: float) -> None:
        """Write an epoch of a trial, and its value of the searched metric."""
        self.storage.set_trial_intermediate_value(self._trial_id(number), row["epoch"], value)
        self.set_attribute(number, epoch_key(row["epoch"]), row)

    def set_attribute(self, number: int, name: str, value: object) -> None:
        """Set a user attribute of a trial."""
        self.storage.set_trial_user_attr(self._trial_id(number), name, value)

    def note(self, number: int, notes: Mapping[str, float]) -> None:
        """Set system attributes of a trial."""
        for name, value in notes.items():
            self.storage.set_trial_system_attr(self._trial_id(number), name, value)

    def end(self, number: int, state: TrialState, values: list[float] | None) -> None:
        """End a trial; if it has already ended in the same way, nothing changes."""
        key = self._trial_id(number)
        try:
            self.storage.set_trial_state_values(key, state, values)
        except UpdateFinishedTrialError:  # written, and only the answer lost
            trial = self.storage.get_trial(key)
            if (trial.state, trial.values) != (state, values):
                raise

    def reopen(self, notes: Mapping[int, Mapping[str, object]]) -> None:
        """Set trials back to running, and replace these user attributes of each.

        Optuna does not allow changes to an ended trial, so this writes to its tables directly, in
        one transaction.
        """
        with self.engine.begin() as connection:
            for number, changes in notes.items():
                key = self._trial_id(number)
                for statement in _REOPEN_STATEMENTS:
                    connection.execute(statement, {"key": key})
                for name, value in changes.items():
                    note = {"key": key, "name": name, "value": json.dumps(value)}
                    connection.execute(_UPDATE_ATTRIBUTE, note)

    def close(self) -> None:
        """Close every connection to the database."""
        self.storage.remove_session()
        self.engine.dispose()


def make_study_file(
    path: Path,
    metric: MetricSettings,
    known: Iterable[FrozenTrial],
    first: Iterable[dict[str, SettingValue]],
) -> None:
    """Create an SQLite file with a study; see `make_study`."""
    storage = RDBStorage(study_url(path))
    make_study(storage, STUDY_NAME, metric, known, first)
    storage.engine.dispose()
    enable_wal(path)


def make_study(
    storage: RDBStorage,
    name: str,
    metric: MetricSettings,
    known: Iterable[FrozenTrial],
    first: Iterable[dict[str, SettingValue]],
) -> None:
    """Create a study.

    Args:
        storage: The database.
        name: Name of the study.
        metric: What is minimized or maximized.
        known: Trials to add, of earlier searches.
        first: Configs to try first.
    """
    silence_optuna()
    study = optuna.create_study(study_name=name, storage=storage, directions=directions(metric))
    if metric.second:
        _name_metrics(study, metric)
    study.add_trials(known)
    for config in first:
        notes = {IS_CLOSED_FORM: True} if config == CLOSED_FORM_CONFIG else None
        study.enqueue_trial(config, user_attrs=notes)


def _name_metrics(study: optuna.Study, metric: MetricSettings) -> None:
    """Let the dashboard call the two values what they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([*metric.names])


def enable_wal(path: Path) -> None:
    """Enable the write-ahead log, with which readers and the writer never wait for each other."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def study_url(path: Path) -> str:
    """Return the database URL of an SQLite file for Optuna."""
    return f"sqlite:///{path.absolute()}"


def database_error(error: BaseException) -> str:
    """Return the first line of what a database says of an error."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
