"""What a person watches while a search runs: four calm lines, rewritten in place.

Where the output is no terminal, one line for each trial that ends.
"""

import sys
import time
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tune_encoder.experiment import TrialRecord
from tune_encoder.search.study import Record

WIDTH = 80
REFRESH_S = 0.5
_WORDS = {"COMPLETE": "finished", "PRUNED": "stopped early", "FAIL": "failed"}


class Progress(Callback):
    """Shows the record after each of Tune's steps."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._started = time.monotonic()
        self._shown_at = 0.0
        self._ended_before = set(_ended(record))
        self._live: Live | None = None

    def __reduce__(self) -> Any:
        """Pickle without the terminal: Tune pickles its callbacks, nobody reads them back."""
        return Progress, (self._record,)

    def setup(self, *args: Any, **info: Any) -> None:
        """Begin to show; called by Tune before the first trial."""
        console = Console(file=sys.stderr, width=WIDTH, highlight=False)
        if console.is_terminal:
            self._live = Live(self._text(), console=console, auto_refresh=False)
            self._live.start()
        else:
            self._told = set(self._ended_before)
            self._console = console

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Show what is new."""
        if self._live is None:
            self._tell_ended()
        elif time.monotonic() - self._shown_at > REFRESH_S:
            self._shown_at = time.monotonic()
            self._live.update(self._text(), refresh=True)

    def close(self) -> None:
        """Show the last state and leave it standing."""
        if self._live is not None:
            self._live.update(self._text(), refresh=True)
            self._live.stop()

    def _tell_ended(self) -> None:
        for number in _ended(self._record):
            if number not in self._told:
                self._told.add(number)
                trial = self._record.trials[number]
                self._console.print(trial_line(trial, self._record.space.budget.epochs))

    def _text(self) -> Text:
        ended = len(set(_ended(self._record)) - self._ended_before)
        elapsed = time.monotonic() - self._started
        return Text("\n".join(line[:WIDTH] for line in status_lines(self._record, elapsed, ended)))


def _ended(record: Record) -> list[int]:
    return [number for number, trial in record.trials.items() if trial.state in _WORDS]


def status_lines(record: Record, elapsed_s: float, ended_now: int) -> list[str]:
    """Say where the search stands, in lines of at most 80 columns.

    Args:
        record: The experiment's record.
        elapsed_s: Seconds since this launch began.
        ended_now: Trials that ended since then, from which the time left is guessed.
    """
    trials, budget = list(record.trials.values()), record.space.budget
    counts = {state: sum(t.state == state for t in trials) for state in (*_WORDS, "RUNNING")}
    words = {**_WORDS, "RUNNING": "running"}
    parts = [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    ended = sum(counts[state] for state in _WORDS)
    epochs = sum(len(trial.rows) for trial in trials)
    saved = sum(budget.epochs - len(trial.rows) for trial in trials if trial.state == "PRUNED")
    left = max(0, budget.trials - ended)
    eta = f", about {clock(elapsed_s / ended_now * left)} left" if ended_now and left else ""
    return [
        f"trials  {', '.join(parts) or 'starting'} of {budget.trials}",
        f"epochs  {epochs} done, {saved} saved by early stopping",
        f"best    {best_line(record.best(), [p.name for p in record.space.parameters])}",
        f"time    {clock(elapsed_s)}{eta}",
    ]


def best_line(trial: TrialRecord | None, searched: list[str]) -> str:
    """Say the best score and the settings that made it."""
    if trial is None or trial.best is None:
        return "none yet"
    settings = ", ".join(
        f"{name} {_short(trial.settings[name])}" for name in searched if name in trial.settings
    )
    row = trial.best
    return f"skill {row['val_skill']:.3f}, trial {trial.number} epoch {row['epoch']}: {settings}"


def trial_line(trial: TrialRecord, epochs: int) -> str:
    """Say how one trial ended."""
    if trial.best is None:
        return f"trial {trial.number} failed: {trial.reason}"
    why = f": {trial.reason}" if trial.reason else ""
    return (
        f"trial {trial.number} {_WORDS[trial.state]} after {len(trial.rows)} of {epochs} epochs, "
        f"skill {trial.best['val_skill']:.3f}{why}"
    )


def clock(seconds: float) -> str:
    """Write a duration as 0:07, 12:30 or 3:05:00."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
