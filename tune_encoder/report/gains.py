"""What the next trial was expected to gain, beside the noise, over the epochs of a search."""

from collections.abc import Sequence

from tune_encoder.experiment.gain import ExpectedGain, hours_per_trial, read_gains
from tune_encoder.report.drawing import BLUE, GREY, Canvas
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table
from tune_encoder.system.formats import count_noun, format_clock

_HEIGHT = 230


def expected_gains(facts: Facts) -> list[Figure]:
    """Plot gain and noise, and the gain of an hour; nothing if a search does not end at noise."""
    gains, hours = read_gains(facts.experiment), hours_per_trial(facts.trials)
    if not gains:
        return []
    return [
        _gain_and_noise(gains, facts),
        *([_gain_per_hour(gains, hours, facts)] if hours else []),
    ]


def _gain_and_noise(gains: Sequence[ExpectedGain], facts: Facts) -> Figure:
    key, title = "gains", "Expected gain of the next trial"
    canvas = Canvas(key, _HEIGHT)
    epochs = [each.epochs for each in gains]
    for name, colour in (("gain", BLUE), ("noise", GREY)):
        values = [getattr(each, name) for each in gains]
        canvas.axes.plot(epochs, values, color=colour, lw=1.8, marker=".", label=name)
    canvas.axes.set_ylim(bottom=0)
    canvas.label_axes("epochs of all trials", facts.metric)
    canvas.legend(canvas.axes.lines)
    rows = [[each.trials, each.epochs, each.gain, each.noise] for each in gains]
    columns = ["trials", "epochs", "expected gain", "noise"]
    return Figure(key, title, _summary(gains, facts), canvas, table(columns, rows))


def _gain_per_hour(gains: Sequence[ExpectedGain], hours: float, facts: Facts) -> Figure:
    key, title = "gains_per_hour", "Expected gain of a further hour"
    canvas = Canvas(key, _HEIGHT)
    epochs, rates = [each.epochs for each in gains], [each.gain / hours for each in gains]
    canvas.axes.plot(epochs, rates, color=BLUE, lw=1.8, marker=".")
    canvas.axes.set_ylim(bottom=0)
    canvas.label_axes("epochs of all trials", f"{facts.metric} per hour")
    summary = (
        f"An hour of one worker was expected to improve {facts.metric} by {rates[0]:.2g} at first "
        f"and by {rates[-1]:.2g} at last, as a trial takes {format_clock(hours * 3600)} on average."
    )
    rows = [[*pair] for pair in zip(epochs, rates, strict=True)]
    return Figure(key, title, summary, canvas, table(["epochs", "gain per hour"], rows))


def _summary(gains: Sequence[ExpectedGain], facts: Facts) -> str:
    last = gains[-1]
    compared = "less than" if last.is_noise else "at least"
    return (
        f"After {count_noun(last.trials, 'trial')} another one was expected to improve "
        f"{facts.metric} by {last.gain:.2g}, {compared} the noise of {last.noise:.2g}."
    )
