"""How fast trials follow each other, and what each costs the driver.

    python -m tests.benchmarks.turnover --trials 200

Trials that report once and end, through the whole engine: searcher, scheduler, record, Ray.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tune_encoder.experiment.folder import SearchContent, create_experiment
from tune_encoder.space import parse_space, space_to_content
from tune_encoder.system.deadline import Deadline
from tune_encoder.tuning.cluster.ray_settings import set_environment
from tune_encoder.tuning.record.record import Record

EARLY = 100  # the trial by which everything that stays open is open
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def report_once(config: dict[str, Any]) -> None:
    """Stand in for a training of one epoch that takes no time."""
    from ray import tune

    row = {"epoch": 1, "val_loss": 1.0 / (1 + config["number"]), "val_skill": 0.5, "finished": True}
    tune.report({"val_loss": row["val_loss"], "epoch": 1, "row": json.dumps(row)})


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def open_files() -> int:
    """File descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Sample(NamedTuple):
    """What the driver uses when a trial starts."""

    trial: int
    n_bytes: int
    files: int


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--searcher", default="tpe")
    options = parser.parse_args()
    set_environment()
    from tune_encoder.tuning.driver import launch

    content = {
        "budget": {"trials": options.trials, "epochs": 1},
        "searcher": {"name": options.searcher, "closed_form": False},
        "space": {
            "learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "dropout": {"float": [0.0, 0.5]},
            "weight_decay": {"float": [1e-6, 1e-1], "log": True},
        },
    }
    space = parse_space(content, "turnover", Path())
    setattr(launch, "run_trial", report_once)  # noqa: B010
    with tempfile.TemporaryDirectory() as folder:
        told: SearchContent = {
            "space": space_to_content(space),
            "data_dir": "",
            "fingerprint": "",
            "versions": {},
        }
        experiment = create_experiment(Path(folder), "turnover", told)
        samples: list[Sample] = []
        watch(samples)
        began = time.perf_counter()
        launch.launch_search(Record.open(experiment, space), Path("none"), Deadline())
        seconds = time.perf_counter() - began
        ended = [trial.ended_at or 0.0 for trial in experiment.trials()]
    half = len(ended) // 2
    print(f"trials                       {options.trials}")
    print(f"wall, Ray's start included   {seconds:.1f} s")
    print(f"first half                   {half / (ended[half] - min(ended)):.1f} trials a second")
    rest = (len(ended) - half) / (max(ended) - ended[half])
    print(f"second half                  {rest:.1f} trials a second")
    first, last = samples[len(samples) // 3], samples[-1]
    growth = (last.n_bytes - first.n_bytes) / max(1, last.trial - first.trial)
    print(f"driver memory                {growth / 1024:.0f} KB a trial")
    early = next((each for each in samples if each.trial >= EARLY), first)
    for each in (early, last):
        print(f"its file descriptors         {each.files} at trial {each.trial}")


def watch(samples: list[Sample]) -> None:
    """Note what the driver uses at every tenth trial that starts."""
    ask = Record.ask

    def noting(record: Record) -> Any:
        trial = ask(record)
        if trial.number % 10 == 0:
            samples.append(Sample(trial.number, resident_bytes(), open_files()))
        return trial

    setattr(Record, "ask", noting)  # noqa: B010  (mypy knows methods only as fixed)


if __name__ == "__main__":
    main()
