"""Tune callbacks: a signal stops the search, and a trial whose worker was lost fails."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ray.tune import Callback
from ray.tune.experiment import Trial

from tune_encoder.errors import Interrupted, StorageError, TuneEncoderError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.deadline import Deadline
from tune_encoder.system.formats import count_noun
from tune_encoder.system.signals import STOP_SIGNALS
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.driver.searcher import StudySearcher
from tune_encoder.tuning.driver.steering import Steering

STOP_S = 20.0  # for Tune and Ray to end after a signal; a write waits 15 for a locked study.db
LOST_S = 8.0  # the same once the cluster is lost; Docker waits ten
BOTH_S = 2.0  # the same after both: there is nothing to end
# Said of a worker by the cluster's head, of us: it takes our node, and all on it, for dead.
_OWNER_DIED = "because its owner has died"
_ERROR_LINE = re.compile(r"^[\w.]*(Error|Exception|Died|OutOfMemory)\b.*")


class StopSignal(Callback):
    """Passes the first signal on to Tune; a second one ends the program at once.

    Tune stops too once the cluster is lost. If it then does not come to its end, for instance since
    Ray waits for what is gone, a deadline ends the program.
    """

    def __init__(
        self,
        steering: Steering,
        deadline: Deadline,
        experiment: Experiment,
        n_saved: Callable[[], int],
    ) -> None:
        self.number: int | None = None
        self.lost = ""
        """What of the cluster is gone."""
        self._steering = steering
        self._deadline = deadline
        self._experiment = experiment
        self._n_saved = n_saved  # epochs

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle signals while the block runs, then restore the previous handlers.

        Enter it after `ray.init`, which installs its own handler. Only the main thread can install
        handlers in Python, so in another thread, as in some notebooks, nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGUSR1)}
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Tune has its handler
        for number in STOP_SIGNALS:
            if number != signal.SIGHUP or before[number] is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.number = number
        self._deadline.start(BOTH_S if self.lost else STOP_S, self.error)

    def give_up(self, lost: str) -> None:
        """Stop because a part of the cluster is gone."""
        self.lost = lost
        self._deadline.start(LOST_S if self.number is None else BOTH_S, self.error)

    def error(self) -> TuneEncoderError:
        """Return what the program ends with, after a signal or the loss of the cluster."""
        if self.number is not None:
            return Interrupted(self._experiment.stopped_message(), self.number)
        saved = count_noun(self._n_saved(), "epoch")
        return StorageError(
            f"the Ray cluster is lost, {self.lost} has ended; everything is saved ({saved}); "
            f"resume with `{self._experiment.command('resume')}`"
        )

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Tell Tune to stop; not in the handler, since Tune handles SIGUSR1 only while it runs."""
        self._steering.poll()
        if self.number is not None or self.lost:
            os.kill(os.getpid(), signal.SIGUSR1)


class FailureRecorder(Callback):
    """Records the failure of a trial that Tune has given up, with the reason."""

    def __init__(
        self, scheduler: RecordingScheduler, searcher: StudySearcher, stop: StopSignal
    ) -> None:
        self._scheduler = scheduler
        self._searcher = searcher
        self._stop = stop

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Requeue trials whose worker could not be reused, which Tune reports to nobody."""
        for trial in trials:
            if trial.status == Trial.ERROR:
                self._searcher.requeue(trial.trial_id)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: object
    ) -> None:
        """Record the failure; Tune calls this when no retry is left.

        If the cluster is lost it is not the trial's, which then continues at the next resume.
        """
        try:
            told = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
        except OSError as error:  # it could not be written either
            told = f"RuntimeError: the worker died, and its report cannot be read: {error}"
        if _OWNER_DIED in told and not self._stop.lost:
            self._stop.give_up("the node of this process")
        if not self._stop.lost:
            self._scheduler.fail(trial.config["number"], failure_reason(told, trial.error_file))


def failure_reason(told: str, error_file: str) -> str:
    """Return the line of Ray's report that names the error; the rest is Ray's traceback."""
    named = [line.strip() for line in told.splitlines() if _ERROR_LINE.match(line.strip())]
    return named[-1] if named else f"the worker died without giving a reason; see {error_file}"
