"""The scheduler, through which every result gets into the record.

In Tune the scheduler is the first to get a result, and decides on it. Ours records the row, asks
the early-stopping rule for its decision, and records that too, so nothing is lost in between.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune_encoder.errors import StorageError
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.system.shortage import shortage
from tune_encoder.tuning.driver.early_stopping import Decision, EarlyStoppingRule, make_rule
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.worker.file_sync import FILES, apply_delta

STORAGE_ERRORS = (StorageError, OSError)
_STOP, _CONTINUE = str(TrialScheduler.STOP), str(TrialScheduler.CONTINUE)


class RecordingScheduler(FIFOScheduler):
    """Records every result, then applies the decision of the early-stopping rule."""

    def __init__(self, record: Record, launch: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record
        self._launch = launch
        self.rule: EarlyStoppingRule = make_rule(record.space)
        self.storage_problem: str | None = None
        """What a worker or the record could not read or write; the search then ends."""
        self.releases_workers = False
        """Whether trials release their workers after the current epoch, to continue later."""
        self.released: set[str] = set()
        """Tune's ids of the trials that did."""
        self.end_requests: dict[int, str] = {}
        """Trials to end after their current epoch, and the reasons."""

    @contextmanager
    def guard_record(self) -> Iterator[None]:
        """End the search if the block cannot write the record, instead of failing within Tune."""
        try:
            yield
        except STORAGE_ERRORS as error:
            self.stop_on_storage(str(error))

    def stop_on_storage(self, problem: str) -> None:
        """End the search because something cannot be written; the first reason is kept."""
        self.storage_problem = self.storage_problem or shortage(problem) or problem

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: object) -> bool:
        """Accept Tune's metric, which is not used: the rule has its own."""
        return True

    def replay(self) -> None:
        """Rebuild the rule's rungs from the record, in the order in which rows were recorded.

        If the driver was killed between recording a row and deciding on it, the decision is made
        now.
        """
        for number in self._record.trials:
            self.rule.on_trial_start(number)
        for number, row in self._record.rows_in_order():
            decision = self.rule.on_result(number, row)
            trial = self._record.trials[number]
            if trial.state == "RUNNING" and row is trial.rows[-1]:
                self._end(number, row, decision)

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Register a trial with the rule, unless it is known from the replay."""
        number = trial.config["number"]
        if not self._record.trials[number].rows:
            self.rule.on_trial_start(number)

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        """Record a row and decide whether its trial continues."""
        try:
            return self._record_result(trial, result)
        except STORAGE_ERRORS as error:
            self.stop_on_storage(str(error))
            return _STOP

    def _record_result(self, trial: Trial, result: dict[str, Any]) -> str:
        number = trial.config["number"]
        apply_delta(result.get(FILES, []), self._record.experiment.trial_dir(number))
        if result.get("note"):
            print(result["note"], file=sys.stderr, flush=True)  # noqa: T201
            return _CONTINUE
        if self._record.trials[number].state != "RUNNING":
            return _STOP
        if result.get("storage"):
            self.storage_problem = result["storage"]
            return _STOP
        if result.get("failure"):
            self._record.fail(number, result["failure"])
            return _STOP
        row = self._record.add_row(number, self._row(trial, result))
        if row is None:
            return _CONTINUE
        decision = self._end(number, row, self.rule.on_result(number, row))
        self._record.drop_old_checkpoints(number)
        ends = self.releases_workers or self._record.is_used_up()
        if ends and decision == _CONTINUE:
            self.released.add(trial.trial_id)
            return _STOP
        return decision

    def _row(self, trial: Trial, result: dict[str, Any]) -> EpochRow:
        row: EpochRow = json.loads(result["row"])
        row["worker"] = f"{result.get('hostname', '')}:{result.get('pid', '')}"
        row["attempt"] = 1 + getattr(trial, "num_failures", 0)
        row["recorded_at"] = round(time.time(), 3)
        if folder := result.get("checkpoint_dir_name"):
            assert trial.storage is not None
            row["checkpoint"] = f"{self._launch}/{trial.storage.trial_dir_name}/{folder}"
        return row

    def fail(self, number: int, reason: str) -> None:
        """Record a failure, unless it is one of the machine; that ends the search."""
        if problem := shortage(reason):
            self.stop_on_storage(problem)
            return
        with self.guard_record():
            self._record.fail(number, reason)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Do nothing: Tune may retry the trial; `FailureRecorder` is called when it does not."""

    def on_trial_complete(
        self, tune_controller: object, trial: Trial, result: dict[str, Any]
    ) -> None:
        """Do nothing: the end of the trial was recorded with its last result."""

    def on_trial_remove(self, tune_controller: object, trial: Trial) -> None:
        """Do nothing: a trial that is removed unfinished continues at the next resume."""

    def _end(self, number: int, row: EpochRow, decision: Decision) -> str:
        """Record what happens to a trial, and tell Tune whether it keeps its worker."""
        if row["finished"]:
            self._record.complete(number)
        elif number in self.end_requests:
            self._record.prune(number, self.end_requests.pop(number))
        elif reason := self._record.broken_constraints(number, {}):
            self._record.prune(number, reason)
        elif decision is Decision.STOP:
            self._record.prune(number)
        elif decision is Decision.PAUSE and row["epoch"] > self._record.trials[number].promoted:
            self._record.pause(number)
        else:
            return _CONTINUE
        return _STOP
