"""How long a report takes, and how large it is.

    python -m tests.benchmarks.report --trials 200 --epochs 27
    python -m tests.benchmarks.report --experiment runs/mine

Without an experiment, trials are made up: seven searched settings, a third of the trials goes on at
each rung, a few fail. Nothing was trained, so the page has no part about the winner's errors; of
an experiment with its data it has. Each is written by a new process, as a person would.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.builders import epoch_row, make_search
from tune_encoder.space import SearchSpace, parse_space

WORKERS = 4
SEARCHED = {
    "learning_rate": {"float": [1e-4, 1e-2], "log": True},
    "dropout": {"float": [0.0, 0.4]},
    "head": {"choice": ["pca", "lowrank", "linear"]},
    "pca_components": {"int": [4, 128], "log": True, "when": {"head": "pca"}},
    "hidden_dim": {"choice": [32, 64, 128]},
    "num_layers": {"int": [2, 8]},
    "weight_decay": {"float": [1e-5, 1e-1], "log": True},
}
CODE = """
import sys, time
began, cpu = time.perf_counter(), time.process_time()
from pathlib import Path
from tune_encoder.experiment.folder import Experiment
from tune_encoder.report import write_report
loaded = time.perf_counter()
path = write_report(Experiment(Path(sys.argv[1])))
print(loaded - began, time.perf_counter() - loaded, time.process_time() - cpu, path.stat().st_size)
"""


def make(root: Path, n_trials: int, epochs: int) -> Path:
    """Make up a search and return its folder."""
    budget = {"trials": n_trials, "epochs": epochs}
    scheduler = {"name": "asha", "grace_period": 1, "reduction_factor": 3}
    content = {"budget": budget, "scheduler": scheduler, "space": SEARCHED}
    space = parse_space(content, "benchmark", root)
    chance = random.Random(0)
    trials = [_trial(chance, epochs) for _ in range(n_trials)]
    clocks = [1_700_000_000.0] * WORKERS

    def row_of(number: int, epoch: int, value: float) -> dict[str, Any]:
        return _row(space, clocks, number, epoch, value)

    made: Path = make_search(
        root, space, trials, row_of=row_of, data_dir="/gone", fingerprint="0" * 64
    ).path
    return made


def _trial(chance: random.Random, epochs: int) -> tuple[Any, ...]:
    settings: dict[str, Any] = {
        "learning_rate": 10 ** chance.uniform(-4, -2),
        "dropout": chance.uniform(0, 0.4),
        "head": chance.choice(["pca", "lowrank", "linear"]),
        "hidden_dim": chance.choice([32, 64, 128]),
        "num_layers": chance.randint(2, 8),
        "weight_decay": 10 ** chance.uniform(-5, -1),
    }
    if settings["head"] == "pca":
        settings["pca_components"] = chance.randint(4, 128)
    if chance.random() < 0.03:
        return "FAIL", settings, [], "TrainingDiverged: the loss is nan at step 3 of epoch 1"
    length = 1
    while length < epochs and chance.random() < 1 / 3:
        length *= 3
    end = chance.uniform(0.4, 0.9)
    losses = [end + (1 - end) / epoch + chance.gauss(0, 0.01) for epoch in range(1, length + 1)]
    return ("COMPLETE" if length >= epochs else "PRUNED"), settings, losses


def _row(
    space: SearchSpace, clocks: list[float], number: int, epoch: int, value: float
) -> dict[str, Any]:
    lane = number % WORKERS
    clocks[lane] += 12.0
    more = {"seconds": 11.0, "recorded_at": clocks[lane], "worker": f"host:{1000 + lane}"}
    row: dict[str, Any] = epoch_row(epoch, value, space, **more, order=round(clocks[lane]))
    return row


def main() -> None:
    """Write reports and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--experiment", type=Path, help="one that is there, in place of made trials"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.experiment or make(Path(folder), options.trials, options.epochs)
        print(f"{'load s':>8}{'write s':>9}{'all s':>8}{'CPU s':>8}{'bytes':>11}")
        for _ in range(options.repeats):
            began = time.perf_counter()
            command = [sys.executable, "-c", CODE, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            everything = time.perf_counter() - began
            load, write, cpu, size = map(float, done.stdout.split())
            print(f"{load:8.2f}{write:9.2f}{everything:8.2f}{cpu:8.2f}{size:11,.0f}")


if __name__ == "__main__":
    main()
