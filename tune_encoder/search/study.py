"""The study of a search: in memory for the sampler, and in SQLite for everybody else.

Optuna reads and writes a database some fifty times for one proposal. Here a proposal is drawn in
memory and then written at once, which takes a fifth of the time, and a program that is killed
leaves a trial whole or not at all.
"""

import copy
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from tune_encoder.experiment import STUDY_NAME, epoch_key

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Study:
    """Trials that are proposed, scored and ended; each change is on disk before it counts."""

    def __init__(self, storage: BaseStorage) -> None:
        self._file = storage
        self._id = storage.get_study_id_from_name(STUDY_NAME)
        directions = storage.get_study_directions(self._id)
        self._memory = optuna.create_study(directions=directions)
        self._keys: dict[int, int] = {}
        for trial in storage.get_all_trials(self._id):
            self._keys[trial.number] = trial._trial_id
            trial.user_attrs = _without_rows(trial.user_attrs)
            self._memory.add_trial(trial)

    def ask(self, sampler: BaseSampler) -> Trial:
        """Begin the next trial, whose settings are now to be drawn and then written."""
        self._memory.sampler = sampler
        return self._memory.ask()

    def write(self, number: int) -> None:
        """Write a trial whose settings are drawn."""
        trial = self._trial(number)
        if number in self._keys:  # a config that waited to be tried
            self._fill(self._keys[number], trial)
        else:
            self._keys[number] = self._file.create_new_trial(self._id, _without_notes(trial))

    def _fill(self, key: int, trial: FrozenTrial) -> None:
        """Let a trial that waited run; killed before the last line, it waits as it did."""
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            self._file.set_trial_param(key, name, kind.to_internal_repr(value), kind)
        for name, value in trial.user_attrs.items():
            self._file.set_trial_user_attr(key, name, value)
        self._file.set_trial_state_values(key, TrialState.RUNNING)

    def enqueue(self, params: dict[str, Any]) -> None:
        """Let a config be tried next; what it leaves open is drawn."""
        self._memory.enqueue_trial(params)
        number = len(self._memory.get_trials(deepcopy=False)) - 1
        self._keys[number] = self._file.create_new_trial(self._id, self._trial(number))

    def add_row(self, number: int, row: Mapping[str, Any], value: float) -> None:
        """Write an epoch of a trial and what the search compares of it."""
        self._file.set_trial_intermediate_value(self._keys[number], row["epoch"], value)
        self._file.set_trial_user_attr(self._keys[number], epoch_key(row["epoch"]), row)
        self._memory._storage.set_trial_intermediate_value(
            self._trial(number)._trial_id, row["epoch"], value
        )

    def note(self, number: int, name: str, value: Any) -> None:
        """Write something about a trial."""
        self._file.set_trial_user_attr(self._keys[number], name, value)
        self._memory._storage.set_trial_user_attr(self._trial(number)._trial_id, name, value)

    def end(self, number: int, state: TrialState, value: float | None) -> None:
        """End a trial; one that was stopped has the value of its last epoch."""
        trial = self._trial(number)
        if state is TrialState.PRUNED and trial.intermediate_values:
            value = trial.intermediate_values[max(trial.intermediate_values)]
        values = None if value is None else [value]
        self._file.set_trial_state_values(self._keys[number], state, values)
        self._memory._storage.set_trial_state_values(trial._trial_id, state, values)

    def _trial(self, number: int) -> FrozenTrial:
        return self._memory.get_trials(deepcopy=False)[number]


def open_study(path: Path) -> Study:
    """Read the study of an SQLite file."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False)
        # No commit waits for the disk: only a power cut can undo the last ones, each whole.
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    return Study(RDBStorage(study_url(path), engine_kwargs={"creator": connect}))


def make_study(
    path: Path,
    direction: StudyDirection,
    known: Iterable[FrozenTrial],
    first: Iterable[dict[str, Any]],
) -> None:
    """Make a study.

    Args:
        path: The SQLite file.
        direction: What is better.
        known: Trials that it has from the beginning.
        first: Configs to try first.
    """
    storage = RDBStorage(study_url(path))
    study = optuna.create_study(study_name=STUDY_NAME, storage=storage, direction=direction)
    study.add_trials(known)
    for config in first:
        study.enqueue_trial(config)
    storage.engine.dispose()
    write_ahead(path)


def write_ahead(path: Path) -> None:
    """Give a study a write-ahead log: readers then never wait for the writer, nor it for them."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def study_url(path: Path) -> str:
    """The address of an SQLite file, as Optuna takes it."""
    return f"sqlite:///{path.absolute()}"


def _without_notes(trial: FrozenTrial) -> FrozenTrial:
    """A trial without what its sampler noted down while it drew."""
    trial = copy.copy(trial)
    trial.system_attrs = {}
    return trial


def _without_rows(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a sampler may look at: rows are many, and it needs but their values."""
    return {name: value for name, value in attributes.items() if not isinstance(value, dict)}
