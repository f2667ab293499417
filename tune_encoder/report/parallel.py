"""Parallel coordinates of all settings; the axes are stacked vertically, for phones."""

from collections.abc import Sequence

import matplotlib

from tune_encoder.experiment.findings import position_in_range
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.drawing import ORANGE, Canvas, Tooltip
from tune_encoder.report.facts import Facts, describe_trial, sample_for_plot
from tune_encoder.report.figure import Figure
from tune_encoder.space import Parameter
from tune_encoder.system.formats import count_noun, format_short

_AXIS_HEIGHT = 44
_NOT_SEARCHED = -0.12  # position on an axis of a trial without that setting
_COLORS = "cividis"  # from dark to light, also in greyscale


def parallel_coordinates(facts: Facts) -> Figure:
    """Plot each trial as a line through its settings' values, down to its score."""
    key, title = "parallel", "Parallel coordinates"
    scored = facts.scored
    parameters = facts.space.parameters
    if not scored or not parameters:
        return Figure(key, title, "No trial has a result yet.")
    chosen, note = sample_for_plot(scored)
    values = [facts.value(trial.best) for trial in chosen if trial.best]
    canvas = Canvas(key, height=8 + _AXIS_HEIGHT * (len(parameters) + 1))
    for rank, (trial, value) in enumerate(zip(chosen, values, strict=True)):
        _trial_line(
            canvas, facts, trial, _positions(facts, trial, value, values), rank / len(chosen)
        )
    for i, parameter in enumerate(parameters):
        _axis(canvas, i, parameter.name, _labels(parameter))
    worst, best = values[0], values[-1]
    ends = [(0, format_short(worst)), (1, format_short(best))]
    _axis(canvas, len(parameters), facts.metric, ends)
    left = _NOT_SEARCHED - 0.03 if _any_missing(facts, chosen) else -0.03
    canvas.axes.set(xlim=(left, 1.03), ylim=(len(parameters) + 0.55, -0.55))
    canvas.hide_axes()
    missing = (
        " Trials in which a setting was not searched are at the far left."
        if _any_missing(facts, chosen)
        else ""
    )
    summary = (
        f"Each of {count_noun(len(chosen), 'line')} is a trial, from its settings at the top to "
        f"its {facts.metric} at the bottom, better to the right. Lighter lines are better; the "
        f"thick one is the best.{missing}{note}"
    )
    return Figure(key, title, summary, canvas)


def _any_missing(facts: Facts, trials: Sequence[TrialRecord]) -> bool:
    n = len(facts.space.parameters)
    return any(len(facts.searched(trial)) < n for trial in trials)


def _positions(
    facts: Facts, trial: TrialRecord, value: float, values: Sequence[float]
) -> list[float]:
    """A trial's position on each axis, from 0 to 1, or left of it."""
    searched = facts.searched(trial)
    positions = [
        position_in_range(p, searched[p.name]) if p.name in searched else _NOT_SEARCHED
        for p in facts.space.parameters
    ]
    worst, best = values[0], values[-1]
    return [*positions, (value - worst) / (best - worst) if best != worst else 1.0]


def _trial_line(
    canvas: Canvas, facts: Facts, trial: TrialRecord, positions: list[float], rank: float
) -> None:
    is_best = trial is facts.best
    color = ORANGE if is_best else matplotlib.colormaps[_COLORS](rank)
    width, opacity, order = (2.4, 1.0, 3) if is_best else (0.9, 0.6, 2)
    (line,) = canvas.axes.plot(
        positions, range(len(positions)), color=color, lw=width, alpha=opacity, zorder=order
    )
    assert trial.best is not None
    canvas.add_tooltip(line, Tooltip(describe_trial(facts, trial), trial.number))


def _axis(canvas: Canvas, row: int, name: str, labels: Sequence[tuple[float, str]]) -> None:
    canvas.axes.plot([0, 1], [row, row], color="#555555", lw=1.0, zorder=4)
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    canvas.axes.text(
        0, row - 0.1, name, ha="left", va="bottom", weight="bold", size=11, bbox=paper, zorder=5
    )
    for at, text in labels:
        ha = "left" if at == 0 else "right" if at == 1 else "center"
        canvas.axes.plot([at], [row], color="#555555", marker="|", ms=6, zorder=4)
        canvas.axes.text(
            at, row + 0.12, text, ha=ha, va="top", bbox=paper, zorder=5, size=10.5, color="#444444"
        )


def _labels(parameter: Parameter) -> list[tuple[float, str]]:
    return [
        (position_in_range(parameter, value), format_short(value)) for value in parameter.values
    ]
