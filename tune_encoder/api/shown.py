"""Searches as a notebook shows them: the headline, the curves and the best trials, as HTML."""

import html
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import uuid4

from tune_encoder.api.jobs.jobs import Job
from tune_encoder.errors import TuneEncoderError
from tune_encoder.experiment.folder import Experiment, open_experiment
from tune_encoder.experiment.run_status import RUNNING
from tune_encoder.experiment.status import metric_value, status_lines, trial_status
from tune_encoder.experiment.trials import rank_trials
from tune_encoder.experiment.views import ExperimentStatus, status
from tune_encoder.system.formats import format_clock, format_short

if TYPE_CHECKING:
    from tune_encoder.report.figure import Figure

MAX_ROWS = 10  # trials of the table
_BOX = (  # white also where a notebook is dark, as the figures are made for paper
    "max-width:46rem;margin:0 0 .6em;padding:.8em 1em;background:#fff;color:#222;"
    "border:1px solid #ccc;border-radius:6px;font-family:sans-serif"
)
_LINES = (
    "margin:.4em 0;overflow-x:auto;background:none;color:inherit;font-size:13px;line-height:1.45"
)
_CELL = "padding:.15em .7em;text-align:left;white-space:nowrap;color:#222"


def experiment_box(experiment: Experiment, view: ExperimentStatus | None = None) -> str:
    """Return the headline, the curves and the best trials of a search as HTML.

    Args:
        experiment: The search, which may be running.
        view: Its status, if it was read already.
    """
    view = view or status(experiment)
    return box(headline(view) + details(experiment, view["state"] == RUNNING))


def box(content: str) -> str:
    """Return content that is HTML already in a box."""
    return f'<div style="{_BOX}">{content}</div>'


def headline(view: ExperimentStatus) -> str:
    """Return name, state, progress and result of a search as HTML."""
    lines = html.escape("\n".join(status_lines(view, unicode=True)))
    name, state = html.escape(view["name"]), html.escape(view["state"])
    return f'<p style="margin:0"><b>{name}</b>: {state}</p>\n<pre style="{_LINES}">{lines}</pre>\n'


def details(experiment: Experiment, is_running: bool) -> str:
    """Return the learning curves and a table of the best trials of a search as HTML."""
    return f"{_curves(experiment)}{_best_trials(experiment, is_running)}"


def _curves(experiment: Experiment) -> str:
    from tune_encoder.report.curves import learning_curves
    from tune_encoder.report.facts import read_facts

    drawn = learning_curves(read_facts(experiment))
    return "" if drawn.canvas is None else _figure(drawn)


def _figure(drawn: "Figure") -> str:
    assert drawn.canvas is not None
    # Two cells may show one search: an ID must not be twice in a page.
    svg = drawn.canvas.svg(f"{drawn.key}-{uuid4().hex[:8]}")
    words = html.escape(f"{drawn.title}. {drawn.summary}")
    return f'<div role="img" aria-label="{words}" style="max-width:36rem">{svg}</div>\n'


def _best_trials(experiment: Experiment, is_running: bool) -> str:
    space = experiment.space()
    ranked = rank_trials(experiment.trials((*space.metric.names, "val_skill")))[:MAX_ROWS]
    if not ranked:
        return ""
    names = list(dict.fromkeys((space.metric.name, "val_skill")))
    settings = [parameter.name for parameter in space.parameters]
    rows = []
    for trial in ranked:
        assert trial.best is not None
        values = [metric_value(space, trial.best), trial.best["val_skill"]][: len(names)]
        searched = space.searched_settings(trial.settings)
        cells = [searched.get(name, "") for name in settings]
        state = trial_status(trial, is_running)
        rows.append([trial.number, state, trial.best["epoch"], *map(format_short, values), *cells])
    return table(["trial", "state", "epoch", *names, *settings], rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as HTML; names and values are escaped."""
    heads = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in columns)
    lines = [
        "".join(f'<td style="{_CELL}">{html.escape(_cell(value))}</td>' for value in row)
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;font-size:13px">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    return value if isinstance(value, str) else format_short(value)


# --- submitted searches --------------------------------------------------------------------------


def jobs_box(address: str, jobs: Sequence[Job]) -> str:
    """Return the searches of a cluster as HTML, and the newest that can be read from here."""
    if not jobs:
        return box(f"<p><b>{html.escape(address)}</b>: no searches</p>")
    views = {job.name: _read(job) for job in jobs}
    rows = [_job_row(job, views[job.name]) for job in jobs]
    columns = ["name", "launch", "state", "submitted", "took", "trials ended", "skill"]
    head = f'<p style="margin:0"><b>{html.escape(address)}</b></p>\n{table(columns, rows)}'
    newest = next((job for job in reversed(jobs) if views[job.name] is not None), None)
    if newest is None:
        return box(head)
    return f"{box(head)}\n{experiment_box(open_experiment(newest.root, newest.name))}"


def _read(job: Job) -> ExperimentStatus | None:
    """Read the status of a search whose folder this machine has; None of any other."""
    try:
        return status(open_experiment(job.root, job.name))
    except (TuneEncoderError, OSError):
        return None


def _job_row(job: Job, view: ExperimentStatus | None) -> list[object]:
    began = job.started_at
    submitted = time.strftime("%Y-%m-%d %H:%M", time.localtime(began)) if began else ""
    took = format_clock((job.ended_at or time.time()) - began) if began else ""
    best = view["best"] if view else None
    result = [view["trials_ended"] if view else "", f"{best['skill']:.3f}" if best else ""]
    return [job.name, job.launch, job.state, submitted, took, *result]
