"""The record of an experiment: an Optuna study in SQLite, written as things happen.

The study is the truth and Ray Tune only the engine: a search that was killed goes on from what
stands here.
"""

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from tune_encoder.config import SearcherSettings
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment import Experiment, Row, TrialRecord, best_trial, epoch_key
from tune_encoder.files import partial_path
from tune_encoder.space import SearchSpace

STUDY_NAME = "search"
METRIC = "objective"  # what the scheduler compares, in a row
_DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
REPORTED = "val_loss"  # what Tune is told; it decides nothing by it

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Record:
    """Every trial, its settings, every epoch's metrics, its state and why it ended."""

    def __init__(self, experiment: Experiment, space: SearchSpace) -> None:
        self.experiment = experiment
        self.space = space
        self.trials = {trial.number: trial for trial in experiment.trials()}
        self._n_rows = sum(len(trial.rows) for trial in self.trials.values())
        self._storage = optuna.storages.RDBStorage(_url(experiment.study_path))
        self._study = optuna.load_study(study_name=STUDY_NAME, storage=self._storage)
        self._study_id = self._storage.get_study_id_from_name(STUDY_NAME)

    @classmethod
    def open(cls, experiment: Experiment, space: SearchSpace) -> "Record":
        """Return the experiment's record, made now if the first launch did not come so far."""
        if not experiment.study_path.exists():
            if any(experiment.checkpoints.glob("*")):
                raise StorageError(f"{experiment.study_path}: missing; restore it to go on")
            partial = partial_path(experiment.study_path)
            partial.unlink(missing_ok=True)
            _make_study(partial, space)
            partial.rename(experiment.study_path)
        return cls(experiment, space)

    def __reduce__(self) -> Any:
        """Pickle as a path: Tune pickles whatever it is handed, and a record is its file."""
        return Record, (self.experiment, self.space)

    def unfinished(self) -> list[TrialRecord]:
        """Trials that were under way when the last launch ended, oldest first.

        One that was killed before all its settings were drawn gets the missing ones now.
        """
        running = [trial for trial in self.trials.values() if trial.state == "RUNNING"]
        for trial in running:
            if not trial.settings:
                self._study.sampler = make_sampler(self.space.searcher, self.n_started() - 1)
                self._configure(Trial(self._study, self._id(trial.number)))
        numbers = (trial.number for trial in running)
        return [self.trials[n] for n in numbers if self.trials[n].state == "RUNNING"]

    def n_started(self) -> int:
        """Trials that count against the budget."""
        return sum(trial.state != "WAITING" for trial in self.trials.values())

    def rows_in_order(self) -> list[tuple[int, Row]]:
        """All rows with their trial's number, in the order in which they were recorded."""
        rows = [(trial.number, row) for trial in self.trials.values() for row in trial.rows]
        return sorted(rows, key=lambda pair: int(pair[1]["order"]))

    def best(self) -> TrialRecord | None:
        """The trial of the lowest validation loss so far."""
        return best_trial(list(self.trials.values()))

    def ask(self) -> TrialRecord | None:
        """Start the next trial, or record why its config cannot be used and return None."""
        self._study.sampler = make_sampler(self.space.searcher, self.n_started())
        return self._configure(self._study.ask())

    def _configure(self, trial: Trial) -> TrialRecord | None:
        settings = self.space.sample(trial)
        trial.set_user_attr("settings", settings)
        record = TrialRecord(trial.number, "RUNNING", settings)
        self.trials[trial.number] = record
        try:
            self.space.config(settings)
        except ConfigError as error:
            self.fail(trial.number, str(error))
            return None
        return record

    def add_row(self, number: int, row: Row) -> Row | None:
        """Record one epoch.

        Returns:
            The row as it stands in the record, or None if the epoch stood already, as after a
            repeated one; it is then replaced, since its checkpoint is known to be good.
        """
        rows = self.trials[number].rows
        old = next((each for each in rows if each["epoch"] == row["epoch"]), None)
        # What only the first report knew, such as where the checkpoint lies, is kept.
        row = {**(old or {"order": self._n_rows}), **row}
        row["objective"] = self.space.metric.sign * row[self.space.metric.name]
        key = self._id(number)
        self._storage.set_trial_intermediate_value(key, row["epoch"], row[self.space.metric.name])
        self._storage.set_trial_user_attr(key, epoch_key(row["epoch"]), row)
        if old is not None:
            rows[rows.index(old)] = row
            return None
        rows.append(row)
        self._n_rows += 1
        return row

    def complete(self, number: int) -> None:
        """End a trial that used its epochs or its patience; its value is its best epoch's."""
        best = self.trials[number].best
        assert best is not None
        self._end(number, TrialState.COMPLETE, best[self.space.metric.name])

    def prune(self, number: int) -> None:
        """End a trial that the scheduler stopped."""
        self._end(number, TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that diverged, crashed or could not start."""
        self._storage.set_trial_user_attr(self._id(number), "reason", reason)
        self._end(number, TrialState.FAIL, reason=reason)

    def _end(
        self, number: int, state: TrialState, value: float | None = None, reason: str = ""
    ) -> None:
        self._study.tell(number, value, state=state)
        trial = self.trials[number]
        self.trials[number] = TrialRecord(number, state.name, trial.settings, trial.rows, reason)

    def _id(self, number: int) -> int:
        """Return the storage's key of a trial."""
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def _make_study(path: Path, space: SearchSpace) -> None:
    """Make an empty study whose first trials are the space's first configs."""
    storage = optuna.storages.RDBStorage(_url(path))
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=storage, direction=_DIRECTIONS[space.metric.better]
    )
    for config in space.first_configs():
        study.enqueue_trial(config)
    storage.engine.dispose()
    # With a write-ahead log readers never wait for the writer, nor it for them.
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def _url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"


def make_sampler(settings: SearcherSettings, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler that proposes trial `number`.

    It is seeded by (seed, number) and made anew each time, so a proposal depends on the study
    alone and a resumed search proposes what an uninterrupted one would have.
    """
    seed = settings.seed * 1_000_003 + number
    if settings.name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            multivariate=True,
            group=True,  # conditional settings are modelled in groups that occur together
            constant_liar=True,  # trials still running are not proposed again
            n_startup_trials=settings.startup_trials,
            seed=seed,
        )
