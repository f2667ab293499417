"""Searches on a cluster from Python, for the command line and for scripts."""

import html
import logging
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tune_encoder
from tune_encoder.api.jobs.connection import choose_address, connect, ray_errors_in_one_line
from tune_encoder.api.jobs.jobs import (
    EXPORT,
    NAME,
    SEARCH,
    Job,
    id_of,
    metadata,
    next_launch,
    read_jobs,
    submission_id,
)
from tune_encoder.api.jobs.submission import (
    CLUSTER_OPTIONS,
    PROGRAM,
    absolute_on_cluster,
    prepare_submission,
)
from tune_encoder.api.searching import ExtendOptions, Overrides
from tune_encoder.api.wording import methods_for_python
from tune_encoder.config import DEFAULT_ROOT, unknown_name_message
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.experiment.folder import experiment_path

if TYPE_CHECKING:
    from typing_extensions import Unpack

_POLL_S = 1.0
_AGENT_TIMEOUT_S = 60.0  # from a head node's first answer until it accepts jobs
_AGENT_NOT_READY = "No available agent"  # Ray's error until then
_STOP_TIMEOUT_S = 60  # a search saves and stops within seconds; Ray would kill it after three
# Ray has no option for these; a name that another version does not have changes nothing there.
_VERBOSE_LOGGERS = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging")
_ID_TAKEN = "already exists"  # in Ray's error for a submission id

_metadata = partial(metadata, version("tune-encoder"))


class SubmitOptions(Overrides, total=False):
    """All keyword options of `Client.submit`."""

    warm_start: Sequence[str]
    """Experiments in the root whose best configs are tried first."""
    export: bool
    """Whether the search exports the best model when it ends."""
    storage: str
    """Where checkpoints are stored; by default in the experiment's folder."""
    record: str
    """Database that also stores the record; by default only the experiment's folder has it."""


class ResumeOptions(ExtendOptions, total=False):
    """All keyword options of `Client.resume`; what is left out stays unchanged."""

    export: bool
    """Whether the search exports the best model when it ends."""


