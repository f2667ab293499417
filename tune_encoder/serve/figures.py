"""The figures of the report as live charts: their options, from the same data.

Imported when the first experiment is shown: the data come from modules that load matplotlib.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tune_encoder.experiment.findings import bound_reached
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.curves import needs_log_scale
from tune_encoder.report.facts import Facts, describe_trial, sample_for_plot
from tune_encoder.report.palette import BLUE, PALE
from tune_encoder.report.progress import HOUR_S, MINUTE_S, Progress, Step, progress
from tune_encoder.report.timeline import MAX_LANES, TrialSpan, lanes, trial_spans, workers
from tune_encoder.serve.charts import (
    BEST,
    LINE,
    TEXT,
    Options,
    base,
    category_axis,
    chart,
    empty,
    labels,
    short,
    state_color,
    tooltip,
)
from tune_encoder.serve.learning_curves import Curve, learning_curves
from tune_encoder.space import Parameter
from tune_encoder.system.formats import count_noun, format_clock, format_short

Draw = Callable[[Facts], Options]

_LETTER, _NAME_GAP = 7.5, 24  # pixels of a letter of an axis' name, and beside the name
_NO_RESULT = "No trial has a result yet."
_RANKS = ["#5d7ea8", "#7f8f8a", "#c0a24f", "#e69f00"]  # of trials, from the worst to the best


def figures(facts: Facts, curves: dict[int, Curve]) -> Mapping[str, Draw]:
    """Return the functions that draw the figures of a search, by key, in the order of the page.

    Args:
        facts: The search.
        curves: What `learning_curves` keeps of the time before.
    """
    found: dict[str, Draw] = {
        "curves": partial(learning_curves, known=curves),
        "best-epochs": partial(best_so_far, over="epochs"),
        "best-time": partial(best_so_far, over="time"),
        "parallel": parallel_coordinates,
        "timeline": timeline,
    }
    for parameter in facts.space.parameters:
        found[f"slice-{parameter.name}"] = partial(slice_plot, parameter=parameter)
    return found


# --- progress ------------------------------------------------------------------------------------


def best_so_far(facts: Facts, over: str) -> Options:
    """Draw the best result so far over the epochs of all trials, or over time."""
    curve = progress(facts)
    if not curve.steps:
        return empty(_NO_RESULT)
    unit, name = (HOUR_S, "hours") if curve.seconds > HOUR_S else (MINUTE_S, "minutes")
    since = "since the search began" if curve.is_wall_clock else "of training"
    label = "epochs of all trials" if over == "epochs" else f"{name} {since}"
    series = {
        **_steps(facts, curve, unit, over),
        "lineStyle": {"color": BLUE, "width": 2},
        "itemStyle": {"color": BEST},
    }
    return chart({"name": label, "min": 0}, {"name": facts.metric}, [series])


def _steps(facts: Facts, curve: Progress, unit: float, over: str) -> Options:
    end = curve.epochs if over == "epochs" else curve.seconds / unit
    points = [
        {
            "value": [s.epochs if over == "epochs" else short(s.seconds / unit), short(s.value)],
            "name": _step_words(facts, s),
        }
        for s in curve.steps
    ]
    last = {
        "value": [short(end), short(curve.steps[-1].value)],
        "name": "now",
        "symbolSize": 0,
    }
    return {"id": "best", "type": "line", "step": "end", "data": [*points, last], "symbolSize": 7}


def _step_words(facts: Facts, step: Step) -> str:
    return (
        f"trial {step.trial}, epoch {step.epoch}\n{facts.metric} {step.value:.4g}, "
        f"{facts.skill_name} {step.skill:.3f}\n"
        f"after {count_noun(step.epochs, 'epoch')}, {format_clock(step.seconds)}"
    )


def compared_curves(searches: Sequence[Facts]) -> Options:
    """Draw the best skill so far of several searches over their epochs."""
    curves = [(facts, progress(facts)) for facts in searches]
    if not any(curve.steps for _, curve in curves):
        return empty("None of these searches has a result yet.")
    series = [_compared(facts, curve) for facts, curve in curves if curve.steps]
    names = [facts.experiment.name for facts in searches]
    return chart(
        {"name": "epochs of all trials", "min": 0},
        {"name": f"best {searches[0].skill_name} so far"},
        series,
        legend={"data": names, "textStyle": {"color": TEXT}, "left": 0, "top": 0},
        grid={"left": 12, "right": 24, "top": 64, "bottom": 34, "containLabel": True},
        tooltip=tooltip("{a}\nepochs and skill: {c}"),
    )


def _compared(facts: Facts, curve: Progress) -> Options:
    points = [[step.epochs, short(step.skill)] for step in curve.steps]
    name = facts.experiment.name
    end = [curve.epochs, points[-1][1]]
    return {"id": name, "name": name, "type": "line", "step": "end", "data": [*points, end]}


# --- settings ------------------------------------------------------------------------------------


def parallel_coordinates(facts: Facts) -> Options:
    """Draw each trial as a line through its settings, down to its score; axes can be brushed."""
    parameters = facts.space.parameters
    if not facts.scored or not parameters:
        return empty(_NO_RESULT)
    chosen, _ = sample_for_plot(facts.scored)
    n = len(parameters)
    last = {"dim": n, "name": facts.metric, "type": "value", "scale": True}
    axes = [*(_parallel_axis(i, p) for i, p in enumerate(parameters)), last | _SIDE]
    left = _NAME_GAP + _LETTER * max(len(axis["name"]) for axis in axes)
    return {
        **base(),
        "parallel": {"layout": "vertical", "left": left, "right": 44, "top": 16, "bottom": 30},
        "parallelAxis": axes,
        "visualMap": {
            "show": False,
            "dimension": n + 1,
            "min": 0,
            "max": max(1, len(chosen) - 1),
            "inRange": {"color": _RANKS},
        },
        "series": [
            {
                "id": "trials",
                "type": "parallel",
                "data": [_line(facts, trial, rank) for rank, trial in enumerate(chosen)],
                "lineStyle": {"width": 1.2, "opacity": 0.7},
                "inactiveOpacity": 0.03,
                "activeOpacity": 1,
                "realtime": True,
            }
        ],
    }


_SIDE: Options = {
    "nameLocation": "start",
    "nameTextStyle": {"color": TEXT},
    "axisLabel": labels(),
    "axisLine": {"lineStyle": {"color": LINE}},
    "areaSelectStyle": {"width": 16, "color": BLUE, "opacity": 0.25, "borderColor": BLUE},
}


def _parallel_axis(dimension: int, parameter: Parameter) -> Options:
    own = {"dim": dimension, "name": parameter.name, **_SIDE}
    if parameter.kind == "choice":
        return {**own, "type": "category", "data": [format_short(v) for v in parameter.values]}
    low, high = parameter.bounds
    if parameter.log:
        return {**own, "type": "log", "min": low, "max": high}
    quarter = (high - low) / 4
    interval = max(1, round(quarter)) if parameter.kind == "int" else short(quarter)
    return {**own, "type": "value", "min": low, "max": high, "interval": interval}


def _line(facts: Facts, trial: TrialRecord, rank: int) -> Options:
    assert trial.best is not None
    searched = facts.searched(trial)
    values = [
        format_short(searched.get(p.name, "-")) if p.kind == "choice" else searched.get(p.name, "-")
        for p in facts.space.parameters
    ]
    value = [*values, short(facts.value(trial.best)), rank]
    style = {"lineStyle": {"width": 3, "opacity": 1}} if trial is facts.best else {}
    return {"value": value, "name": describe_trial(facts, trial), **style}


def slice_plot(facts: Facts, parameter: Parameter) -> Options:
    """Draw the best metric of every trial over one setting's value."""
    name = parameter.name
    chosen, _ = sample_for_plot([t for t in facts.scored if name in facts.searched(t)])
    if not chosen:
        return empty("No trial with this setting has a result yet.")
    log = needs_log_scale(facts, [facts.value(trial.best) for trial in chosen if trial.best])
    points = [_point(facts, trial, parameter) for trial in chosen]
    end = bound_reached(parameter, facts.searched(facts.best)) if facts.best else ""
    series = {"id": "trials", "type": "scatter", "symbolSize": 7, "data": points}
    return chart(
        {"name": f"at the {end} bound: widen the range" if end else "", **_value_axis(parameter)},
        {"name": facts.metric, "type": "log" if log else "value"},
        [{**series, **({"markArea": _bound(parameter, end)} if end else {})}],
    )


