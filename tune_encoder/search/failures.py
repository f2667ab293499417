"""Trials whose worker died more often than it may."""

import re
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from tune_encoder.search.schedulers import RecordingScheduler
from tune_encoder.search.searcher import StudySearcher

_ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception|Died|OutOfMemory)\b.*")


class Failures(Callback):
    """Records a trial that Tune has given up, with the reason."""

    def __init__(self, scheduler: RecordingScheduler, searcher: StudySearcher) -> None:
        self._scheduler = scheduler
        self._searcher = searcher

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Give back trials whose worker was not ready for them; Tune tells nobody of these."""
        for trial in trials:
            if trial.status == Trial.ERROR:
                self._searcher.take_back(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record the failure; Tune calls this once no retry is left."""
        self._scheduler.fail(trial.config["number"], failure_reason(Path(trial.error_file)))


def failure_reason(error_file: Path) -> str:
    """Return the line of Ray's report that names the error; the rest is its own traceback."""
    lines = error_file.read_text(encoding="utf-8", errors="replace").splitlines()
    named = [line.strip() for line in lines if _ERROR_LINE.match(line.strip())]
    return named[-1] if named else f"the worker ended without a reason; see {error_file}"
