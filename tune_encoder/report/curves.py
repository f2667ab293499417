"""Learning curves of all trials, with the rungs of early stopping."""

from collections import Counter
from collections.abc import Sequence

from tune_encoder.experiment.epoch_row import EpochRow, objective
from tune_encoder.experiment.status import FAILED, FINISHED, STOPPED
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.report.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Canvas,
    Tooltip,
    integer_ticks,
)
from tune_encoder.report.facts import Facts, describe_trial, sample_for_plot
from tune_encoder.report.figure import Figure, Table, table
from tune_encoder.space.plan import rung_epochs

MAX_POINTS = 100  # per curve; phones have no more pixels
LOG_SCALE_RATIO = (
    8.0  # ratio of the largest to the smallest loss above which the axis is logarithmic
)

# By the status of a trial: colour, width, opacity and dashes; any other trial is running.
_LINE_STYLES = {
    FINISHED: (BLUE, 1.2, 0.9, "-"),
    STOPPED: (GREY, 0.9, 0.55, "-"),
    FAILED: (BLACK, 1.0, 0.8, ":"),
}
_RUNNING_LINE = (GREEN, 1.2, 0.9, "--")
_END_MARKERS = {FAILED: "x", FINISHED: "o"}  # else a dot
_BEST_LINE = (ORANGE, 2.4, 1.0, "-")


def learning_curves(facts: Facts) -> Figure:
    """Plot every trial's metric over its epochs."""
    key, title = "curves", "Learning curves"
    chosen, note = sample_for_plot([trial for trial in facts.trials if trial.rows])
    if not chosen:
        return Figure(key, title, "No epoch has been finished yet.")
    canvas = Canvas(key)
    for trial in chosen:
        _curve(canvas, facts, trial)
    _rungs(canvas, facts)
    set_scale(canvas, facts, [facts.value(row) for trial in chosen for row in trial.rows])
    canvas.label_axes("epoch", facts.metric)
    integer_ticks(canvas.axes.xaxis)
    _legend(canvas, facts, chosen)
    return Figure(key, title, _summary(facts, chosen) + note, canvas, trials_table(facts))


def _curve(canvas: Canvas, facts: Facts, trial: TrialRecord) -> None:
    is_best = trial is facts.best
    color, width, opacity, dashes = _BEST_LINE if is_best else line_style(facts.status_of(trial))
    rows = thin_rows(trial.rows)
    epochs, values = [row["epoch"] for row in rows], [facts.value(row) for row in rows]
    # A marker at the end shows that a stopped curve ends there and is not hidden, and it makes a
    # single epoch visible.
    (line,) = canvas.axes.plot(
        epochs,
        values,
        color=color,
        lw=width,
        alpha=opacity,
        ls=dashes,
        zorder=3 if is_best else 2,
        marker=_END_MARKERS.get(facts.status_of(trial), "."),
        markevery=[-1],
        ms=3.5,
    )
    canvas.add_tooltip(line, Tooltip(describe_trial(facts, trial), trial.number))


def line_style(state: str) -> tuple[str, float, float, str]:
    """Return colour, width, opacity and dashes of a trial's line, by its status."""
    return _LINE_STYLES.get(state, _RUNNING_LINE)


def thin_rows(rows: Sequence[EpochRow]) -> list[EpochRow]:
    """Return about `MAX_POINTS` rows at most: every n-th, the first, the last and the best."""
    step = -(-len(rows) // MAX_POINTS)
    best = min(rows, key=objective)
    last = len(rows) - 1
    return [row for i, row in enumerate(rows) if i % step == 0 or i == last or row is best]


def _rungs(canvas: Canvas, facts: Facts) -> None:
    for epoch in rung_epochs(facts.space):
        canvas.axes.axvline(epoch, color=BLACK, lw=0.8, ls=(0, (2, 3)), alpha=0.6, zorder=1)


def set_scale(canvas: Canvas, facts: Facts, values: Sequence[float]) -> None:
    """Make the metric's axis logarithmic if its values differ by a large factor."""
    if needs_log_scale(facts, values):
        canvas.axes.set_yscale("log")


def needs_log_scale(facts: Facts, values: Sequence[float]) -> bool:
    """Whether values of the metric differ by so much that their axis has to be logarithmic."""
    falls = facts.space.metric.direction == "min"
    return falls and min(values) > 0 and max(values) / min(values) > LOG_SCALE_RATIO


def _legend(canvas: Canvas, facts: Facts, trials: Sequence[TrialRecord]) -> None:
    states = Counter(facts.status_of(trial) for trial in trials)
    entries = [("best", _BEST_LINE), *((state, line_style(state)) for state in states)]
    handles = [
        canvas.axes.plot([], [], color=color, lw=width, alpha=opacity, ls=dashes, label=name)[0]
        for name, (color, width, opacity, dashes) in entries
    ]
    if rung_epochs(facts.space):
        handles += canvas.axes.plot([], [], color=BLACK, lw=0.8, ls=(0, (2, 3)), label="rung")
    canvas.legend(handles)


def _summary(facts: Facts, chosen: Sequence[TrialRecord]) -> str:
    counts = Counter(facts.status_of(trial) for trial in facts.trials)
    parts = ", ".join(f"{count} {state}" for state, count in counts.items())
    rungs = ", ".join(map(str, rung_epochs(facts.space)))
    compared = f" Trials were compared at epoch {rungs}." if rungs else ""
    best = facts.best
    found = ""
    if best is not None and best.best is not None:
        value = facts.value(best.best)
        found = f" The best is trial {best.number}: {value:.4g} at epoch {best.best['epoch']}."
    longest = max(len(trial.rows) for trial in chosen)
    thin = ""
    if longest > MAX_POINTS:
        step = -(-longest // MAX_POINTS)
        thin = (
            f" Curves of more than {MAX_POINTS} epochs are thinned, the longest to one "
            f"epoch in {step}, plus its best and last."
        )
    return f"{facts.metric} over epochs: {parts}.{found}{compared}{thin}"


def trials_table(facts: Facts) -> Table:
    """Return all trials with their best epoch and searched settings, the best first."""
    names = [parameter.name for parameter in facts.space.parameters]
    columns = ["trial", "state", "epochs", "best epoch", facts.metric, *names]
    order = [*facts.scored, *(t for t in facts.trials if t.state == "FAIL" or t.best is None)]
    rows = []
    for trial in order:
        searched = facts.searched(trial)
        best = trial.best
        scores = (best["epoch"], facts.value(best)) if best else (None, None)
        settings = [searched.get(name) for name in names]
        rows.append([trial.number, facts.status_of(trial), len(trial.rows), *scores, *settings])
    return table(columns, rows)