# The range has a margin on both sides, whose ends are no values of interest.
_NO_ENDS: Options = {"axisLabel": labels(showMinLabel=False, showMaxLabel=False)}


def _value_axis(parameter: Parameter) -> Options:
    if parameter.kind == "choice":
        # Points of one value are spread, so that they do not hide each other.
        return {**category_axis([format_short(v) for v in parameter.values]), "jitter": 40}
    low, high = parameter.bounds
    if parameter.log:
        more, ticks = (high / low) ** 0.06, _log_ticks(low, high)
        return {
            "type": "log",
            "min": short(low / more),
            "max": short(high * more),
            "axisLabel": labels(customValues=ticks),
            "axisTick": {"customValues": ticks, "lineStyle": {"color": LINE}},
        }
    more = 0.06 * (high - low)
    whole = {"minInterval": 1} if parameter.kind == "int" else {}
    return {"min": short(low - more), "max": short(high + more), **whole, **_NO_ENDS}


def _log_ticks(low: float, high: float) -> list[float]:
    """Both bounds and the powers of ten between them; a narrow range has none."""
    powers = range(math.floor(math.log10(low)) + 1, math.ceil(math.log10(high)))
    return [low, *(float(f"1e{power}") for power in powers), high]


def _point(facts: Facts, trial: TrialRecord, parameter: Parameter) -> Options:
    assert trial.best is not None
    value = trial.settings[parameter.name]
    is_best = trial is facts.best
    color = BEST if is_best else state_color(facts.status_of(trial))
    return {
        "value": [
            format_short(value) if parameter.kind == "choice" else value,
            short(facts.value(trial.best)),
        ],
        "name": describe_trial(facts, trial),
        "itemStyle": {"color": color, "opacity": 0.85},
        **({"symbolSize": 14} if is_best else {}),
    }


