"""The searcher Tune asks for configs: unfinished trials first, then what the study proposes."""

from typing import Any

from ray.tune.search import Searcher

from tune_encoder.experiment import TrialRecord
from tune_encoder.search.study import REPORTED, Record


class StudySearcher(Searcher):
    """Hands out trials of the record. Results reach the record through the scheduler.

    It limits how many run at once by itself: Tune's limiter never hears of a trial whose worker
    could not be used again, and would wait for its end for ever.
    """

    def __init__(self, record: Record, shared: dict[str, Any], concurrent: int) -> None:
        super().__init__(metric=REPORTED, mode="min")
        self._record = record
        self._shared = shared
        self._concurrent = concurrent
        self._waiting = record.unfinished()
        self._handed_out: dict[str, TrialRecord] = {}

    def has_work(self) -> bool:
        """Whether this launch has any trial to run."""
        return bool(self._waiting) or self._may_start()

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's config, None for not now, or that there will be none."""
        if len(self._handed_out) >= self._concurrent:
            return None
        trial = self._waiting.pop(0) if self._waiting else self._new_trial()
        if trial is None:
            # What is handed out may still come back.
            return None if self._handed_out else Searcher.FINISHED
        self._handed_out[trial_id] = trial
        return {
            **self._shared,
            "number": trial.number,
            "settings": trial.settings,
            "recorded": len(trial.rows),
        }

    def _may_start(self) -> bool:
        return self._record.n_started() < self._record.space.budget.trials

    def _new_trial(self) -> TrialRecord | None:
        while self._may_start():
            if (trial := self._record.ask()) is not None:
                return trial
        return None

    def take_back(self, trial_id: str) -> None:
        """Hand a trial out again, whose worker Tune gave up without counting it as a failure."""
        if (trial := self._handed_out.pop(trial_id, None)) is not None:
            self._waiting.append(self._record.trials[trial.number])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Make room for another; the scheduler has recorded the end already."""
        self._handed_out.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the record is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a resumed search reads the record."""
