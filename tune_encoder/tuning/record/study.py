"""The study of a search: in memory for the sampler, and stored in databases.

For one proposal Optuna reads and writes a database about fifty times. Here a trial is sampled in
memory and then written at once, which takes a fifth of the time and is atomic if the program is
killed.
"""

import copy
from collections.abc import Callable, Mapping

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from tune_encoder.config import SettingValue
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import SearchFile
from tune_encoder.tuning.record.database import Database
from tune_encoder.tuning.record.stored_study import StoredStudy

COPY_OF = "copy_of"  # attribute of a trial that is not trained: the one that has its config


class Study:
    """Proposes, scores and ends trials; each change is on disk before it takes effect."""

    def __init__(self, file: StoredStudy, database: Database | None = None) -> None:
        """Read the study.

        Args:
            file: The study in study.db.
            database: If given, each change is written to it first; study.db is then a copy.
        """
        self._file, self._database = file, database
        self._storage = InMemoryStorage()
        self._memory = optuna.create_study(storage=self._storage, directions=file.directions())
        self._study_id = self._storage.get_study_id_from_name(self._memory.study_name)
        for trial in file.trials():
            trial.user_attrs = _without_rows(trial.user_attrs)
            self._memory.add_trial(trial)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials, with their parameters; they must not be changed."""
        return self._memory.get_trials(deepcopy=False)

    def ask(self, sampler: BaseSampler) -> Trial:
        """Create the next trial, whose settings are to be sampled and then written."""
        self._memory.sampler = sampler
        return self._memory.ask()

    def write_trial(self, number: int) -> None:
        """Write a trial whose settings have been sampled."""
        trial = self._trial(number)
        if number in self._file:  # an enqueued config
            self._apply(lambda stored: stored.start_trial(trial))
        else:
            self._apply(lambda stored: stored.add_trial(_without_system_attrs(trial)))

    def enqueue(self, params: dict[str, SettingValue]) -> None:
        """Enqueue a config to be tried next; settings that it leaves out are sampled."""
        self._memory.enqueue_trial(params)
        trial = self._memory.get_trials(deepcopy=False)[-1]
        self._apply(lambda stored: stored.add_trial(trial))

    def queued(self) -> list[dict[str, SettingValue]]:
        """Return the configs that are enqueued; each may leave settings out."""
        waiting = self._memory.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return [trial.system_attrs.get("fixed_params", {}) for trial in waiting]

    def add_row(self, number: int, row: EpochRow, value: float) -> None:
        """Write an epoch of a trial, and its value of the searched metric."""
        self._apply(lambda stored: stored.add_row(number, row, value))
        self._storage.set_trial_intermediate_value(self._trial_id(number), row["epoch"], value)

    def set_attribute(self, number: int, name: str, value: object) -> None:
        """Set a user attribute of a trial."""
        self._apply(lambda stored: stored.set_attribute(number, name, value))
        self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def note(self, number: int, notes: Mapping[str, float]) -> None:
        """Set attributes of a trial by which Optuna knows something of it."""
        self._apply(lambda stored: stored.note(number, notes))
        for name, value in notes.items():
            self._storage.set_trial_system_attr(self._trial_id(number), name, value)

    def end(self, number: int, state: TrialState, values: list[float] | None) -> None:
        """End a trial; a pruned one has the value of its last epoch, unless there are two."""
        trial = self._trial(number)
        if state is TrialState.PRUNED and trial.intermediate_values and not self.has_two_metrics:
            values = [trial.intermediate_values[max(trial.intermediate_values)]]
        self._apply(lambda stored: stored.end(number, state, values))
        self._storage.set_trial_state_values(self._trial_id(number), state, values)

    @property
    def has_two_metrics(self) -> bool:
        """Whether its trials have two values."""
        return len(self._memory.directions) > 1

    def save_search(self, search: SearchFile) -> None:
        """Write the content of search.yaml to the database, to restore the folder from."""
        if self._database is not None:
            self._database.save_search(search)

    def _apply(self, change: Callable[[StoredStudy], None]) -> None:
        if self._database is not None:
            self._database.write(change)
        self._file.write(change)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))


def _without_system_attrs(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial without the notes of its sampler."""
    trial = copy.copy(trial)
    trial.system_attrs = {}
    return trial


def _without_rows(attributes: Mapping[str, object]) -> dict[str, object]:
    """Return the attributes without the many rows, of which a sampler only needs the values."""
    return {name: value for name, value in attributes.items() if not isinstance(value, dict)}
