"""The metrics that a search exports while it runs, and their values by its record's trials."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tune_encoder.experiment.epoch_row import EpochRow, keeps_constraints, rank
from tune_encoder.experiment.status import COUNTED, metric_value, saved_epochs, trial_status
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace
from tune_encoder.system.files import cache_dir

EXPERIMENT = "experiment"
"""The tag that every metric has."""
_RAY = "ray_"  # Ray's exporter writes it before every name
WORK = ("train", "predict", "score", "other")
"""Kinds of work; `other` is loading and augmenting batches, for the most part."""


@dataclass(frozen=True)
class Metric:
    """A metric of a search."""

    name: str
    help: str
    tag: str = ""
    """What distinguishes its values, besides the experiment; empty: it has one value."""
    counts: bool = False
    """Whether it only grows: a counter of Prometheus, otherwise a gauge."""

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return f"{_RAY}{self.name}{'_total' if self.counts else ''}"


BEST = Metric("tune_encoder_best_objective", "The best value of the search's metric", "metric")
SKILL = Metric("tune_encoder_best_skill", "The skill of the best epoch; 0 is the mean voice")
TRIALS = Metric("tune_encoder_trials", "Trials by state", "state")
EPOCHS = Metric("tune_encoder_epochs", "Epochs that were trained", counts=True)
CLIPS = Metric("tune_encoder_clips", "Crops of clips that were trained on", counts=True)
SECONDS = Metric("tune_encoder_work_seconds", "Seconds of epochs by kind of work", "work", True)
FAILURES = Metric("tune_encoder_failures", "Trials that failed, and restarts of others")
SAVED = Metric("tune_encoder_epochs_saved", "Epochs saved by stopping trials early")
METRICS = (BEST, SKILL, TRIALS, EPOCHS, CLIPS, SECONDS, FAILURES, SAVED)


def targets_folder() -> Path:
    """Return the folder of the files in which Prometheus finds what exports metrics now."""
    return cache_dir() / "metrics"


class Value(NamedTuple):
    """A value of a metric."""

    metric: Metric
    tag: str
    """What it is of, such as a state; empty if the metric has no tag."""
    number: float


class SearchMetrics:
    """Computes the values from time to time; of all trials' epochs only the new ones are read."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._read: dict[int, int] = {}  # epochs of each trial
        self._best: dict[int, EpochRow] = {}
        self._attempts: Counter[int] = Counter()
        self._restarts = 0
        self._clips = 0.0
        self._seconds = dict.fromkeys(WORK, 0.0)

    def values(self, trials: Collection[TrialRecord]) -> list[Value]:
        """Return all values; of the best epoch there are none before there is one.

        Args:
            trials: All trials of the search.
        """
        for trial in trials:
            self._read_new(trial)
        states = Counter(map(trial_status, trials))
        return [
            *self._best_values(trials),
            *(Value(TRIALS, state, states[state]) for state in COUNTED),
            Value(EPOCHS, "", sum(self._read.values())),
            Value(CLIPS, "", self._clips),
            *(Value(SECONDS, work, seconds) for work, seconds in self._seconds.items()),
            Value(FAILURES, "", self._restarts + sum(trial.state == "FAIL" for trial in trials)),
            Value(SAVED, "", saved_epochs(self._space, trials)),
        ]

    def _read_new(self, trial: TrialRecord) -> None:
        rows, read = trial.rows, self._read.get(trial.number, 0)
        for row in rows[read:]:
            self._add(trial.number, row)
        self._read[trial.number] = len(rows)

    def _add(self, number: int, row: EpochRow) -> None:
        train, validate = row.get("step_seconds", 0.0), row.get("predict_seconds", 0.0)
        score, training = row.get("score_seconds", 0.0), row["seconds"] - validate
        parts = (train, validate, score, training - train - score)
        for work, seconds in zip(WORK, parts, strict=True):
            self._seconds[work] += max(0.0, seconds)
        self._clips += max(0.0, row.get("clips_per_s", 0.0) * (training - score))
        attempt = row.get("attempt", 1)  # of its launch, so a resumed trial begins with 1
        self._restarts += max(0, attempt - self._attempts.get(number, 1))
        self._attempts[number] = attempt
        self._best[number] = min(self._best.get(number, row), row, key=rank)

    def _best_values(self, trials: Collection[TrialRecord]) -> list[Value]:
        """The values of the best epoch, as `best_trial` finds it."""
        rows = [
            self._best[trial.number]
            for trial in trials
            if trial.state != "FAIL" and not trial.refused and trial.number in self._best
        ]
        best = min(filter(keeps_constraints, rows), key=rank, default=None)
        if best is None:
            return []
        named = Value(BEST, self._space.metric.name, metric_value(self._space, best))
        return [named, Value(SKILL, "", best["val_skill"])]
