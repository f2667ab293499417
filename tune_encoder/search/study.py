"""The record of an experiment: an Optuna study in SQLite, written as things happen.

The study is the truth and Ray Tune only the engine: a search that was killed goes on from what
stands here.
"""

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment import (
    STUDY_NAME,
    Experiment,
    Row,
    TrialRecord,
    best_trial,
    epoch_key,
)
from tune_encoder.files import partial_path
from tune_encoder.search.heritage import best_configs, known_trials
from tune_encoder.search.samplers import make_sampler
from tune_encoder.space import SearchSpace, to_content

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
        self.checkpoint_bytes = 0
        """Size of the newest checkpoint."""
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
            _make_study(partial, space, _relatives(experiment))
            partial.rename(experiment.study_path)
        return cls(experiment, space)

    def __reduce__(self) -> Any:
        """Pickle as a path: Tune pickles whatever it is handed, and a record is its file."""
        return Record, (self.experiment, self.space)

    def unfinished(self) -> list[TrialRecord]:
        """Trials that were under way when the last launch ended, oldest first.

        One that was killed before all its settings were drawn gets the missing ones now. Those
        that wait at a rung are not among them.
        """
        for number in self.running():
            if not self.trials[number].settings:
                self._study.sampler = make_sampler(self.space.searcher, self.n_started() - 1)
                self._configure(Trial(self._study, self._id(number)))
        return [self.trials[number] for number in self.running()]

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

    def ask(self) -> TrialRecord:
        """Start the next trial; it has failed already if its config cannot be used."""
        self._study.sampler = make_sampler(self.space.searcher, self.n_started())
        return self._configure(self._study.ask())

    def _configure(self, trial: Trial) -> TrialRecord:
        settings = self.space.sample(trial)
        trial.set_user_attr("settings", settings)
        self.trials[trial.number] = TrialRecord(trial.number, "RUNNING", settings)
        try:
            self.space.config(settings)
        except ConfigError as error:
            self.fail(trial.number, str(error))
        return self.trials[trial.number]

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
        if (file := self.experiment.checkpoint_file(row)) is not None and file.exists():
            self.checkpoint_bytes = file.stat().st_size
        return row

    def complete(self, number: int) -> None:
        """End a trial that used its epochs or its patience; its value is its best epoch's."""
        best = self.trials[number].best
        assert best is not None
        self._end(number, TrialState.COMPLETE, best[self.space.metric.name])

    def prune(self, number: int, reason: str = "") -> None:
        """End a trial that the scheduler or a person stopped."""
        self._end(number, TrialState.PRUNED, reason=reason)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that diverged, crashed or could not start."""
        self._end(number, TrialState.FAIL, reason=reason)

    def _end(
        self, number: int, state: TrialState, value: float | None = None, reason: str = ""
    ) -> None:
        if reason:
            self._note(number, "reason", reason)
        self._study.tell(number, value, state=state)
        self._change(number, state=state.name, reason=reason, paused=False)

    def hold(self, number: int) -> None:
        """Let a trial wait at a rung, without a worker."""
        self._note(number, "paused", True)
        self._change(number, paused=True)

    def promote(self, number: int) -> TrialRecord:
        """Let a trial that waits go on."""
        epoch = self.trials[number].rows[-1]["epoch"]
        self._note(number, "promoted", epoch)
        self._note(number, "paused", False)
        self._change(number, paused=False, promoted=epoch)
        return self.trials[number]

    def running(self) -> list[int]:
        """The trials under way."""
        return [n for n, t in self.trials.items() if t.state == "RUNNING" and not t.paused]

    def held(self) -> list[int]:
        """The trials that wait at a rung."""
        return [n for n, t in self.trials.items() if t.state == "RUNNING" and t.paused]

    def may_start(self) -> bool:
        """Whether the budget has room for a new trial."""
        return self.n_started() < self.space.budget.trials

    def add(self, params: dict[str, Any]) -> None:
        """Let a config be tried next, beyond the budget; what it leaves open is drawn."""
        self._study.enqueue_trial(params)
        budget = dataclasses.replace(self.space.budget, trials=self.space.budget.trials + 1)
        self.space = dataclasses.replace(self.space, budget=budget)
        self.experiment.write_search({**self.experiment.search(), "space": to_content(self.space)})

    def drop_old_checkpoints(self, number: int) -> None:
        """Keep as many checkpoints of a trial as the space says."""
        keep = self.space.resources.keep
        self.experiment.drop_old_checkpoints(self.trials[number], keep)

    def _note(self, number: int, name: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._id(number), name, value)

    def _change(self, number: int, **changes: Any) -> None:
        self.trials[number] = dataclasses.replace(self.trials[number], **changes)

    def _id(self, number: int) -> int:
        """Return the storage's key of a trial."""
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


class Relatives(NamedTuple):
    """Experiments that a search takes something over from."""

    forked: Experiment | None
    """All its trials are known."""
    warm: list[Experiment]
    """Their best configs are tried first."""


def _relatives(experiment: Experiment) -> Relatives:
    content = experiment.search()
    forked = content.get("forked_from")
    warm = [Experiment(experiment.path.parent / name) for name in content.get("warm_start", [])]
    return Relatives(Experiment(experiment.path.parent / forked) if forked else None, warm)


def _make_study(path: Path, space: SearchSpace, relatives: Relatives) -> None:
    """Make a study of what is known already, whose first trials are the space's first configs."""
    storage = optuna.storages.RDBStorage(_url(path))
    study = optuna.create_study(
        study_name=STUDY_NAME, storage=storage, direction=_DIRECTIONS[space.metric.better]
    )
    if relatives.forked is not None:
        study.add_trials(known_trials(relatives.forked, space))
    for old in relatives.warm:
        for config in best_configs(old, space):
            study.enqueue_trial(config, skip_if_exists=True)
    for config in space.grid() if space.searcher.name == "grid" else space.first_configs():
        study.enqueue_trial(config)
    storage.engine.dispose()
    # With a write-ahead log readers never wait for the writer, nor it for them.
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def _url(path: Path) -> str:
    return f"sqlite:///{path.absolute()}"