@methods_for_python
class Client:
    """Searches on one cluster, which continue when this process ends.

    Example:
        >>> client = tune_encoder.Client("http://127.0.0.1:8265")
        >>> client.submit("default", "/data/voices", name="mine", root="/data/runs", trials=8)
        'mine'
        >>> client.wait("mine").state
        'SUCCEEDED'
        >>> client.export("mine")
        PosixPath('/data/runs/mine/best')

    Paths are those of the cluster. A relative path is made absolute on this machine, which is
    right if the cluster shares this machine's disk.
    """

    def __init__(self, address: str | None = None) -> None:
        """Connect to a cluster.

        Args:
            address: Address of its Jobs API, which is that of its dashboard; by default
                RAY_API_SERVER_ADDRESS, else the cluster of this machine, else
                http://127.0.0.1:8265.

        Raises:
            ConfigError: if the address is not an HTTP address.
            StorageError: if no cluster answers there, or it is open to everyone, or it
                rejects our token.
        """
        self.address = choose_address(address)
        self._ray = connect(self.address)
        for name in _VERBOSE_LOGGERS:  # they log two lines for each upload
            logging.getLogger(name).setLevel(logging.WARNING)

    def submit(
        self,
        space: str | Path | Mapping[str, object] = "quick",
        data_dir: str | Path | None = None,
        name: str = "search",
        root: str | Path = DEFAULT_ROOT,
        **options: "Unpack[SubmitOptions]",
    ) -> str:
        """Submit a search to the cluster, and return its name at once.

        Args:
            space: As in `tune_encoder.search`; the cluster does not need its file.
            data_dir: Path of a data set on the cluster; by default that of the space, else the demo
                voices.
            name: Name of the new experiment.
            root: Path of the folder of experiments on the cluster.
            options: `trials`, `epochs`, `time`, `concurrent`, `seed`, `warm_start`, `storage`,
                `record`, and `export`, whether the best model is exported at the end.

        Raises:
            ConfigError: if the space is invalid, or a search of that name exists already.
            DataError: if a relative path of a data set does not exist on this machine.
            StorageError: if the cluster cannot be reached.
        """
        submission = prepare_submission(space, data_dir, name, root, options)
        launches = self._launches(name)
        if launches and not all(job.was_rejected for job in launches):
            raise self._name_taken_error(name, launches[-1].state)
        command = submission.search_command(submission.space_file)
        files = {submission.space_file: submission.space_text}
        data = "" if submission.data_dir is None else str(submission.data_dir)
        about = submission.space.name, data
        known = _metadata(name, submission.root, SEARCH, next_launch(launches), *about)
        self._submit_job(known, command, files)
        return name

    def jobs(self) -> list[Job]:
        """Return all launches of searches on the cluster, the earliest first."""
        return [job for job in self._all_jobs() if job.kind == SEARCH]

    def status(self, name: str) -> Job:
        """Return the newest launch of a search.

        Raises:
            ConfigError: if the cluster knows none of that name.
        """
        launches = self._launches(name)
        if not launches:
            known = ", ".join(sorted({job.name for job in self.jobs()}))
            raise ConfigError(f"{self.address}: no search {name}; searches: {known or 'none'}")
        return launches[-1]

    def wait(self, name: str, timeout: float | None = None) -> Job:
        """Wait until the newest launch of a search has ended, and return it.

        Args:
            name: The search.
            timeout: Longest time to wait, in seconds; by default there is no limit.

        Raises:
            ConfigError: if the cluster knows no search of that name.
            TimeoutError: if it has not ended by then; it continues to run.
        """
        return self._wait_until_ended(self.status(name).submission_id, timeout)

    def logs(self, name: str, follow: bool = False) -> Iterator[str]:
        """Yield the output of the newest launch of a search.

        Args:
            name: The search.
            follow: Whether to continue until it has ended.

        Raises:
            ConfigError: if the cluster knows no search of that name.
        """
        return self._read_logs(self.status(name), follow)

    def stop(self, name: str) -> Job:
        """Tell a running search to save and stop; `resume` continues it.

        Raises:
            ConfigError: if it is not running.
        """
        job = self.status(name)
        if job.ended:
            raise ConfigError(
                f"{name} is {job.state} on {self.address}; resume it with "
                f"`tune-encoder resume {name} --address {self.address}`"
            )
        with ray_errors_in_one_line(self.address):
            self._ray.stop_job(job.submission_id)
        return job

    def resume(
        self, name: str, root: str | Path | None = None, **options: "Unpack[ResumeOptions]"
    ) -> str:
        """Resume a search that was stopped or killed, or extend one that has ended.

        Args:
            name: The search.
            root: Its folder of experiments; only needed if the cluster no longer knows the search,
                for instance because its head node was restarted.
            options: `trials`, `epochs`, `time`, `target`, `accept_data_change`, `record` and
                `export`, as in `tune_encoder.resume`.

        Raises:
            ConfigError: if it is running, or the cluster does not know it and no root is given.
        """
        launches = self._launches(name)
        if launches and not launches[-1].ended:
            raise self._name_taken_error(name, launches[-1].state)
        place = self.status(name).root if root is None else absolute_on_cluster(root)
        experiment_path(place, name)
        command = [*PROGRAM, "resume", name, "--root", str(place), *CLUSTER_OPTIONS]
        command += _resume_arguments(options)
        about = (launches[-1].space, launches[-1].data) if launches else ("", "")
        self._submit_job(_metadata(name, place, SEARCH, next_launch(launches), *about), command)
        return name

    def export(self, name: str) -> Path:
        """Export the best model so far of a search, on the cluster.

        Returns:
            Path of the model folder on the cluster.

        Raises:
            ConfigError: if the cluster knows no search of that name.
            StorageError: if it cannot be exported, with the reason.
        """
        root = self.status(name).root
        earlier = [job for job in self._all_jobs() if (job.name, job.kind) == (name, EXPORT)]
        launch = next_launch(earlier)
        folder = root / name / "best"
        command = [*PROGRAM, "export", name, "--root", str(root), "--to", str(folder)]
        self._submit_job(_metadata(name, root, EXPORT, launch), command)
        job = self._wait_until_ended(submission_id(name, EXPORT, launch))
        if job.state != "SUCCEEDED":
            lines = "".join(self._read_logs(job, follow=False)).strip().splitlines()
            raise StorageError(f"{name} was not exported: {(lines or [job.message])[-1]}")
        return folder

    def watch(self, name: str) -> None:
        """Show a search live until it has ended: in a notebook as HTML, else as text.

        The trials are shown if this machine has the experiment's folder, else only the state.
        Whoever interrupts it (Ctrl-C) ends the view, and not the search.

        Raises:
            ConfigError: if the cluster knows no search of that name.
            StorageError: if the cluster cannot be reached.
        """
        from tune_encoder.api.watching import job_frames, show

        with suppress(KeyboardInterrupt):
            show(job_frames(lambda: self.status(name)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the searches, and the newest that can be read from here."""
        from tune_encoder.api.shown import box, jobs_box

        try:
            return jobs_box(self.address, self.jobs())
        except StorageError as error:  # a notebook shows this, not a traceback
            return box(f"<p>{html.escape(str(error))}</p>")

    def _wait_until_ended(self, wanted: str, timeout: float | None = None) -> Job:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (job := self._find_job(wanted)).ended:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(
                    f"{job.name} is {job.state} after {timeout:g} s and continues to run"
                )
            time.sleep(_POLL_S)
        return job

    def _find_job(self, wanted: str) -> Job:
        for job in self._all_jobs():
            if job.submission_id == wanted:
                return job
        raise StorageError(
            f"{self.address}: the job {wanted} no longer exists there; it was deleted, or the head "
            "node was restarted; list the jobs with `tune-encoder jobs`"
        )

    def _all_jobs(self) -> list[Job]:
        with ray_errors_in_one_line(self.address):
            return read_jobs(self._ray.list_jobs())

    def _launches(self, name: str) -> list[Job]:
        return [job for job in self.jobs() if job.name == name]

    def _read_logs(self, job: Job, follow: bool) -> Iterator[str]:
        seen = 0
        while True:
            ended = not follow or self._find_job(job.submission_id).ended
            with ray_errors_in_one_line(self.address):
                text = self._ray.get_job_logs(job.submission_id)
            if text[seen:]:
                yield text[seen:]
            if ended:
                return
            seen = len(text)
            time.sleep(_POLL_S)

    def _submit_job(
        self, known: dict[str, str], command: list[str], files: Mapping[str, str] | None = None
    ) -> None:
        with tempfile.TemporaryDirectory() as folder, ray_errors_in_one_line(self.address):
            for file, text in (files or {}).items():
                (Path(folder) / file).write_text(text, encoding="utf-8")
            job = {
                # exec: without a shell in between the search itself gets each signal, once.
                "entrypoint": f"exec {shlex.join(command)}",
                "runtime_env": _runtime_env(folder),
                "submission_id": id_of(known),
                "metadata": known,
            }
            try:
                self._submit_when_ready(job)
            except RuntimeError as error:
                if _ID_TAKEN in str(error):  # another client was faster
                    raise self._name_taken_error(known[NAME], "PENDING") from error
                raise

    def _submit_when_ready(self, job: dict[str, Any]) -> None:
        """Submit a job, waiting for the agent of a head node that was just started."""
        deadline = time.monotonic() + _AGENT_TIMEOUT_S
        while True:
            try:
                self._ray.submit_job(**job)
            except RuntimeError as error:
                if _AGENT_NOT_READY not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
            else:
                return

    def _name_taken_error(self, name: str, state: str) -> ConfigError:
        return ConfigError(
            f"{name} is already {state} on {self.address}; follow it with `tune-encoder logs "
            f"{name} -f`, resume it once it has ended, or choose another --name"
        )


def _runtime_env(folder: str) -> dict[str, Any]:
    """Return Ray's runtime environment of a job: this version of the program, and its files."""
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_TIMEOUT_S)}
    if sys.prefix != sys.base_prefix:  # no effect on a machine without this environment
        variables["PATH"] = f"{Path(sys.prefix) / 'bin'}:${{PATH}}"
    return {
        "working_dir": folder,
        "py_modules": [str(Path(tune_encoder.__file__).parent)],
        "excludes": ["**/__pycache__"],
        "env_vars": variables,
    }


def _resume_arguments(options: Mapping[str, object]) -> list[str]:
    """Return the options of a resume as command-line arguments."""
    words = []
    for name, value in options.items():
        if name not in ResumeOptions.__annotations__:
            known = ResumeOptions.__annotations__
            raise ConfigError(f"resume: {unknown_name_message(name, known, 'option')}")
        option = f"--{name.replace('_', '-')}"
        if name == "export":
            words += [] if value else ["--no-export"]
        elif value is True:
            words.append(option)
        elif value is not None and value is not False:  # 0 is a target, and equals False
            words += [option, str(value)]
    return words
