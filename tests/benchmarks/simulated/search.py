"""A search on a simulated clock: its searcher, sampler, rule and scheduler are the real ones.

Replaced are what they stand on: the record lies in memory, and an epoch takes as long as it is told
to, instead of being trained.
"""

import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import Trial

from tests.builders import worker_settings
from tune_encoder.config import SettingValue
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import STUDY_NAME, Experiment
from tune_encoder.experiment.importance import silence_optuna
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace
from tune_encoder.tuning.driver.early_stopping import EarlyStoppingRule
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.driver.searcher import StudySearcher
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.stored_study import StoredStudy
from tune_encoder.tuning.record.study import Study


class MemoryRecord(Record):
    """A record in memory, of a space whose settings need not be those of a training."""

    def __init__(self, space: SearchSpace, first: Sequence[dict[str, SettingValue]] = ()) -> None:
        """Begin an empty record in which the configs `first` are tried first."""
        self.experiment = Experiment(Path())
        self.space = space
        self.trials = {}
        self.checkpoint_bytes = 0
        self._n_rows = 0
        silence_optuna()
        storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(study_name=STUDY_NAME, storage=storage)
        for config in first:
            study.enqueue_trial(config)
        self._study = Study(StoredStudy(storage, STUDY_NAME))

    def write_settings(self, trial: TrialRecord) -> None:
        """Leave nothing on the disk."""

    def _measure_checkpoint(self, row: EpochRow) -> None:
        """There are no checkpoints."""

    def _settings(self, trial: Trial) -> dict[str, SettingValue]:
        """Take the config that is proposed."""
        return self.space.sample(trial)

    def _check(self, trial: TrialRecord) -> None:
        """Take the settings as they are, which need not be those of a training."""


NOBODY_STEERS: Any = SimpleNamespace(poll=lambda: None, stop_reason="", is_paused=False)


@dataclass
class SimulatedSearch:
    """Runs one search on a few workers."""

    record: MemoryRecord
    rule: EarlyStoppingRule
    workers: int
    value: Callable[[TrialRecord, int], float]
    """Validation loss of a trial at an epoch."""
    seconds: Callable[[TrialRecord, int], float]
    """How long that epoch takes."""
    total_epochs: float = float("inf")
    """No epoch begins after so many."""
    clock: float = 0.0
    _begun: int = 0
    _order: int = 0
    _running: list[tuple[float, int, Any]] = field(default_factory=list)
    """End of the epoch under way, order, trial."""

    def __post_init__(self) -> None:
        self._scheduler = RecordingScheduler(self.record, launch="1")
        self._scheduler.rule = self.rule
        self._searcher: Any = StudySearcher(
            self.record, self._scheduler, NOBODY_STEERS, worker_settings(), lambda: self.workers
        )

    def run(self) -> None:
        """Run until the searcher has nothing left, or the epochs are used up."""
        self._fill_workers()
        while self._running:
            self.clock, order, trial = heapq.heappop(self._running)
            self._end_epoch(order, trial)
            self._fill_workers()

    def _fill_workers(self) -> None:
        while len(self._running) < self.workers and self._begun < self.total_epochs:
            config = self._searcher.suggest(f"{self._order}")
            if not isinstance(config, dict):
                return
            trial: Any = SimpleNamespace(config=config, trial_id=f"{self._order}")
            self._scheduler.on_trial_add(None, trial)
            self._begin_epoch(self._order, trial)
            self._order += 1

    def _begin_epoch(self, order: int, trial: Any) -> None:
        if self._begun < self.total_epochs:
            known = self.record.trials[trial.config["number"]]
            takes = self.seconds(known, len(known.rows) + 1)
            heapq.heappush(self._running, (self.clock + takes, order, trial))
            self._begun += 1

    def _end_epoch(self, order: int, trial: Any) -> None:
        known = self.record.trials[trial.config["number"]]
        epoch = len(known.rows) + 1
        row = {
            "epoch": epoch,
            "val_loss": self.value(known, epoch),
            "finished": epoch == self.record.space.budget.epochs,
        }
        if self._scheduler.on_trial_result(None, trial, {"row": json.dumps(row)}) == "STOP":
            self._searcher.on_trial_complete(trial.trial_id)
        else:
            self._begin_epoch(order, trial)
