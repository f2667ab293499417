"""The figures of the report one by one, by name, as matplotlib figures for a notebook."""

from collections.abc import Callable

from tune_encoder.errors import ConfigError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.report.curves import learning_curves
from tune_encoder.report.drawing import NotebookFigure
from tune_encoder.report.facts import Facts, read_facts
from tune_encoder.report.figure import Figure
from tune_encoder.report.front import front
from tune_encoder.report.gains import expected_gains
from tune_encoder.report.importances import importance_bars
from tune_encoder.report.parallel import parallel_coordinates
from tune_encoder.report.progress import best_over_epochs, best_over_time
from tune_encoder.report.rungs import rung_bars
from tune_encoder.report.slices import stacked_slices
from tune_encoder.report.timeline import timeline


def plot(experiment: Experiment, name: str) -> NotebookFigure:
    """Draw a figure of the report; `PLOTS` has their names.

    Raises:
        ConfigError: if there is no figure of that name, or nothing to draw in it yet.
        StorageError: if the record cannot be read.
    """
    if name not in PLOTS:
        raise ConfigError(f"there is no plot {name!r}; the plots are {', '.join(PLOTS)}")
    drawn = PLOTS[name](read_facts(experiment))
    if drawn.canvas is None:
        raise ConfigError(f"{experiment.path}: no plot {name!r}: {drawn.summary}")
    return drawn.canvas.figure()


def _front(facts: Facts) -> Figure:
    if facts.space.metric.second is None:
        return Figure("front", "", "The search has one metric.")
    return front(facts)


def _gains(facts: Facts) -> Figure:
    reason = "The search does not end at the noise (until), so none was recorded."
    return next(iter(expected_gains(facts)), Figure("gains", "", reason))


PLOTS: dict[str, Callable[[Facts], Figure]] = {
    "curves": learning_curves,
    "best_over_epochs": best_over_epochs,
    "best_over_time": best_over_time,
    "gains": _gains,
    "front": _front,
    "importance": importance_bars,
    "parallel": parallel_coordinates,
    "slices": stacked_slices,
    "rungs": rung_bars,
    "timeline": timeline,
}
"""The figures by their names."""
