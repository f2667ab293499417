"""Live views of a search: in a notebook, on a terminal, or as lines in a log.

They only read; whoever interrupts one stops the view and not the search.
"""

import codecs
import html
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tune_encoder.api.jobs.jobs import Job
from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.folder import Experiment, open_experiment
from tune_encoder.experiment.next_steps import WATCH, step_lines
from tune_encoder.experiment.run_status import RUNNING, retraining_line
from tune_encoder.experiment.status import (
    WIDTH,
    format_counts,
    format_score,
    format_state,
    status_lines,
)
from tune_encoder.experiment.views import ExperimentStatus, status

REFRESH_S = 2.0


class Frame(NamedTuple):
    """What a live view shows at a time."""

    line: str
    """In a log."""
    lines: list[str]
    """On a terminal."""
    html: Callable[[], str]
    """In a notebook."""


def show(frames: Iterator[Frame]) -> None:
    """Show each frame in place of the one before, in a notebook or on a terminal; else its line.

    Raises:
        KeyboardInterrupt: on Ctrl-C, or where a notebook is interrupted.
    """
    if is_notebook():
        _show_in_notebook(frames)
    elif sys.stdout.isatty():
        _show_on_terminal(frames)
    else:
        _print_changes(frames)


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _show_in_notebook(frames: Iterator[Frame]) -> None:
    from IPython.display import DisplayHandle

    view = DisplayHandle()
    first = next(frames)
    view.display({"text/html": first.html(), "text/plain": first.line}, raw=True)
    for frame in frames:
        view.update({"text/html": frame.html(), "text/plain": frame.line}, raw=True)


def _show_on_terminal(frames: Iterator[Frame]) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(width=WIDTH, highlight=False), auto_refresh=False) as live:
        for frame in frames:
            live.update(Text("\n".join(frame.lines)), refresh=True)


def _print_changes(frames: Iterator[Frame]) -> None:
    printed = None
    for frame in frames:
        if frame.line != printed:
            sys.stdout.write(f"{frame.line}\n")
            sys.stdout.flush()
            printed = frame.line


# --- a search ------------------------------------------------------------------------------------


def search_frames(experiment: Experiment) -> Iterator[Frame]:
    """Return the view of a search every few seconds, for the last time when it has ended."""
    # Asked now, before a live view replaces standard output.
    return _search_frames(experiment, is_unicode())


def _search_frames(experiment: Experiment, unicode: bool) -> Iterator[Frame]:
    box = _Box(experiment)
    while True:
        view = status(experiment)
        yield _search_frame(view, box, unicode)
        if view["state"] != RUNNING:
            return
        time.sleep(REFRESH_S)


def _search_frame(view: ExperimentStatus, box: "_Box", unicode: bool) -> Frame:
    score = f", best {format_score(view['best'])}" if view["best"] else ""
    line = f"{view['name']}: {view['state']}, {format_counts(view)}{score}"
    return Frame(line, experiment_lines(view, unicode, is_watched=True), lambda: box.draw(view))


class _Box:
    """The HTML of a search, whose curves are drawn again only after another epoch."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._drawn = (-1, "")
        self._details = ""

    def draw(self, view: ExperimentStatus) -> str:
        """Return the HTML of a status."""
        from tune_encoder.api.shown import box, details, headline

        now = (view["epochs"], view["state"])
        if now != self._drawn:
            self._drawn = now
            self._details = details(self._experiment, view["state"] == RUNNING)
        return box(headline(view) + self._details)


def is_unicode() -> bool:
    """Whether standard output can show block characters."""
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name == "utf-8"


def experiment_lines(view: ExperimentStatus, unicode: bool, is_watched: bool = False) -> list[str]:
    """Format the status of an experiment, and what to do next, in lines of at most 80 columns.

    Args:
        view: Its status.
        unicode: Whether block characters can be shown.
        is_watched: Whether it is watched already, which is then not to be done next.
    """
    state = format_state(view["state"], view["process"], host=True)
    lines = [f"{view['name']}: {state}", *status_lines(view, unicode)]
    if (expected := view["expected"]) is not None:
        gain, noise = (f"{expected[name]:.2g}" for name in ("gain", "noise"))
        lines.append(f"next    is expected to gain {gain}, with a noise of {noise}")
        if "gain_per_hour" in expected:
            lines.append(f"        that is {expected['gain_per_hour']:.2g} an hour of a worker")
    lines += map(retraining_line, view["retraining"])
    steps = step_lines(
        [step for step in view["next"] if not (is_watched and step["does"] == WATCH)]
    )
    return [*lines, "", *steps] if steps else lines


# --- a submitted search --------------------------------------------------------------------------


def job_frames(find: Callable[[], Job]) -> Iterator[Frame]:
    """Return the view of a submitted search every few seconds, for the last time at its end.

    Args:
        find: Returns its newest launch.
    """
    return _job_frames(find, is_unicode())


def _job_frames(find: Callable[[], Job], unicode: bool) -> Iterator[Frame]:
    box: _Box | None = None
    while True:
        job = find()
        experiment = _folder_of(job)
        if experiment is not None:
            box = box or _Box(experiment)
            yield _search_frame(status(experiment), box, unicode)
        else:  # not begun, or on another machine's disk
            line = f"{job.name}: {job.state}"
            yield Frame(line, [line], lambda line=line: f"<p>{html.escape(line)}</p>")  # type: ignore[misc]
        if job.ended:
            return
        time.sleep(REFRESH_S)


def _folder_of(job: Job) -> Experiment | None:
    try:
        return open_experiment(job.root, job.name)
    except (TuneEncoderError, OSError):
        return None
