"""The live chart of the learning curves. It changes at every epoch, so each curve is kept."""

import operator
from typing import NamedTuple

from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.curves import needs_log_scale, thin_rows
from tune_encoder.report.facts import Facts, describe_trial, sample_for_plot
from tune_encoder.serve.charts import (
    BEST,
    LINE,
    Options,
    chart,
    empty,
    short,
    state_color,
    tooltip,
)
from tune_encoder.space import SearchSpace
from tune_encoder.space.plan import rung_epochs


class Curve(NamedTuple):
    """The curve of a trial, and what it was drawn from."""

    drawn_from: tuple[TrialRecord, SearchSpace, str, bool]
    """The trial, the space, the trial's status, and whether it is the best."""
    series: Options
    bounds: tuple[float, float]
    """Lowest and highest value."""


def learning_curves(facts: Facts, known: dict[int, Curve]) -> Options:
    """Draw every trial's metric over its epochs, and the rungs.

    Args:
        facts: The search.
        known: The curves of the time before by the trial's number, of which those stay whose trial
            is the same object; updated.
    """
    chosen, _ = sample_for_plot([trial for trial in facts.trials if trial.rows])
    if not chosen:
        return empty("No epoch has been finished yet.")
    curves = {trial.number: _curve(facts, trial, known.get(trial.number)) for trial in chosen}
    known.clear()
    known.update(curves)
    log = needs_log_scale(facts, [value for curve in curves.values() for value in curve.bounds])
    return chart(
        {"name": "epoch", "minInterval": 1, "min": 1},
        {"name": facts.metric, "type": "log" if log else "value"},
        [_rungs(facts), *(curve.series for curve in curves.values())],
        tooltip=tooltip(f"{{a}}\nepoch and {facts.metric}: {{c}}"),
    )


def _curve(facts: Facts, trial: TrialRecord, known: Curve | None) -> Curve:
    status, is_best = facts.status_of(trial), trial is facts.best
    drawn_from = (trial, facts.space, status, is_best)
    if known is not None and all(map(operator.is_, known.drawn_from, drawn_from)):
        return known
    values = [facts.value(row) for row in trial.rows]
    series = _series(facts, trial, status, is_best)
    return Curve(drawn_from, series, (min(values), max(values)))


def _series(facts: Facts, trial: TrialRecord, status: str, is_best: bool) -> Options:
    color = BEST if is_best else state_color(status)
    points = [[row["epoch"], short(facts.value(row))] for row in thin_rows(trial.rows)]
    # Marks answer the pointer, and only the last one is seen: a stopped curve ends there.
    end = {"value": points[-1], "itemStyle": {"opacity": 1}, "symbolSize": 5}
    width, opacity = (2.6, 1.0) if is_best else (1.2, 0.75)
    return {
        "id": f"trial-{trial.number}",
        "name": describe_trial(facts, trial),
        "type": "line",
        "data": [*points[:-1], end],
        "symbol": "circle",
        "symbolSize": 8,
        "itemStyle": {"color": color, "opacity": 0},
        "lineStyle": {"color": color, "width": width, "opacity": opacity},
        "emphasis": {"focus": "series", "lineStyle": {"width": 3}},
        "z": 3 if is_best else 2,
    }


def _rungs(facts: Facts) -> Options:
    lines = [{"xAxis": epoch, "name": f"rung: epoch {epoch}"} for epoch in rung_epochs(facts.space)]
    style = {"color": LINE, "type": "dashed"}
    label = {"show": False}
    mark = {"symbol": "none", "data": lines, "lineStyle": style, "label": label, "silent": True}
    return {"id": "rungs", "type": "line", "data": [], "markLine": mark}
