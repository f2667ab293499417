"""Web dashboards of a search: each a separate process, on the loopback interface only.

None can change the search: TensorBoard reads event files, and optuna-dashboard, which has no
login and can delete studies, opens the study read-only.
"""

import http.client
import importlib.util
import subprocess
import sys
import tempfile
import textwrap
import time
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
from tune_encoder.system.signals import end_with_parent

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without a proxy
TENSORBOARD_PORT, OPTUNA_PORT = 6006, 8080  # their default ports; the next free port is used
_NAME_WIDTH = 13
_START_S, _END_S, _POLL_S = 90.0, 5.0, 0.1


@dataclass(frozen=True)
class Dashboard:
    """A dashboard, or why it is not available."""

    name: str
    address: str
    """URL; empty if it is not available."""
    remark: str
    """What it shows, or how to get it."""


@contextmanager
def open_dashboards(experiment: Experiment) -> Iterator[list[Dashboard]]:
    """Serve the dashboards of an experiment while the block runs.

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
    """Format the dashboards as a table of at most 80 columns."""
    for page in dashboards:
        name = f"{page.name:{_NAME_WIDTH}}"
        if page.address:
            yield name + page.address
            name = " " * _NAME_WIDTH
        yield textwrap.fill(
            page.remark, WIDTH, initial_indent=name, subsequent_indent=" " * _NAME_WIDTH
        )


class Server:
    """The server process of a dashboard."""

    def __init__(
        self, page: Dashboard, command: Callable[[int], list[str]], first_port: int
    ) -> None:
        port = free_port(first_port)
        self.page = Dashboard(page.name, f"http://{LOOPBACK}:{port}{page.address}", page.remark)
        self._command = command(port)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the process while the block runs."""
        with tempfile.TemporaryFile() as self._log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                stdout=self._log,
                stderr=self._log,
                preexec_fn=end_with_parent,
            )
            try:
                yield
            finally:
                self._end()

    def wait(self) -> None:
        """Wait until the server responds.

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
    except (OSError, http.client.HTTPException):
        return False


def ray_dashboard(experiment: Experiment) -> Dashboard:
    """Return Ray's dashboard, which only the search itself can serve."""
    if lock_holder(experiment.path) is None:
        return Dashboard("Ray", "", "the search is not running")
    if not (address := read_note(experiment.path)):
        return Dashboard("Ray", "", "the search was started without `--dashboard`")
    return Dashboard(
        "Ray",
        address,
        "workers under Actors, their trials and load under Cluster. Log in with the token that "
        "`ray get-auth-token` prints",
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
    page = Dashboard("Optuna", "/dashboard/studies/1", "trials, curves, importance; read-only")
    # The module of its script, which may not be on the PATH; its package cannot be run by name.
    return Server(page, lambda port: ["optuna_dashboard._cli", url, *_at(port)], OPTUNA_PORT)


def _optuna_hint(experiment: Experiment) -> Dashboard:
    if not experiment.study_path.exists():
        return Dashboard("Optuna", "", "no trial has started yet")
    return Dashboard("Optuna", "", "to use it: pip install 'tune-encoder[dashboard]'")


def _at(port: int) -> list[str]:
    return ["--host", LOOPBACK, "--port", str(port)]


def read_only_url(study: Path) -> str:
    """Return the URL of a study's SQLite file, opened read-only."""
    return f"sqlite:///file:{urllib.parse.quote(str(study.absolute()))}?mode=ro&uri=true"
