"""What the next trial was expected to gain, beside the noise, over the epochs of a search."""

from collections.abc import Sequence

from tune_encoder.experiment.gain import ExpectedGain, read_gains
from tune_encoder.report.drawing import BLUE, GREY, Canvas
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table
from tune_encoder.system.formats import count_noun

_HEIGHT = 230


def expected_gains(facts: Facts) -> list[Figure]:
    """Plot the gain and the noise; nothing for a search that does not end at the noise."""
    gains = read_gains(facts.experiment)
    if not gains:
        return []
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
    return [Figure(key, title, _summary(gains, facts), canvas.svg(), table(columns, rows))]


def _summary(gains: Sequence[ExpectedGain], facts: Facts) -> str:
    last = gains[-1]
    compared = "less than" if last.is_noise else "at least"
    return (
        f"After {count_noun(last.trials, 'trial')} another one was expected to improve "
        f"{facts.metric} by {last.gain:.2g}, {compared} the noise of {last.noise:.2g}."
    )
