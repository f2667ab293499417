"""Searches small enough to run for real: tiny encoders on the tiny demo set."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.postgresql import PASSWORD, Server
from tests.tuning.faults.processes import kill_with_workers
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.signals import STOP_SIGNALS

TINY_SPACE: dict[str, Any] = {
    "budget": {"trials": 5, "epochs": 6},
    "scheduler": {"name": "asha", "grace_period": 2, "reduction_factor": 3},
    "searcher": {"name": "tpe", "startup_trials": 3, "closed_form": False},
    "resources": {"concurrent": 2},
    "validation": {"voices": 1},
    "report": {"at_end": False},  # it takes longer than the epochs
    "base": {
        "hidden_dim": 8,
        "num_layers": 1,
        "batch_size": 4,
        "warmup_epochs": 1,
        "crop_seconds": 1.0,
        "early_stopping_patience": 0,
    },
    "space": {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "dropout": {"float": [0.0, 0.3]},
    },
}
STARTED_S = 90  # the longest a loaded machine may take to start Ray and train an epoch
ENDED_S = 150  # the longest it may take to run a tiny search to its end


class Command:
    """`tune-encoder` in a folder of its own, as a user runs it."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder, self.data_dir = folder, data_dir
        self.experiment = Experiment(folder / "runs" / "tiny")
        self._started: list[subprocess.Popen[str]] = []

    def search_options(self, changes: dict[str, Any] | None = None) -> list[str]:
        space = {**TINY_SPACE, **(changes or {})}
        (self.folder / "space.yaml").write_text(yaml.safe_dump(space))
        return ["search", "--space", "space.yaml", "--data-dir", str(self.data_dir),
                "--name", "tiny", "--no-export"]  # fmt: skip

    def start(
        self, *options: str, environment: dict[str, str] | None = None, own_group: bool = False
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tune_encoder", *options],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **(environment or {})},
            start_new_session=own_group,
            preexec_fn=_heed_signals,
        )
        self._started.append(process)
        return process

    def run(self, *options: str, **how: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*options, **how)
        out, errors = finish(process, ENDED_S)
        return subprocess.CompletedProcess(options, process.returncode, out, errors)

    def n_rows(self) -> int:
        if not self.experiment.study_path.exists():
            return 0
        return sum(len(trial.rows) for trial in self.experiment.trials())

    def wait_for_rows(self, process: subprocess.Popen[str], rows: int) -> None:
        """Wait until so many epochs are recorded, while the process runs."""
        deadline = time.monotonic() + STARTED_S
        while self.n_rows() < rows:
            assert process.poll() is None, process.communicate()[1]
            if time.monotonic() > deadline:
                finish(process, 0)
            time.sleep(0.05)

    def stop_after(self, process: subprocess.Popen[str], rows: int, number: int) -> str:
        """Send a signal when so many epochs are recorded; returns what stderr said."""
        self.wait_for_rows(process, rows)
        if number == signal.SIGKILL:
            return kill_with_workers(process, STARTED_S)
        os.kill(process.pid, number)
        return finish(process, STARTED_S)[1]

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _heed_signals() -> None:
    """Take back what `nohup` or a shell's `&` makes programs ignore."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def finish(process: subprocess.Popen[str], timeout_s: float) -> tuple[str, str]:
    """Wait for the end; one that does not come shows what every thread was doing, and fails."""
    try:
        return process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGABRT)
        pytest.fail("did not end; its threads:\n" + process.communicate()[1], pytrace=False)


@pytest.fixture
def command(tmp_path: Path, data_dir: Path) -> Iterator[Command]:
    command = Command(tmp_path, data_dir)
    yield command
    command.close()


@pytest.fixture(scope="session")
def postgresql():
    """A PostgreSQL server whose password the environment has; who stops it starts it again."""
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        try:
            server.start()
            yield server
        finally:
            server.close()


@pytest.fixture
def pg(postgresql):
    """Address of a PostgreSQL with nothing in it."""
    return postgresql.url()
