"""What shows the commands that were started on the page, and their output."""

from dataclasses import dataclass

from nicegui import ui

from tune_encoder.serve.frame import text
from tune_encoder.serve.jobs import Job, Jobs, describe_job


@dataclass
class _Shown:
    place: ui.expansion
    output: ui.label

    def show(self, job: Job) -> None:
        is_running, lines = job.is_running, job.lines()
        title, words = f"{job.action}: {describe_job(is_running, lines)}", "\n".join(lines)
        if self.place.text != title:
            self.place.set_text(title)
        self.output.set_text(words)


class JobsView:
    """The newest of each command of an experiment, with the end of its output."""

    def __init__(self, jobs: Jobs, name: str) -> None:
        self._jobs, self._name = jobs, name
        self._shown: dict[str, _Shown] = {}
        self._place = ui.element("div").classes("jobs")

    def look(self) -> None:
        """Show them as they are now."""
        for job in self._jobs.of(self._name):
            if job.action not in self._shown:
                self._shown[job.action] = self._add(job)
            self._shown[job.action].show(job)

    def _add(self, job: Job) -> _Shown:
        with self._place, ui.expansion(value=job.is_running).classes("job") as place:
            return _Shown(place, text("", "output"))
