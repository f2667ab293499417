"""What stops or pauses a running search: the user, its budget, or a disk that is nearly full."""

import shutil
import time
from collections.abc import Callable, Mapping

from tune_encoder.config import SettingValue
from tune_encoder.experiment.control import Controls
from tune_encoder.experiment.epoch_row import objective
from tune_encoder.system.formats import format_size
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.record.record import Record

POLL_S = 0.5
LOW_DISK_BYTES = 256 * 2**20
CHECKPOINT_MARGIN = 4  # checkpoints per concurrent trial that must still fit on the disk
ENDED_BY_USER = "ended by the user"


class Steering:
    """Checks twice a second whether the search should stop or pause."""

    def __init__(
        self, record: Record, scheduler: RecordingScheduler, capacity: Callable[[], int]
    ) -> None:
        self._record = record
        self._scheduler = scheduler
        self._capacity = capacity
        self._controls = Controls(record.experiment)
        self._began = time.monotonic()
        self._polled = -POLL_S
        self.stop_reason = ""
        """Why the search should end; empty while it continues."""
        self.resume_options = ""
        """With these a resumed search would not end for the same reason at once."""
        self.is_paused = False

    def __reduce__(self) -> "tuple[type[Steering], tuple[object, ...]]":
        """Pickle without the clock: Tune pickles its searcher, but it is never loaded."""
        return Steering, (self._record, self._scheduler, self._capacity)

    def end(self, reason: str, resume_options: str) -> None:
        """End the search for a reason; workers are released at the next poll."""
        self.stop_reason, self.resume_options = reason, resume_options

    def poll(self) -> None:
        """Check, if half a second has passed since the last check."""
        if time.monotonic() - self._polled < POLL_S:
            return
        self._polled = time.monotonic()
        self.is_paused = self._controls.pause_requested()
        with self._scheduler.guard_record():
            self._end_trials()
            take_added_configs(self._record)
        self._check_disk()
        self.stop_reason = self.stop_reason or self._find_stop_reason()
        self._scheduler.releases_workers = self.is_paused or bool(self.stop_reason)

    def _find_stop_reason(self) -> str:
        if self._controls.stop_requested():
            return "stopped on request"
        if self._scheduler.storage_problem is not None:
            return self._scheduler.storage_problem
        budget = self._record.space.budget
        if budget.time_s is not None and time.monotonic() - self._began > budget.time_s:
            return f"the time limit of {budget.time} is reached"
        return self._target_reason(budget.target) if budget.target is not None else ""

    def _target_reason(self, target: float) -> str:
        metric, best = self._record.space.metric, self._record.best()
        if best is None or best.best is None or objective(best.best) > metric.sign * target:
            return ""
        return f"{metric.name} has reached {target:g}"

    def _end_trials(self) -> None:
        for number in self._controls.take_end_requests():
            trial = self._record.trials.get(number)
            if trial is None or trial.state != "RUNNING":
                continue
            if trial.paused:
                self._record.prune(number, ENDED_BY_USER)
            else:
                self._scheduler.end_requests[number] = ENDED_BY_USER

    def _check_disk(self) -> None:
        folder = self._record.experiment.path
        free = shutil.disk_usage(folder).free
        ahead = self._capacity() * CHECKPOINT_MARGIN
        needed = LOW_DISK_BYTES + ahead * self._record.checkpoint_bytes
        if free < needed and self._scheduler.storage_problem is None:
            self._scheduler.storage_problem = (
                f"{folder}: only {format_size(free)} are free, but the next epochs may need "
                f"{format_size(needed)}; everything is saved, free some space"
            )


def take_added_configs(record: Record) -> None:
    """Enqueue the configs that the user has added, unless they are known."""
    for params in Controls(record.experiment).take_added_configs():
        if not record.add(params):
            print(f"add: {_pairs(params)} is a config of this search already")  # noqa: T201


def _pairs(params: Mapping[str, SettingValue]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())
