"""The best result so far, over epochs and over time."""

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.trials import improvements
from tune_encoder.report.drawing import BLUE, ORANGE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, Table, table
from tune_encoder.system.formats import count_noun, format_clock

HOUR_S, MINUTE_S = 3600.0, 60.0
_HEIGHT = 230


class Step(NamedTuple):
    """An epoch that improved on all before it."""

    epochs: int
    """Finished epochs of all trials at that time."""
    seconds: float
    """Seconds since the search began."""
    value: float
    skill: float
    trial: int
    epoch: int


class Progress(NamedTuple):
    """The improvements of the best result."""

    steps: list[Step]
    epochs: int
    """Epochs of all trials."""
    seconds: float
    """Seconds from the start to the last epoch."""
    is_wall_clock: bool
    """Whether seconds are wall-clock time; else they are summed training time."""


def progress(facts: Facts) -> Progress:
    """Return the improvements over all epochs in order of recording, without failed trials."""
    rows = [row for trial in facts.trials for row in trial.rows]
    rows.sort(key=itemgetter("order"))
    times, is_wall_clock = _times(rows)
    orders = [row["order"] for row in rows]
    steps = []
    for each in improvements(facts.trials):
        count = bisect_right(orders, each.order)
        scores = (facts.space.metric.sign * each.objective, each.skill)
        steps.append(Step(count, times[count - 1], *scores, each.trial, each.epoch))
    return Progress(steps, len(rows), max(times, default=0.0), is_wall_clock)


def _times(rows: Sequence[EpochRow]) -> tuple[list[float], bool]:
    """When each epoch ended, in seconds since the first began; else summed training time."""
    if rows and all("recorded_at" in row for row in rows):
        began = min(row["recorded_at"] - row["seconds"] for row in rows)
        return [row["recorded_at"] - began for row in rows], True
    times, total = [], 0.0
    for row in rows:
        total += row["seconds"]
        times.append(total)
    return times, False


def best_over_epochs(facts: Facts) -> Figure:
    """Plot the best result so far over the epochs of all trials."""
    key, title = "best-epochs", "Best so far, over epochs"
    curve = progress(facts)
    if not curve.steps:
        return Figure(key, title, "No trial has a result yet.")
    canvas = Canvas(key, _HEIGHT)
    _staircase(canvas, facts, curve, [step.epochs for step in curve.steps], curve.epochs)
    canvas.label_axes("epochs of all trials", facts.metric)
    last = curve.steps[-1]
    verb = "fell" if _falls(facts) else "rose"
    summary = (
        f"{facts.metric} of the best trial so far {verb} from {curve.steps[0].value:.4g} to "
        f"{last.value:.4g} in {count_noun(len(curve.steps), 'step')}, the last "
        f"after {last.epochs} of {count_noun(curve.epochs, 'epoch')}: {_since_last_step(curve)}."
    )
    return Figure(key, title, summary, canvas, _steps_table(curve, facts))


def _falls(facts: Facts) -> bool:
    return facts.space.metric.direction == "min"


def _since_last_step(curve: Progress) -> str:
    after = curve.epochs - curve.steps[-1].epochs
    if not after:
        return "it was the last"
    return f"{count_noun(after, 'epoch')} since then without improvement"


def best_over_time(facts: Facts) -> Figure:
    """Plot the best result so far over hours, or minutes if it is short."""
    key, title = "best-time", "Best so far, over time"
    curve = progress(facts)
    if not curve.steps:
        return Figure(key, title, "No trial has a result yet.")
    unit, name = (HOUR_S, "hours") if curve.seconds > HOUR_S else (MINUTE_S, "minutes")
    canvas = Canvas(key, _HEIGHT)
    positions = [step.seconds / unit for step in curve.steps]
    _staircase(canvas, facts, curve, positions, curve.seconds / unit)
    since = "since the search began" if curve.is_wall_clock else "of training"
    canvas.label_axes(f"{name} {since}", facts.metric)
    last = curve.steps[-1]
    how = (
        "Time is wall-clock time, including pauses between launches."
        if curve.is_wall_clock
        else "The record has no timestamps, so time is the sum of the epochs' durations."
    )
    summary = (
        f"The best, {facts.metric} {last.value:.4g}, was found {format_clock(last.seconds)} "
        f"{since}, of {format_clock(curve.seconds)} in all. {how}"
    )
    return Figure(key, title, summary, canvas, _steps_table(curve, facts))


def _staircase(
    canvas: Canvas, facts: Facts, curve: Progress, positions: Sequence[float], end: float
) -> None:
    values = [step.value for step in curve.steps]
    axes = canvas.axes
    axes.step([*positions, end], [*values, values[-1]], where="post", color=BLUE, lw=1.8)
    points = axes.scatter(positions, values, s=22, color=ORANGE, zorder=3, clip_on=False)
    canvas.add_tooltip(points, *(_step_tooltip(step, facts) for step in curve.steps))
    axes.set_xlim(left=0)


def _step_tooltip(step: Step, facts: Facts) -> Tooltip:
    lines = [
        f"{facts.metric} {step.value:.4g}, {facts.skill_name} {step.skill:.3f}",
        f"trial {step.trial}, epoch {step.epoch}",
        f"after {count_noun(step.epochs, 'epoch')}, {format_clock(step.seconds)}",
    ]
    return Tooltip("\n".join(lines), step.trial)


def _steps_table(curve: Progress, facts: Facts) -> Table:
    columns = ["after epochs", "after time", facts.metric, facts.skill_name, "trial", "epoch"]
    rows = [
        [step.epochs, format_clock(step.seconds), step.value, step.skill, step.trial, step.epoch]
        for step in curve.steps
    ]
    return table(columns, rows)
