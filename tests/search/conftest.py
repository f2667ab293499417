"""Searches small enough to run for real: tiny encoders on the tiny demo set."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tune_encoder.experiment import Experiment

TINY_SPACE = {
    "budget": {"trials": 5, "epochs": 6},
    "scheduler": {"grace_period": 2, "reduction_factor": 3},
    "searcher": {"startup_trials": 3},
    "resources": {"concurrent": 2},
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


class Command:
    """`tune-encoder` in a folder of its own, as a user runs it."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder, self.data_dir = folder, data_dir
        self.experiment = Experiment(folder / "runs" / "tiny")

    def search_options(self, changes: dict[str, Any] | None = None) -> list[str]:
        space = {**TINY_SPACE, **(changes or {})}
        (self.folder / "space.yaml").write_text(yaml.safe_dump(space))
        return ["search", "--space", "space.yaml", "--data-dir", str(self.data_dir),
                "--name", "tiny", "--no-export"]  # fmt: skip

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tune_encoder", *options],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*options)
        out, errors = process.communicate()
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
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)

    def stop_after(self, process: subprocess.Popen[str], rows: int, number: int) -> str:
        """Send a signal when so many epochs are recorded; returns what stderr said."""
        self.wait_for_rows(process, rows)
        os.kill(process.pid, number)
        return process.communicate(timeout=60)[1]


@pytest.fixture
def command(tmp_path: Path, data_dir: Path) -> Command:
    return Command(tmp_path, data_dir)
