"""The two metrics of every trial, and the Pareto front between them."""

from collections.abc import Sequence

from tune_encoder.experiment.front import FrontPoint, costs, describe_front, point_of
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.drawing import GREY, ORANGE, Canvas, Tooltip
from tune_encoder.report.facts import Facts, describe_trial, sample_for_plot
from tune_encoder.report.figure import Figure, Table, table
from tune_encoder.system.formats import count_noun

_WIDE_RANGE = 10  # ratio of the highest and the lowest value, above which an axis is logarithmic


def front(facts: Facts) -> Figure:
    """Plot both metrics of each trial, those of the Pareto front joined by steps."""
    key, title = "front", "Pareto front"
    found = facts.status["front"]
    if not found:
        return Figure(key, title, "No trial has a result yet.")
    chosen, note = sample_for_plot(facts.scored)
    canvas = Canvas(key)
    first, second = facts.space.metric.names
    _set_scales(canvas, [_point(facts, trial)["values"] for trial in chosen], (second, first))
    canvas.label_axes(second, first)
    _draw_steps(canvas, found, (second, first))
    _draw_trials(canvas, facts, chosen, {each["trial"] for each in found})
    lower = [name for name in (first, second) if costs({name: 1.0}) > (0.0,)]
    better = "; ".join(
        f"{name}: {'lower' if name in lower else 'higher'} is better" for name in (first, second)
    )
    summary = (
        f"{describe_front(found)} (orange), of {count_noun(len(facts.scored), 'trial')} with a "
        f"result: no other trial is better in both metrics. {better}. "
        f"Export one with: {facts.experiment.command('export')} --trial N.{note}"
    )
    return Figure(key, title, summary, canvas, _front_table(facts, found))


def _point(facts: Facts, trial: TrialRecord) -> FrontPoint:
    assert trial.best is not None
    return point_of(facts.space, trial.number, trial.best)


def _set_scales(canvas: Canvas, points: Sequence[dict[str, float]], names: tuple[str, str]) -> None:
    for set_scale, name in zip(
        (canvas.axes.set_xscale, canvas.axes.set_yscale), names, strict=True
    ):
        values = [point[name] for point in points]
        if min(values) > 0 and max(values) > _WIDE_RANGE * min(values):
            set_scale("log")


def _draw_steps(canvas: Canvas, found: Sequence[FrontPoint], names: tuple[str, str]) -> None:
    """Draw what can be had: where one metric improves, the other stays as it is."""
    x, y = ([point["values"][name] for point in found] for name in names)
    canvas.axes.step(x, y, where="pre", color=ORANGE, lw=1.2, zorder=2)


def _draw_trials(
    canvas: Canvas, facts: Facts, trials: Sequence[TrialRecord], on_front: set[int]
) -> None:
    names = facts.space.metric.names
    y, x = ([_point(facts, trial)["values"][name] for trial in trials] for name in names)
    points = canvas.axes.scatter(
        x,
        y,
        s=[50 if trial.number in on_front else 16 for trial in trials],
        c=[ORANGE if trial.number in on_front else GREY for trial in trials],
        zorder=3,
        clip_on=False,
    )
    canvas.add_tooltip(
        points, *(Tooltip(describe_trial(facts, trial), trial.number) for trial in trials)
    )


def _front_table(facts: Facts, found: Sequence[FrontPoint]) -> Table:
    settings = {trial.number: facts.searched(trial) for trial in facts.scored}
    names = [parameter.name for parameter in facts.space.parameters]
    rows: list[list[object]] = []
    for point in found:
        own = settings[point["trial"]]
        cells = (own.get(name, "") for name in names)
        rows.append([point["trial"], point["epoch"], *point["values"].values(), *cells])
    return table(["trial", "epoch", *facts.space.metric.names, *names], rows)