def _bound(parameter: Parameter, end: str) -> Options:
    low, high = parameter.bounds
    span = [{}, {"xAxis": low}] if end == "lower" else [{"xAxis": high}, {}]
    return {"silent": True, "itemStyle": {"color": PALE, "opacity": 0.35}, "data": [span]}


# --- workers -------------------------------------------------------------------------------------


def timeline(facts: Facts) -> Options:
    """Draw which trial each worker trained when."""
    spans = trial_spans(facts.trials)
    if not spans:
        return empty("The record has no workers or times of epochs.")
    all_workers = workers(spans)
    lane = {name: i for name, i in lanes(all_workers).items() if i < MAX_LANES}
    last = max(worker.end for worker in all_workers)
    unit, name = (HOUR_S, "hours") if last > HOUR_S else (MINUTE_S, "minutes")
    trials = {trial.number: trial for trial in facts.trials}
    bars = [
        _bar(facts, each, trials[each.trial], lane[each.worker], unit)
        for each in spans
        if each.worker in lane
    ]
    names = [f"worker {i + 1}" for i in range(1 + max(lane.values()))]
    return chart(
        {
            "name": f"{name} since the first epoch began",
            "min": 0,
            "max": short(1.02 * last / unit),
            "axisLabel": labels(showMaxLabel=False),
        },
        {**category_axis(names), "inverse": True},
        [{"id": "spans", "type": "lines", "coordinateSystem": "cartesian2d", "data": bars}],
    )


def _bar(facts: Facts, each: TrialSpan, trial: TrialRecord, lane: int, unit: float) -> Options:
    color = BEST if trial is facts.best else state_color(facts.status_of(trial))
    first, last = each.epochs
    epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    start, end, busy = map(format_clock, (each.start, each.end, each.busy))
    return {
        "coords": [[short(each.start / unit), lane], [short(each.end / unit), lane]],
        "name": f"trial {each.trial}, {facts.status_of(trial)}: {epochs}\n"
        f"{start} to {end}, {busy} of it training\n{each.worker}",
        "lineStyle": {"color": color, "width": 14, "opacity": 0.9},
    }
