"""The record of an experiment: an Optuna study that is written to disk at every change.

The study is authoritative, and Ray Tune only runs the trials: a search that was killed is resumed
from the record.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from optuna.trial import FrozenTrial, Trial, TrialState

from tune_encoder.config import CLOSED_FORM_CONFIG, SettingValue, write_yaml
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.checkpoint_storage import checkpoints_of_trial
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import Experiment, SearchFile
from tune_encoder.experiment.portfolio import choose_portfolio
from tune_encoder.experiment.trials import (
    REFUSED,
    TrialRecord,
    best_trial,
    counts_as_trial,
    has_refused_all,
    needed_checkpoints,
)
from tune_encoder.space import ConfigKey, SearchSpace, broken_constraints, space_to_content
from tune_encoder.system.damage import refuse_damage
from tune_encoder.system.files import atomic_write, partial_path
from tune_encoder.tuning.record.database import Database
from tune_encoder.tuning.record.distinct import DistinctSampler
from tune_encoder.tuning.record.fit import check_fits
from tune_encoder.tuning.record.outcome import (
    constraint_notes,
    merge_repeated,
    rate_row,
    row_values,
)
from tune_encoder.tuning.record.restore import write_from_database
from tune_encoder.tuning.record.samplers import make_sampler, sampler_seed
from tune_encoder.tuning.record.stored_study import (
    IS_CLOSED_FORM,
    make_study_file,
)
from tune_encoder.tuning.record.study import COPY_OF, Study
from tune_encoder.tuning.record.study_file import StudyFile, file_errors
from tune_encoder.tuning.record.warm_start import known_trials

METRIC = "objective"  # key of the value in a row that the scheduler compares
REPORTED = "val_loss"  # the metric that Tune gets, on which nothing depends


class Record:
    """Every trial, its settings, every epoch's metrics, its state and why it ended."""

    def __init__(
        self, experiment: Experiment, space: SearchSpace, database: Database | None = None
    ) -> None:
        self.experiment = experiment
        self.space = space
        self.trials = {trial.number: trial for trial in experiment.trials()}
        self.checkpoint_bytes = 0
        """Size of the newest checkpoint."""
        self._n_rows = sum(len(trial.rows) for trial in self.trials.values())
        readable = refuse_damage(experiment.unreadable_error)
        with readable, file_errors(experiment.study_path, "read"):
            self._study = Study(StudyFile(experiment.study_path), database)
        self._study.save_search(experiment.read_search())

    @classmethod
    def open(
        cls, experiment: Experiment, space: SearchSpace, database: Database | None = None
    ) -> "Record":
        """Return the experiment's record, creating it if no launch has done so yet.

        Args:
            experiment: The experiment.
            space: What is searched.
            database: The database that also stores the record; study.db equals it or is missing.
        """
        if not experiment.study_path.exists():
            if any(experiment.checkpoints.glob("*")):
                raise StorageError(
                    f"{experiment.study_path}: missing; restore it from a backup, or rebuild it "
                    f"with `{experiment.command('repair')}`"
                )
            _make_study(experiment, space, database)
        record = cls(experiment, space, database)
        check_fits(experiment, space, record._study, list(record.trials.values()))
        return record

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the study, which is in its file: Tune pickles whatever it gets."""
        return Record, (self.experiment, self.space)

    def unfinished(self) -> list[TrialRecord]:
        """Return the trials that were running when the last launch ended, oldest first.

        Trials that are paused at a rung are not among them.
        """
        for number in self.running():
            trial = self.trials[number]
            first = self.find(trial.settings)
            if first is not None and first.number < number and not trial.rows:
                self._fail_copy(number, first)  # the driver was killed before it could
        return [self.trials[number] for number in self.running()]

    def n_started(self) -> int:
        """Return the number of trials that count against the budget."""
        return sum(map(counts_as_trial, self.trials.values()))

    def n_epochs(self) -> int:
        """Return the number of epochs of all trials."""
        return sum(len(trial.rows) for trial in [*self.trials.values()])  # a thread may ask

    def rows_in_order(self) -> list[tuple[int, EpochRow]]:
        """Return all rows with their trial's number, in the order in which they were recorded."""
        rows = [(trial.number, row) for trial in self.trials.values() for row in trial.rows]
        return sorted(rows, key=lambda pair: int(pair[1]["order"]))

    def best(self) -> TrialRecord | None:
        """Return the best trial so far."""
        return best_trial(list(self.trials.values()))

    def ask(self) -> TrialRecord:
        """Start the next trial; it fails at once if its config is invalid, or is being tried."""
        return self._configure(self._study.ask(self._sampler()))

    def _sampler(self) -> DistinctSampler:
        """Return the sampler of the next trial, which proposes no config that has been tried."""
        number = sum(trial.state != "WAITING" for trial in self.trials.values())
        queued = map(self.space.config_key, self._study.queued())
        taken = {*self._trial_of, *(key for key in queued if key is not None)}
        sampler, seed = make_sampler(self.space, number), sampler_seed(self.space, number)
        return DistinctSampler(sampler, self.space, taken, seed)

    def _configure(self, trial: Trial) -> TrialRecord:
        settings = self._settings(trial)
        first = self.find(settings)
        trial.set_user_attr("settings", settings)
        if first is not None:
            trial.set_user_attr(COPY_OF, first.number)
        self._study.write_trial(trial.number)
        self.trials[trial.number] = TrialRecord(trial.number, "RUNNING", settings)
        if first is not None:
            self._fail_copy(trial.number, first)
        else:
            self._register(self.trials[trial.number])
        return self.trials[trial.number]

    def _fail_copy(self, number: int, first: TrialRecord) -> None:
        self.fail(number, f"not trained: trial {first.number} has the same config")

    def _settings(self, trial: Trial) -> dict[str, SettingValue]:
        """Return the settings of a trial that starts."""
        closed_form = trial.user_attrs.get(IS_CLOSED_FORM, False)
        return self.space.closed_form_settings() if closed_form else self.space.sample(trial)

    def _register(self, trial: TrialRecord) -> None:
        if (key := self.space.config_key(trial.settings)) is not None:
            self._trial_of[key] = trial.number
        self._check(trial)

    def _check(self, trial: TrialRecord) -> None:
        """End a trial whose config is invalid."""
        try:
            self.space.config(trial.settings)
        except ConfigError as error:
            self.fail(trial.number, str(error))

    @cached_property
    def _trial_of(self) -> dict[ConfigKey, int]:
        """The first trial of each config that has been tried, or one that failed."""
        found: dict[ConfigKey, int] = {}
        # One that waits may have settings, if the driver was killed just as it began.
        begun = [trial for trial in self.trials.values() if trial.state != "WAITING"]
        for trial in sorted(begun, key=lambda trial: trial.state == "FAIL"):
            if (key := self.space.config_key(trial.settings)) is not None:
                found.setdefault(key, trial.number)
        return found

    def find(self, settings: Mapping[str, SettingValue]) -> TrialRecord | None:
        """Return the trial that has a config, unless it failed."""
        key = self.space.config_key(settings)
        trial = self.trials.get(self._trial_of.get(key, -1)) if key else None
        return None if trial is None or trial.state == "FAIL" else trial

    def has_tried_all(self) -> bool:
        """Whether every config of the space has been tried."""
        n_configs = self.space.n_configs
        return n_configs is not None and len(self._trial_of) >= n_configs

    def write_settings(self, trial: TrialRecord) -> None:
        """Write a trial's settings next to its metrics, from where `repair` can read them."""
        path = self.experiment.trial_config(trial.number)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, write_yaml(trial.settings).encode())

    def add_row(self, number: int, row: EpochRow) -> EpochRow | None:
        """Record one epoch.

        Returns:
            The row as recorded, or None if the epoch was recorded before, for instance because it
            was repeated; it is then replaced, since the new checkpoint is known to be intact.
        """
        rows = self.trials[number].rows
        old = next((each for each in rows if each["epoch"] == row["epoch"]), None)
        row = {"order": self._n_rows, **row} if old is None else merge_repeated(old, row)
        rate_row(row, self.space)
        self._study.add_row(number, row, row_values(row, self.space)[0])
        if "checkpoint" in row:
            self.stored_checkpoints.add(row["checkpoint"])
        if old is not None:
            rows[rows.index(old)] = row
            self._remove_replaced(old, row)
            return None
        rows.append(row)
        self._n_rows += 1
        self._measure_checkpoint(row)
        return row

    def _measure_checkpoint(self, row: EpochRow) -> None:
        """Remember the size of a checkpoint on this disk."""
        if self.experiment.storage is None:
            file = self.experiment.checkpoint_file(row)
            if file is not None and file.exists():
                self.checkpoint_bytes = file.stat().st_size

    @cached_property
    def stored_checkpoints(self) -> set[str]:
        """The existing checkpoints; cached, since listing and removing them may take requests."""
        return set(self.experiment.checkpoint_names())

    def _remove_replaced(self, old: EpochRow, row: EpochRow) -> None:
        """Remove an epoch's checkpoint after the record names a newer one."""
        made = old.get("checkpoint")
        if made is not None and row["checkpoint"] != made:
            self.experiment.remove_checkpoint(made)
            self.stored_checkpoints.discard(made)

    def complete(self, number: int) -> None:
        """End a trial that used all its epochs or its patience, with its best epoch's value."""
        best = self.trials[number].best
        assert best is not None
        self._end(number, TrialState.COMPLETE, row_values(best, self.space))

    def prune(self, number: int, reason: str = "") -> None:
        """End a trial that the scheduler or the user stopped."""
        self._end(number, TrialState.PRUNED, reason=reason)

    def broken_constraints(self, number: int, known: Mapping[str, float]) -> str:
        """Say which constraints no epoch of a trial can keep; empty if there is none.

        Args:
            number: The trial.
            known: What is known of its config before it is trained.
        """
        first = {**self.trials[number].rows[0]} if self.trials[number].rows else {}
        measured = {name: first[name] for name in self.space.measures if name in first}
        return broken_constraints(self.space.constraints, {**known, **measured})

    def refuse(self, number: int, reason: str, known: Mapping[str, float]) -> None:
        """End a trial before it is trained, since its config breaks a constraint."""
        self._study.set_attribute(number, REFUSED, True)
        self.trials[number] = replace(self.trials[number], refused=True)
        self._end(number, TrialState.PRUNED, reason=reason, known=known)

    def fail(self, number: int, reason: str) -> None:
        """End a trial that diverged, crashed or could not start."""
        self._end(number, TrialState.FAIL, reason=reason)

    def _end(
        self,
        number: int,
        state: TrialState,
        values: list[float] | None = None,
        reason: str = "",
        known: Mapping[str, float] | None = None,
    ) -> None:
        if reason:
            self._study.set_attribute(number, "reason", reason)
        measured = self.trials[number].best or known or {}
        if notes := constraint_notes({**measured}, self.space):
            self._study.note(number, notes)
        self._study.end(number, state, values)
        ended = replace(self.trials[number], state=state.name, reason=reason, paused=False)
        self.trials[number] = ended

    def pause(self, number: int) -> None:
        """Pause a trial at a rung, without a worker."""
        self._study.set_attribute(number, "paused", True)
        self.trials[number] = replace(self.trials[number], paused=True)

    def promote(self, number: int) -> TrialRecord:
        """Let a paused trial continue."""
        epoch = self.trials[number].rows[-1]["epoch"]
        self._study.set_attribute(number, "promoted", epoch)
        self._study.set_attribute(number, "paused", False)
        self.trials[number] = replace(self.trials[number], paused=False, promoted=epoch)
        return self.trials[number]

    def running(self) -> list[int]:
        """Return the trials that are running."""
        return [n for n, t in self.trials.items() if t.state == "RUNNING" and not t.paused]

    def paused(self) -> list[int]:
        """Return the trials that are paused at a rung."""
        return [n for n, t in self.trials.items() if t.state == "RUNNING" and t.paused]

    def has_work(self) -> bool:
        """Whether a launch has any trial to run."""
        left = bool(self.running() or self.paused()) or self.may_start()
        return left and not self.is_used_up()

    def may_start(self) -> bool:
        """Whether the budget has room for a new trial, and there is a config for it."""
        if self.n_started() >= self.space.most_trials or self.is_used_up():
            return False
        none_left = self.has_tried_all() or has_refused_all([*self.trials.values()])
        return not none_left or self.has_queued()

    def has_queued(self) -> bool:
        """Whether a config is enqueued, to be tried before others are proposed."""
        return bool(self._study.queued())

    def is_used_up(self) -> bool:
        """Whether the trials have had all epochs of the budget."""
        return 0 < self.space.budget.total_epochs <= self._n_rows

    def add(self, params: dict[str, SettingValue]) -> bool:
        """Try a config next, in addition to the budget; settings that it leaves out are sampled.

        Returns:
            Whether it will be tried: not if it has been, without failing, or is enqueued.
        """
        key = self.space.config_key(params)
        queued = map(self.space.config_key, self._study.queued())
        if self.find(params) is not None or (key is not None and key in queued):
            return False
        self._study.enqueue(params)
        self._extend_budget()
        return True

    def _extend_budget(self) -> None:
        """Make room for one more trial, if the budget counts trials."""
        if not self.space.budget.trials:
            return
        budget = replace(self.space.budget, trials=self.space.budget.trials + 1)
        self.space = replace(self.space, budget=budget)
        before = self.experiment.read_search()
        content: SearchFile = {**before, "space": space_to_content(self.space)}
        self.experiment.write_search(content)
        self._study.save_search(content)

    def drop_old_checkpoints(self, number: int) -> None:
        """Remove checkpoints of a trial beyond the number that the space keeps.

        Some may be of epochs that were not recorded when the driver was killed; they are needed
        until a newer epoch is recorded.
        """
        trial = self.trials[number]
        if "checkpoint" not in trial.rows[-1]:
            return
        needed = needed_checkpoints(trial, self.space.resources.keep)
        for name in set(checkpoints_of_trial(self.stored_checkpoints, number)) - needed:
            self.experiment.remove_checkpoint(name)
            self.stored_checkpoints.remove(name)


