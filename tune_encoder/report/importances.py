"""The importance of each setting."""

from matplotlib.ticker import MaxNLocator, PercentFormatter

from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.importance import RELIABLE_TRIALS, importances
from tune_encoder.report.drawing import BLUE, Canvas, Tooltip
from tune_encoder.report.facts import Facts
from tune_encoder.report.figure import Figure, table
from tune_encoder.system.formats import count_noun

_BAR_HEIGHT = 26


def importance_bars(facts: Facts) -> Figure:
    """Plot the importance of each setting."""
    key, title = "importance", "Importance of settings"
    try:
        rated = importances(facts.experiment)
    except TuneEncoderError as error:
        return Figure(key, title, f"Not available: {error}.")
    names = [each.name for each in rated.settings]
    canvas = Canvas(key, 58 + _BAR_HEIGHT * len(names), names)
    for i, each in enumerate(rated.settings):
        (bar,) = canvas.axes.barh(i, each.share, height=0.6, color=BLUE)
        label = f"{each.name}: {each.share:.0%}, over {count_noun(each.n_trials, 'trial')}"
        canvas.add_tooltip(bar, Tooltip(label))
        canvas.annotate(f"{each.share:.0%}", each.share, i)
    canvas.label_axes("importance")
    canvas.axes.set_xlim(0, 1.25 * rated.settings[0].share)
    canvas.axes.xaxis.set_major_locator(MaxNLocator(4))
    canvas.axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    caveat = (
        f" With fewer than {RELIABLE_TRIALS} trials this is a rough estimate: another search might "
        "give another order."
        if rated.rough
        else ""
    )
    summary = (
        f"{names[0]} is the most important setting ({rated.settings[0].share:.0%}), by PED-ANOVA "
        f"over {rated.n_trials} ended trials: its values differ most between the better half and "
        f"all trials.{caveat}"
    )
    rows = [[each.name, f"{each.share:.1%}", each.n_trials] for each in rated.settings]
    return Figure(key, title, summary, canvas, table(["setting", "importance", "trials"], rows))
