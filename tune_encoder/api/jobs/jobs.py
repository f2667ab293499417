"""One launch of a search as a Ray job, and its state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDED = ("SUCCEEDED", "STOPPED", "FAILED")
_VERSION, NAME, _ROOT, _KIND, _LAUNCH = "tune_encoder", "experiment", "root", "kind", "launch"
_SPACE, _DATA = "space", "data"
_SHOWN = "job_name"  # key of what Ray's pages call a job
SEARCH, EXPORT = "search", "export"
_REJECTED = (2, 3)  # exit codes: command or data were rejected before anything was written


@dataclass(frozen=True)
class Job:
    """One launch of a search on a cluster: its first, or a `resume`."""

    name: str
    """The experiment."""
    state: str
    """PENDING, RUNNING, SUCCEEDED, STOPPED or FAILED."""
    root: Path
    """Folder of experiments on the cluster."""
    launch: int
    """1 for `submit`, one more for each `resume`."""
    kind: str
    """search, or export."""
    started_at: float | None
    """When it was submitted, in seconds since 1970."""
    ended_at: float | None
    exit_code: int | None
    """Exit code of the command; None while it runs, or if it was killed."""
    message: str
    """Ray's message about its state."""
    space: str = ""
    """Name of the space; empty if it is in no file, or was submitted by an older version."""
    data: str = ""
    """Path of the data on the cluster; empty for that of the space, or the demo voices."""

    @property
    def submission_id(self) -> str:
        """Its submission id in Ray."""
        return submission_id(self.name, self.kind, self.launch)

    @property
    def ended(self) -> bool:
        """Whether it no longer runs."""
        return self.state in ENDED

    @property
    def was_rejected(self) -> bool:
        """Whether it was rejected before an experiment was created."""
        return self.state == "FAILED" and self.exit_code in _REJECTED


def submission_id(name: str, kind: str, launch: int) -> str:
    """Return the id of a job in Ray; names of experiments have no tilde, so ids are unique."""
    return f"{name}~{kind}~{launch}"


def next_launch(earlier: Iterable[Job]) -> int:
    """Return the number after those of the launches that the cluster still knows."""
    return 1 + max((job.launch for job in earlier), default=0)


def metadata(
    version: str, name: str, root: Path, kind: str, launch: int, space: str = "", data: str = ""
) -> dict[str, str]:
    """Return the metadata that `read_jobs` needs; everyone with the token can see it."""
    known = {_VERSION: version, NAME: name, _ROOT: str(root), _KIND: kind, _LAUNCH: str(launch)}
    return {**known, _SHOWN: name, _SPACE: space, _DATA: data}


def id_of(known: Mapping[str, str]) -> str:
    """Return the id of the job that has these metadata."""
    return submission_id(known[NAME], known[_KIND], int(known[_LAUNCH]))


def read_jobs(listed: Iterable[Any]) -> list[Job]:
    """Return those of the cluster's jobs that are searches or exports, the earliest first."""
    ours = (_read_job(each, each.metadata) for each in listed if _VERSION in (each.metadata or {}))
    return sorted(ours, key=lambda job: (job.started_at or 0.0, job.submission_id))


def _read_job(listed: Any, known: Mapping[str, str]) -> Job:
    return Job(
        name=known[NAME],
        state=str(listed.status.value),
        root=Path(known[_ROOT]),
        launch=int(known[_LAUNCH]),
        kind=known[_KIND],
        started_at=_seconds(listed.start_time),
        ended_at=_seconds(listed.end_time),
        exit_code=listed.driver_exit_code,
        message=" ".join((listed.message or "").split()),
        space=known.get(_SPACE, ""),
        data=known.get(_DATA, ""),
    )


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None
