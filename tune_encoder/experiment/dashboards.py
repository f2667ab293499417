"""The pages to look at a search with: each a process of its own, on loopback only.

None of them can change the search: TensorBoard reads event files, and optuna-dashboard, which has
no log-in and can delete a study, is given one that it can only read.
"""

import importlib.util
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tune_encoder.errors import StorageError
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.status import WIDTH
from tune_encoder.system.lock import lock_holder, read_note
from tune_encoder.system.ports import LOOPBACK, free_port

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # not by any proxy
TENSORBOARD_PORT, OPTUNA_PORT = 6006, 8080  # their own defaults; the next that is free is taken
_NAME_WIDTH = 13
_START_S, _END_S, _POLL_S = 90.0, 5.0, 0.1


@dataclass(frozen=True)
class Dashboard:
    """Something to look at, or why there is nothing."""

    name: str
    address: str
    """Empty where there is none."""
    remark: str
    """What is to be seen there, or how to get it."""


@contextmanager
def open_dashboards(experiment: Experiment) -> Iterator[list[Dashboard]]:
    """Serve the pages of an experiment while the block runs.

    Raises:
        StorageError: if a server does not start.
    """
    with ExitStack() as stack:
        servers = [_tensorboard(experiment)]
        if importlib.util.find_spec("optuna_dashboard") and experiment.study_path.exists():
            servers.append(_optuna(experiment))
        for server in servers:
            stack.enter_context(server.running())
        for server in servers:
            server.wait()
        dashboards = [ray_dashboard(experiment), *(server.page for server in servers)]
        yield dashboards if len(servers) > 1 else [*dashboards, _optuna_hint(experiment)]


def dashboard_lines(dashboards: list[Dashboard]) -> Iterator[str]:
    """Write the pages as a table of at most 80 columns."""
    for page in dashboards:
        name = f"{page.name:{_NAME_WIDTH}}"
        if page.address:
            yield name + page.address
            name = " " * _NAME_WIDTH
        yield textwrap.fill(
            page.remark, WIDTH, initial_indent=name, subsequent_indent=" " * _NAME_WIDTH
        )


class Server:
    """The process behind a page."""

    def __init__(
        self, page: Dashboard, command: Callable[[int], list[str]], first_port: int
    ) -> None:
        port = free_port(first_port)
        self.page = Dashboard(page.name, f"http://{LOOPBACK}:{port}{page.address}", page.remark)
        self._command = command(port)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the process while the block does."""
        with tempfile.TemporaryFile() as self._log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command], stdout=self._log, stderr=self._log
            )
            try:
                yield
            finally:
                self._end()

    def wait(self) -> None:
        """Return once the page answers.

        Raises:
            StorageError: if it does not.
        """
        deadline = time.monotonic() + _START_S
        while not _responds(self.page.address):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                output = self._log.read().decode(errors="replace").split("\n")
                reason = next(
                    (line for line in reversed(output) if line.strip()), "no reason given"
                )
                raise StorageError(f"{self.page.name} did not start: {reason.strip()[:200]}")
            time.sleep(_POLL_S)

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _responds(address: str) -> bool:
    try:
        with _DIRECT.open(address, timeout=_START_S):
            return True
    except (urllib.error.URLError, OSError):
        return False


def ray_dashboard(experiment: Experiment) -> Dashboard:
    """The page of Ray, which only the search itself can serve."""
    if lock_holder(experiment.path) is None:
        return Dashboard("Ray", "", "no search runs now")
    if not (address := read_note(experiment.path)):
        return Dashboard("Ray", "", "the search was started without `--dashboard`")
    return Dashboard(
        "Ray",
        address,
        "workers under Actors, load under Cluster; it has no page for trials. Log in with the "
        "token that `ray get-auth-token` prints",
    )


def _tensorboard(experiment: Experiment) -> Server:
    logs = str(experiment.path.absolute() / "trials")
    page = Dashboard("TensorBoard", "/", "curves under Scalars, settings and results under HParams")
    return Server(
        page,
        lambda port: ["tensorboard.main", "--logdir", logs, *_at(port)],
        TENSORBOARD_PORT,
    )


def _optuna(experiment: Experiment) -> Server:
    url = read_only_url(experiment.study_path)
    page = Dashboard(
        "Optuna", "/dashboard/studies/1", "trials, curves, importance; it can only look"
    )
    return Server(page, lambda port: ["optuna_dashboard._cli", url, *_at(port)], OPTUNA_PORT)


def _optuna_hint(experiment: Experiment) -> Dashboard:
    if not experiment.study_path.exists():
        return Dashboard("Optuna", "", "no trial has begun yet")
    return Dashboard("Optuna", "", "to see it too: pip install 'tune-encoder[dashboard]'")


def _at(port: int) -> list[str]:
    return ["--host", LOOPBACK, "--port", str(port)]


def read_only_url(study: Path) -> str:
    """The address of a study's SQLite file for a program that shall not write it."""
    return f"sqlite:///file:{urllib.parse.quote(str(study.absolute()))}?mode=ro&uri=true"