class ParentSearches(NamedTuple):
    """Experiments whose results a search starts from."""

    forked: Experiment | None
    """The experiment whose trials seed the study."""
    warm: list[Experiment]
    """The experiments whose best configs are tried first."""


def _parent_searches(experiment: Experiment) -> ParentSearches:
    content = experiment.read_search()
    forked = content.get("forked_from")
    warm = [Experiment(experiment.path.parent / name) for name in content.get("warm_start", [])]
    return ParentSearches(Experiment(experiment.path.parent / forked) if forked else None, warm)


def _make_study(experiment: Experiment, space: SearchSpace, database: Database | None) -> None:
    """Create the study with the known trials, and with the first configs enqueued."""
    known, first = _initial_trials(space, _parent_searches(experiment))
    if database is not None:
        database.create_study(space.metric, known, first, experiment.read_search())
        write_from_database(experiment.study_path, database)
        return
    partial = partial_path(experiment.study_path)
    partial.unlink(missing_ok=True)
    with file_errors(experiment.study_path, "written"):
        make_study_file(partial, space.metric, known, first)
    partial.rename(experiment.study_path)


def _initial_trials(
    space: SearchSpace, relatives: ParentSearches
) -> tuple[list[FrozenTrial], list[dict[str, SettingValue]]]:
    """Return the known trials of other searches, and the configs to try first."""
    known = known_trials(relatives.forked, space) if relatives.forked is not None else ()
    own = space.grid() if space.searcher.name == "grid" else space.first_configs()
    warm: list[dict[str, SettingValue]] = []
    for start in choose_portfolio(relatives.warm, space):
        warm += [start.config] if start.config not in own else []
    first = [dict(CLOSED_FORM_CONFIG)] if space.searcher.closed_form else []
    return list(known), [*first, *warm, *own]
