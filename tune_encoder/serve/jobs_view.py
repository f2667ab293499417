"""What shows the commands that were started on the page, and their output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nicegui import ui

from tune_encoder.serve.frame import text
from tune_encoder.serve.jobs import Jobs, describe_job


class JobSeen(NamedTuple):
    """A command, and what it has written so far."""

    action: str
    is_running: bool
    lines: list[str]


@dataclass
class _Shown:
    place: ui.expansion
    output: ui.label

    def show(self, job: JobSeen) -> None:
        title = f"{job.action}: {describe_job(job.is_running, job.lines)}"
        if self.place.text != title:
            self.place.set_text(title)
        self.output.set_text("\n".join(job.lines))


class JobsView:
    """The newest of each command of an experiment, with the end of its output."""

    def __init__(self, jobs: Jobs, name: str) -> None:
        self._jobs, self._name = jobs, name
        self._shown: dict[str, _Shown] = {}
        self._place = ui.element("div").classes("jobs")

    def look(self) -> list[JobSeen]:
        """Read what they have written, in any thread."""
        jobs = self._jobs.of(self._name)
        return [JobSeen(job.action, job.is_running, job.lines()) for job in jobs]

    def show(self, jobs: Sequence[JobSeen]) -> None:
        """Show them as they were seen."""
        for job in jobs:
            if job.action not in self._shown:
                self._shown[job.action] = self._add(job)
            self._shown[job.action].show(job)

    def _add(self, job: JobSeen) -> _Shown:
        with self._place, ui.expansion(value=job.is_running).classes("job") as place:
            return _Shown(place, text("", "output"))
