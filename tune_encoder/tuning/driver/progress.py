"""The progress display of a running search: a few lines that are updated in place.

They are the status of the search, then a line of each running trial. If the output is not a
terminal, one line is printed for each trial that ends.
"""

import sys
import time

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tune_encoder.experiment.status import (
    WIDTH,
    Launch,
    format_trial,
    has_ended,
    search_status,
    status_lines,
)
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.tuning.record.record import Record

REFRESH_S = 0.5


class Progress(Callback):
    """Shows the state of the record after each of Tune's steps."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._voices = record.experiment.voice_kind()
        self._baselines = record.experiment.baselines()
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._ended_before = set(_ended(record))
        self._epochs_before = record.n_epochs()
        self._live: Live | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle without the terminal: Tune pickles its callbacks, but they are never loaded."""
        return Progress, (self._record,)

    def setup(self, *args: object, **info: object) -> None:
        """Start the display; Tune calls this before the first trial."""
        console = Console(file=sys.stderr, width=WIDTH, highlight=False)
        self._console = console
        if console.is_terminal:
            self._live = Live(self._text(), console=console, auto_refresh=False)
            self._live.start()
        else:
            self._printed = set(self._ended_before)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Update the display."""
        if self._live is None:
            self._print_ended()
        elif time.monotonic() - self._shown_at > REFRESH_S:
            self._shown_at = time.monotonic()
            self._live.update(self._text(), refresh=True)

    def close(self) -> None:
        """Show the final state, which remains on the screen."""
        if self._live is not None:
            self._live.update(self._text(), refresh=True)
            self._live.stop()

    def _print_ended(self) -> None:
        for number in _ended(self._record):
            if number not in self._printed:
                self._printed.add(number)
                trial = self._record.trials[number]
                self._console.print(self._line(trial))

    def _line(self, trial: TrialRecord) -> str:
        return format_trial(trial, self._record.space.budget.epochs, self._voices)

    def _text(self) -> Text:
        ended = len(set(_ended(self._record)) - self._ended_before)
        elapsed = time.monotonic() - self._started
        trials = list(self._record.trials.values())
        launch = Launch(elapsed, ended, self._record.n_epochs() - self._epochs_before)
        view = search_status(self._record.space, trials, launch, self._voices, self._baselines)
        return Text("\n".join(status_lines(view, self._console.encoding == "utf-8")))


def _ended(record: Record) -> list[int]:
    return [number for number, trial in record.trials.items() if has_ended(trial)]
