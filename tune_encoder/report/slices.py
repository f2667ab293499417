"""Slice plots: the score of every trial over each setting, with bounds that were reached."""

from collections.abc import Sequence

from matplotlib.figure import SubFigure

from tune_encoder.experiment.findings import bound_reached
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.curves import line_style, set_scale
from tune_encoder.report.drawing import (
    GREY,
    LABEL_HEIGHT,
    ORANGE,
    PALE,
    Canvas,
    Tooltip,
    integer_ticks,
    stacked,
)
from tune_encoder.report.facts import Facts, describe_trial, sample_for_plot
from tune_encoder.report.figure import Figure, table
from tune_encoder.space import Parameter
from tune_encoder.system.formats import count_noun, format_short

_HEIGHT = 200


def slices(facts: Facts) -> list[Figure]:
    """Plot for each setting the best metric of every trial over the setting's value."""
    return [_slice(facts, parameter) for parameter in facts.space.parameters]


def stacked_slices(facts: Facts) -> Figure:
    """Plot all settings below each other in one figure, each named below its axis."""
    title = "Each setting"
    if not facts.scored or not facts.space.parameters:
        return Figure("slices", title, "No trial has a result yet.")
    parameters = facts.space.parameters
    _, places = stacked([_HEIGHT + LABEL_HEIGHT] * len(parameters))
    drawn = [_slice(facts, *each) for each in zip(parameters, places, strict=True)]
    for each, parameter in zip(drawn, parameters, strict=True):
        if each.canvas is not None:
            each.canvas.label_axes(parameter.name, facts.metric)
            each.canvas.finish()
    canvas = next(each.canvas for each in drawn if each.canvas is not None)
    return Figure("slices", title, " ".join(each.summary for each in drawn), canvas)


def _slice(facts: Facts, parameter: Parameter, place: SubFigure | None = None) -> Figure:
    key, title = f"slice-{parameter.name}", parameter.name
    chosen, note = sample_for_plot([t for t in facts.scored if parameter.name in facts.searched(t)])
    if not chosen:
        return Figure(key, title, "No trial with this setting has a result yet.")
    height = _HEIGHT if place is None else _HEIGHT + LABEL_HEIGHT
    canvas = Canvas(key, height, place=place)
    _scatter(canvas, facts, parameter, chosen)
    best = facts.best
    end = bound_reached(parameter, facts.searched(best)) if best is not None else ""
    if end:
        _shade(canvas, parameter, end)
    set_scale(canvas, facts, [facts.value(trial.best) for trial in chosen if trial.best])
    canvas.label_axes("", facts.metric)
    rows = [[t.number, t.settings[parameter.name], facts.value(t.best)] for t in chosen if t.best]
    data = table(["trial", parameter.name, facts.metric], rows[::-1])
    return Figure(key, title, _summary(facts, parameter, end, len(chosen)) + note, canvas, data)


def _scatter(
    canvas: Canvas, facts: Facts, parameter: Parameter, trials: Sequence[TrialRecord]
) -> None:
    axes, n = canvas.axes, len(parameter.values)
    values = [trial.settings[parameter.name] for trial in trials]
    if parameter.kind == "choice":
        # Jitter, deterministic by the trial's number, so that points do not overlap.
        spread = [0.24 * ((7 * trial.number) % 11 - 5) / 5 for trial in trials]
        places = [parameter.values.index(v) + s for v, s in zip(values, spread, strict=True)]
        axes.set_xticks(range(n), [format_short(value) for value in parameter.values])
        axes.set_xlim(-0.6, n - 0.4)
    else:
        places = [value for value in values if isinstance(value, int | float)]
        axes.set_xscale("log" if parameter.log else "linear")
        if parameter.kind == "int" and not parameter.log:
            integer_ticks(axes.xaxis)
        axes.set_xlim(*_padded(parameter))
    colors = [ORANGE if t is facts.best else line_style(facts.status_of(t))[0] for t in trials]
    sizes = [70 if trial is facts.best else 18 for trial in trials]
    heights = [facts.value(trial.best) for trial in trials if trial.best]
    points = axes.scatter(places, heights, s=sizes, c=colors, alpha=0.8, zorder=3, clip_on=False)
    canvas.add_tooltip(
        points, *(Tooltip(describe_trial(facts, trial), trial.number) for trial in trials)
    )


def _padded(parameter: Parameter) -> tuple[float, float]:
    """The range with a margin on both sides, where a reached bound is shaded."""
    low, high = parameter.bounds
    if parameter.log:
        more = (high / low) ** 0.06
        return low / more, high * more
    more = 0.06 * (high - low)
    return low - more, high + more


def _shade(canvas: Canvas, parameter: Parameter, end: str) -> None:
    low, high = parameter.bounds
    left, right = _padded(parameter)
    span = (left, low) if end == "lower" else (high, right)
    canvas.axes.axvspan(*span, facecolor=PALE, edgecolor=GREY, hatch="////", lw=0)


def _summary(facts: Facts, parameter: Parameter, end: str, count: int) -> str:
    best = facts.best
    value = facts.searched(best).get(parameter.name) if best is not None else None
    words = (
        f"The best trial has {format_short(value)}"
        if value is not None
        else "The best trial does not use it"
    )
    span = ", ".join(format_short(each) for each in parameter.values)
    if parameter.kind != "choice":
        span = " to ".join(format_short(each) for each in parameter.values)
    hit = f" It is at the {end} bound of the range (hatched): widen the range." if end else ""
    return f"{words}; {count_noun(count, 'trial')} searched {span}.{hit}"
