"""The searcher Tune asks for configs: unfinished trials first, then what the study proposes."""

from typing import Any

from ray.tune.search import Searcher

from tune_encoder.experiment import TrialRecord
from tune_encoder.search.study import METRIC, Record


class StudySearcher(Searcher):
    """Hands out trials of the record. Results reach the record through the scheduler."""

    def __init__(self, record: Record, shared: dict[str, Any]) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._record = record
        self._shared = shared
        self._unfinished = record.unfinished()
        self._trials = record.space.budget.trials

    def remaining(self) -> int:
        """Number of trials this launch has to run."""
        return len(self._unfinished) + max(0, self._trials - self._record.n_started())

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's config, or that there is none."""
        trial = self._unfinished.pop(0) if self._unfinished else self._new_trial()
        if trial is None:
            return Searcher.FINISHED
        return {
            **self._shared,
            "number": trial.number,
            "settings": trial.settings,
            "recorded": len(trial.rows),
        }

    def _new_trial(self) -> TrialRecord | None:
        while self._record.n_started() < self._trials:
            if (trial := self._record.ask()) is not None:
                return trial
        return None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the scheduler has recorded it."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a resumed search reads the record."""
