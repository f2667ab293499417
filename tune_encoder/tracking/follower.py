"""Follows the record of a search: sends what is new to trackers, and says what has happened."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Event
from typing import Any

from tune_encoder.config import TrackingSettings
from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import best_of, format_score
from tune_encoder.experiment.trial_reader import record_stamp
from tune_encoder.tracking.notification import (
    BEST,
    NotNotified,
    Outcome,
    content_of,
    notify,
)
from tune_encoder.tracking.sender import (
    TRACKING,
    PatientTracker,
    Tracker,
    make_trackers,
    only_sender,
)
from tune_encoder.tracking.tracked_search import TrackedSearch

_POLL_S = 2.0
_PAUSE_PER_WORK = 20.0  # a long record is read less often: at most 5 % of a processor
_LONGEST_POLL_S = 60.0
LAST_S = 40.0  # after the end, whatever a client waits for; who waits for us gives up before


class Follower:
    """Reads the record of one search again and again, until its program has ended."""

    def __init__(self, told: dict[str, Any], ended: Event, warn: Callable[[str], None]) -> None:
        self.outcome: Outcome | None = None
        """Set before `ended` is."""
        self._experiment = Experiment(Path(told.pop("path")))
        self._notify = str(told.pop("notify"))
        self._results = bool(told.pop("results"))
        self._tracking = TrackingSettings(**told)
        self._ended = ended
        self._warn = warn
        self._leader: int | None = None
        self._seen: object = None

    def run(self) -> None:
        """Follow until the end, then send what is left."""
        while not (self._experiment.path / "search.yaml").is_file():
            if self._ended.wait(_POLL_S):
                self._tell_end(None)
                return
        alone = only_sender(self._experiment) if self._tracking.is_wanted else nullcontext()
        try:
            with alone:
                self._follow()
        except TuneEncoderError as error:  # such as a record that is damaged at the end
            self._warn(f"{TRACKING}: {error}")

    def _follow(self) -> None:
        with suppress(TuneEncoderError):  # as below
            self._leader = _leader(self._read(ended=False))
        trackers = [
            PatientTracker(each, self._warn_of)
            for each in make_trackers(self._experiment, self._tracking)
        ]
        pause_s = 0.0
        while not self._ended.wait(pause_s):
            began = time.monotonic()
            self._look(trackers)
            work_s = time.monotonic() - began
            pause_s = min(_LONGEST_POLL_S, max(_POLL_S, _PAUSE_PER_WORK * work_s))
        search = self._read(ended=True)
        self._tell_best(search)
        self._tell_end(search)
        for tracker in trackers:
            tracker.send(search)
            tracker.close()

    def _read(self, ended: bool) -> TrackedSearch:
        running, results = not self._results and not ended, self._results and ended
        return TrackedSearch.read(self._experiment, is_running=running, has_results=results)

    def _look(self, trackers: list[PatientTracker]) -> None:
        """Send and tell what is new, if the record was written."""
        state = record_stamp(self._experiment.study_path)
        if state == self._seen:
            return
        try:
            search = self._read(ended=False)
        except TuneEncoderError:
            return  # perhaps it is locked for a moment; of a damaged one the search itself says it
        self._tell_best(search)
        if all([tracker.send(search) for tracker in trackers]):
            self._seen = state

    def _tell_best(self, search: TrackedSearch) -> None:
        """Notify of a trial that has become the best; not of each epoch in which it improves."""
        leader = _leader(search)
        if leader is None or leader == self._leader:
            return
        self._leader = leader
        best = best_of(search.space, search.trials, search.content.get("voices"))
        assert best is not None
        self._tell(BEST, f"trial {leader} is the best so far, {format_score(best)}", search)

    def _tell_end(self, search: TrackedSearch | None) -> None:
        assert self.outcome is not None
        self._tell(self.outcome.event, self.outcome.message, search)

    def _tell(self, event: str, message: str, search: TrackedSearch | None) -> None:
        if not self._notify:
            return
        try:
            notify(self._notify, content_of(event, message, self._experiment.name, search))
        except NotNotified as error:
            self._warn(f"notify: {error}")

    def _warn_of(self, tracker: Tracker, reason: str) -> None:
        self._warn(f"{TRACKING}: {tracker.name}: {reason}")


def _leader(search: TrackedSearch) -> int | None:
    """Return the number of the best trial so far."""
    best = best_of(search.space, search.trials, None)
    return None if best is None else best["trial"]


def end_process_soon() -> None:
    """End this process if it hangs: the program that started it may be gone."""
    timer = threading.Timer(LAST_S, os._exit, [0])
    timer.daemon = True
    timer.start()
