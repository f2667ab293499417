"""What a trial, a report and a look cost as the trials of a search grow in number.

    python -m tests.benchmarks.scale

Rows as large as those of a training go through the scheduler into the record, which stops most
trials early, as in a search. Then the commands are run on it as a person runs them; `resume` until
its first trial has a worker.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tune_encoder.config import StorageSettings
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.experiment.folder import Experiment, SearchContent, create_experiment
from tune_encoder.space import find_space, load_space, override_space, space_to_content
from tune_encoder.tuning.driver.recording_scheduler import RecordingScheduler
from tune_encoder.tuning.record.record import Record
from tune_encoder.tuning.record.restore import open_database

EPOCHS, REPEATS, NAME = 9, 5, "scale"
SCORES = ("skill", "skill_ttl", "skill_dp", "cosine", "centered_cosine", "retrieval", "loss")
COMMANDS = ("status", "best", "importance")


def fill(
    root: Path, data_dir: Path, n_trials: int, url: str = ""
) -> tuple[Experiment, dict[str, float]]:
    """Record ended trials; returns the median milliseconds of the last hundred of each step.

    Args:
        root: Folder of the experiment.
        data_dir: A data set.
        n_trials: How many trials.
        url: Database that has the record too.
    """
    space = load_space(find_space("quick"))
    space = override_space(space, {"budget": {"trials": n_trials, "epochs": EPOCHS}}, "benchmark")
    fingerprint = open_pack(pack_data(data_dir, space.base_config())).info["fingerprint"]
    content = {"data_dir": str(data_dir), "fingerprint": fingerprint, "versions": {}}
    content |= asdict(StorageSettings(record=url))
    made = create_experiment(
        root, NAME, cast("SearchContent", {"space": space_to_content(space), **content})
    )
    with open_database(made) as database:
        return made, record_trials(Record.open(made, space, database), n_trials)


def record_trials(record: Record, n_trials: int) -> dict[str, float]:
    """Let trials run through the scheduler into the record; see `fill`."""
    scheduler = RecordingScheduler(record, "1")
    took: dict[str, list[float]] = {"proposal": [], "report": []}

    def timed(step: str, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        result = call(*arguments)
        took[step].append(1000 * (time.perf_counter() - began))
        return result

    for _ in range(n_trials):
        number = timed("proposal", record.ask).number
        trial: Any = SimpleNamespace(config={"number": number}, storage=None)
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, EPOCHS + 1):
            told = {"row": json.dumps(row(number, epoch))}
            if timed("report", scheduler.on_trial_result, None, trial, told) == "STOP":
                break
    return {step: statistics.median(times[-100:]) for step, times in took.items()}


def row(number: int, epoch: int) -> dict[str, Any]:
    """An epoch as a trial reports it."""
    loss = 0.5 + (number * 7919 % 101) / 200 + 1 / epoch
    scores = {f"val_{name}": loss for name in SCORES}
    rates = {name: loss for name in ("train_loss", "learning_rate", "gradient_norm", "seconds")}
    state = {"epoch": epoch, "finished": epoch == EPOCHS, "checkpoint_sha256": "0" * 64}
    return {**scores, **rates, **state}


def seconds_of(root: Path, command: str) -> float:
    """Wall seconds of a command as a person runs it."""
    began = time.perf_counter()
    subprocess.run(call(root, command), check=True, capture_output=True)
    return time.perf_counter() - began


def seconds_to_first_trial(root: Path, made: Experiment, n_trials: int) -> float:
    """Wall seconds of a resume until a worker has begun a trial; it is stopped there."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*call(root, "resume"), "--trials", str(n_trials + 1), "--no-export"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not made.trial_config(n_trials).exists():
            if process.poll() is not None:
                raise SystemExit("resume ended before its trial began")
            time.sleep(0.02)
        return time.perf_counter() - began
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait()


def call(root: Path, command: str) -> list[str]:
    """Command line on the benchmark's search."""
    return [sys.executable, "-m", "tune_encoder", command, NAME, "--root", str(root)]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    options = parser.parse_args()
    heads = ("trials", "proposal", "report", *COMMANDS, "resume")
    units = ("", "ms", "ms", *("s" for _ in COMMANDS), "s")
    print("  ".join(f"{head:>10}" for head in heads))
    print("  ".join(f"{unit:>10}" for unit in units))
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "demo"
        make_demo(data_dir, voices=24, val_voices=8, test_voices=8, seed=0)
        for n_trials in options.trials:
            root = Path(folder) / f"{n_trials}"
            made, steps = fill(root, data_dir, n_trials)
            looks = [
                statistics.median(seconds_of(root, command) for _ in range(REPEATS))
                for command in COMMANDS
            ]
            values = [*steps.values(), *looks, seconds_to_first_trial(root, made, n_trials)]
            print(f"{n_trials:10}  " + "  ".join(f"{v:10.2f}" for v in values), flush=True)


if __name__ == "__main__":
    main()
