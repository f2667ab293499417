"""The searcher that gives Tune configs: unfinished trials first, then the study's proposals."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.tuning.driver.known import Known, nothing_known
from tune_encoder.tuning.driver.recording_scheduler import STORAGE_ERRORS, RecordingScheduler
from tune_encoder.tuning.driver.steering import Steering
from tune_encoder.tuning.driver.worth import Worth
from tune_encoder.tuning.record.record import REPORTED, Record
from tune_encoder.tuning.worker.settings import TrialConfig, WorkerSettings


class StudySearcher(Searcher):
    """Assigns trials of the record. Results get into the record through the scheduler.

    It limits the number of concurrent trials itself: Tune's `ConcurrencyLimiter` is not notified of
    a trial whose worker could not be reused, and would wait for its end forever.
    """

    def __init__(
        self,
        record: Record,
        scheduler: RecordingScheduler,
        steering: Steering,
        worker: WorkerSettings,
        capacity: Callable[[], int],
        known: Known = nothing_known,
    ) -> None:
        super().__init__(metric=REPORTED, mode="min")
        self._record = record
        self._scheduler = scheduler
        self._steering = steering
        self._worker = worker
        self._capacity = capacity
        self._known = known
        self._worth = Worth(record)
        self._queue = record.unfinished()
        self._assigned: dict[str, TrialRecord] = {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's config, None if there is none yet, or FINISHED after the last."""
        try:
            return self._suggest(trial_id)
        except STORAGE_ERRORS as error:
            self._scheduler.stop_on_storage(str(error))
            return Searcher.FINISHED

    def _suggest(self, trial_id: str) -> Any:
        self._steering.poll()
        if self._steering.stop_reason or self._record.is_used_up():
            return Searcher.FINISHED
        if self._steering.is_paused or len(self._assigned) >= self._capacity():
            return None
        if reason := self._reason_to_end():
            return None if self._assigned else self._end(reason)
        trial = self._next()
        if trial is None:
            return None if self._assigned else self._finish()
        self._assigned[trial_id] = trial
        searched = tuple(self._record.space.searched_names(trial.settings))
        return TrialConfig(
            number=trial.number,
            settings=json.dumps(trial.settings),
            n_recorded=len(trial.rows),
            worker=replace(self._worker, searched=searched),
        )

    def _reason_to_end(self) -> str:
        """Say why a proposal, if one would be next, is not worth its epochs."""
        record = self._record
        proposes = record.may_start() and not record.has_queued()
        if self._queue or not proposes or self._promoted() is not None:
            return ""
        return self._worth.reason_to_end()

    def _end(self, reason: str) -> str:
        """End the search at the noise, once the trials that were worth it have ended."""
        self._steering.end(reason, "--until budget")
        return Searcher.FINISHED

    def _next(self) -> TrialRecord | None:
        """Return the next trial whose config can keep the constraints."""
        while (trial := self._candidate()) is not None and self._refused(trial):
            pass
        return trial

    def _refused(self, trial: TrialRecord) -> bool:
        """End a trial that cannot keep the constraints, before it is trained."""
        self._record.write_settings(trial)
        if trial.rows:
            return False
        known = self._known(trial.settings)
        reason = self._record.broken_constraints(trial.number, known)
        if reason:
            self._record.refuse(trial.number, reason, known)
        return bool(reason)

    def _candidate(self) -> TrialRecord | None:
        """Return an unfinished trial, else a paused one that is promoted, else a new one."""
        if self._queue:
            return self._queue.pop(0)
        while (number := self._promoted()) is None and self._record.may_start():
            trial = self._record.ask()
            if trial.state == "RUNNING":
                return trial
        # Tune may ask again before it has released a trial that it stopped.
        in_hand = {trial.number for trial in self._assigned.values()}
        return None if number is None or number in in_hand else self._record.promote(number)

    def _promoted(self) -> int | None:
        """Ask the rule for a paused trial to promote."""
        record = self._record
        paused, running = record.paused(), record.running()
        return self._scheduler.rule.promote(paused, running, may_start=record.may_start())

    def _finish(self) -> str:
        """Prune the paused trials: no trial is left whose result could promote them."""
        for number in self._record.paused():
            self._record.prune(number)
        return Searcher.FINISHED

    def requeue(self, trial_id: str) -> None:
        """Assign a trial again that Tune has given up but the record has not."""
        if (trial := self._assigned.pop(trial_id, None)) is not None:
            self._queue.append(self._record.trials[trial.number])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Make room for another trial; the scheduler has already recorded the end of this one."""
        if trial_id in self._scheduler.released:
            self.requeue(trial_id)
        self._assigned.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is already on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a resumed search reads the record."""
