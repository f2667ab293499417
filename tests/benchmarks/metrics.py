"""What `--metrics` costs a search: pairs of the same search, with and without, in turn.

    python -m tests.benchmarks.metrics --pairs 3

Two workers train demo voices. From the tenth epoch on, for so many seconds, the processor time of
every process of the search is counted: it depends less on what else a machine does than epochs a
second do, which are printed beside it. The cost is the difference of what is no training, as a
share of the time of all cores. Last, what the driver computes of a search of many trials.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.tuning.faults.processes import WORKER, is_named
from tune_encoder.config import write_yaml
from tune_encoder.data.demo import make_demo
from tune_encoder.experiment.epoch_row import EpochRow
from tune_encoder.experiment.folder import Experiment
from tune_encoder.experiment.metrics import SearchMetrics
from tune_encoder.experiment.trials import TrialRecord
from tune_encoder.space import load_space
from tune_encoder.space.builtin import find_space
from tune_encoder.tuning.cluster.ray_settings import set_environment
from tune_encoder.tuning.driver.metrics import UPDATE_S

FIRST = 10  # epochs, until everything has started
POLL_S = 0.5
SPACE: dict[str, Any] = {
    "budget": {"trials": 2, "epochs": 5000},
    "scheduler": {"name": "none"},
    "searcher": {"name": "random", "closed_form": False},
    "resources": {"concurrent": 2},
    "base": {"early_stopping_patience": 0},
    "space": {"learning_rate": {"float": [1.0e-3, 2.0e-3]}},
}


class Measured(NamedTuple):
    """One search, of seconds of processor time in a second."""

    training: float
    other: float
    """The driver and all of Ray but the workers."""
    epochs_per_s: float


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    set_environment()
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "demo"
        make_demo(data, voices=64, val_voices=16, test_voices=8, seed=3)
        for pair in range(options.pairs):
            arms = [[], ["--metrics"]] if pair % 2 == 0 else [["--metrics"], []]
            found = {
                bool(arm): run(Path(folder) / f"{pair}{len(arm)}", data, arm, options.seconds)
                for arm in arms
            }
            for exporting, measured in sorted(found.items()):
                print(f"pair {pair} {'with' if exporting else 'without':8}{describe(measured)}")
            costs.append((found[True].other - found[False].other) / (os.cpu_count() or 1))
    print(
        f"cost, of all cores: median {statistics.median(costs):.2%}, {min(costs):.2%} to ", end=""
    )
    print(f"{max(costs):.2%}")
    for n_trials, n_epochs in ((10, 81), (1000, 81)):
        print(describe_reading(n_trials, n_epochs))


def run(folder: Path, data: Path, options: list[str], seconds: float) -> Measured:
    """Run a search and measure it for a while."""
    with searching(folder, data, options) as (process, experiment):
        return measure(process, experiment, seconds)


@contextmanager
def searching(
    folder: Path, data: Path, options: Sequence[str] = ()
) -> "Iterator[tuple[subprocess.Popen[bytes], Experiment]]":
    """A search in a new folder that has started and trains on, until the block ends."""
    folder.mkdir()
    (folder / "space.yaml").write_text(write_yaml(SPACE))
    command = ["search", "--space", "space.yaml", "--data-dir", str(data), "--name", "mine"]
    with subprocess.Popen(
        [sys.executable, "-m", "tune_encoder", *command, "--no-export", *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        experiment = Experiment(folder / "runs" / "mine")
        try:
            while n_epochs(experiment) < FIRST:
                assert process.poll() is None, "the search has ended"
                time.sleep(POLL_S)
            yield process, experiment
        finally:
            process.terminate()


def measure(process: "subprocess.Popen[bytes]", experiment: Experiment, seconds: float) -> Measured:
    """Measure a search for a while."""
    n_before, before, began = n_epochs(experiment), processor_times(process), time.monotonic()
    time.sleep(seconds)
    after, passed = processor_times(process), time.monotonic() - began
    training, other = ((a - b) / passed for a, b in zip(after, before, strict=True))
    return Measured(training, other, (n_epochs(experiment) - n_before) / passed)


def n_epochs(experiment: Experiment) -> int:
    """Epochs that are recorded."""
    if not experiment.study_path.exists():
        return 0
    return sum(len(trial.rows) for trial in experiment.trials())


def processor_times(process: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """Seconds of processor time so far, of workers and of everything else of a search."""
    training = other = 0.0
    driver = psutil.Process(process.pid)
    for each in (driver, *driver.children(recursive=True)):
        times = each.cpu_times()
        if is_named(each, WORKER):
            training += times.user + times.system
        else:
            other += times.user + times.system
    return training, other


def describe(measured: Measured) -> str:
    """One line."""
    shares = f"training {measured.training:.3f}, other {measured.other:.4f} s/s of a core"
    return f"{shares}; {measured.epochs_per_s:.2f} epochs/s"


def describe_reading(n_trials: int, n_rows: int) -> str:
    """How long the values take of a search of so many trials, first and after one more epoch."""
    trials = [
        TrialRecord(number, "RUNNING", rows=[made_row(epoch) for epoch in range(1, n_rows + 1)])
        for number in range(n_trials)
    ]
    metrics = SearchMetrics(load_space(find_space("quick")))
    seconds = []
    for epoch in range(6):
        began = time.process_time()
        metrics.values(trials)
        seconds.append(time.process_time() - began)
        trials[0].rows.append(made_row(n_rows + 1 + epoch))
    first, later = seconds[0], statistics.median(seconds[1:])
    took = f"{first * 1e3:.1f} ms first, then {later * 1e3:.2f} ms"
    return f"{n_trials} trials of {n_rows} epochs: {took}, {later / UPDATE_S:.3%} of the driver"


def made_row(epoch: int) -> EpochRow:
    """What is read of an epoch."""
    return {
        "epoch": epoch,
        "val_loss": 1 / epoch,
        "objective": 1 / epoch,
        "val_skill": 1 - 1 / epoch,
        "seconds": 1.0,
        "step_seconds": 0.8,
        "predict_seconds": 0.1,
        "score_seconds": 0.05,
        "clips_per_s": 100.0,
    }


if __name__ == "__main__":
    main()
