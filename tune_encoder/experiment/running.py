"""The trials that run now: how far each is, and when it will be at its next rung and at its end."""

import time
from collections.abc import Sequence
from typing import TypedDict

from tune_encoder.experiment.epoch_row import score_of
from tune_encoder.experiment.run_status import seconds_left
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import bracket_rungs
from tune_encoder.system.formats import count_noun, format_clock

MOST_LINES = 16  # with the lines of the search they fit into a terminal of 24
_SHORT_NAMES = {"val_loss": "loss", "val_skill": "skill"}


class RunningTrial(TypedDict):
    """A trial that runs now."""

    trial: int
    """Its number."""
    epoch: int
    """Number of finished epochs."""
    epochs: int
    """Epochs that it has if it is not stopped early."""
    scores: dict[str, float]
    """The skill, and the metric if that is another one, of the newest epoch; empty before one."""
    rung: int | None
    """The epoch at which it is compared next; None if there is none, or it is not known."""
    rung_s: float | None
    """Estimated seconds until then; None if unknown."""
    left_s: float | None
    """Estimated seconds until its last epoch; None if unknown."""


def running_trials(space: SearchSpace, trials: Sequence[TrialRecord]) -> list[RunningTrial]:
    """Return the trials that run, in order of their numbers; the search is running.

    Args:
        space: The search space.
        trials: All its trials.
    """
    now = time.time()
    running = (trial for trial in trials if trial.state == "RUNNING" and not trial.paused)
    return [_running_trial(space, trial, now) for trial in running]


def _running_trial(space: SearchSpace, trial: TrialRecord, now: float) -> RunningTrial:
    epoch = len(trial.rows)
    rungs, *other_brackets = bracket_rungs(space)
    ahead = [] if other_brackets else [rung for rung in rungs if rung > epoch]
    names = dict.fromkeys(("val_skill", space.metric.name))
    newest = trial.rows[-1] if trial.rows else None
    scores = {} if newest is None else {name: score_of(newest, name) for name in names}
    return {
        "trial": trial.number,
        "epoch": epoch,
        "epochs": space.budget.epochs,
        "scores": scores,
        "rung": ahead[0] if ahead else None,
        "rung_s": _seconds_until(trial, ahead[0], now) if ahead else None,
        "left_s": _seconds_until(trial, space.budget.epochs, now),
    }


def _seconds_until(trial: TrialRecord, epoch: int, now: float) -> float | None:
    """Estimate when an epoch ends; the one under way counts as not longer than the others."""
    left = seconds_left(trial.rows, epoch)
    if left is None:
        return None
    an_epoch = left / max(1, epoch - len(trial.rows))
    since = now - trial.rows[-1].get("recorded_at", now)
    return max(0.0, left - min(since, an_epoch))


def running_lines(running: Sequence[RunningTrial], width: int) -> list[str]:
    """Return a line of each running trial, and one more that counts those for which is no room."""
    shown = running[:MOST_LINES]
    digits = max((len(str(each["trial"])) for each in shown), default=0)
    lines = [_line(each, digits, width) for each in shown]
    if others := len(running) - len(shown):
        lines.append(f"  and {count_noun(others, 'other')} that run")
    return lines


def _line(running: RunningTrial, digits: int, width: int) -> str:
    """The line of a trial; what comes last is left out first if it would be too wide."""
    epochs = str(running["epochs"])
    parts = [f"  trial {running['trial']:>{digits}}"]
    parts += [f"epoch {running['epoch']:>{len(epochs)}}/{epochs}"]
    if not running["scores"]:
        parts += ["first epoch under way"]
    for name, value in running["scores"].items():
        parts += [f"{_SHORT_NAMES.get(name, name)} {value:.3f}"]
    if running["left_s"] is not None:
        parts += [f"end in {format_clock(running['left_s']):>5}"]
    if running["rung_s"] is not None:
        parts += [f"rung {running['rung']} in {format_clock(running['rung_s'])}"]
    while len("  ".join(parts)) > width:
        parts.pop()
    return "  ".join(parts)
