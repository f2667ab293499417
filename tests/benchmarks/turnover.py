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
from typing import Any

from tune_encoder.experiment.folder import SearchContent, create_experiment
from tune_encoder.space import parse_space, space_to_content
from tune_encoder.tuning.cluster.ray_settings import set_environment
from tune_encoder.tuning.record.record import Record

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def report_once(config: dict[str, Any]) -> None:
    """Stand in for a training of one epoch that takes no time."""
    from ray import tune

    row = {"epoch": 1, "val_loss": 1.0 / (1 + config["number"]), "val_skill": 0.5, "finished": True}
    tune.report({"val_loss": row["val_loss"], "epoch": 1, "row": json.dumps(row)})


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


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
        samples: list[tuple[int, int]] = []
        watch_memory(samples)
        began = time.perf_counter()
        launch.launch_search(Record.open(experiment, space), Path("none"))
        seconds = time.perf_counter() - began
        ended = [trial.ended_at or 0.0 for trial in experiment.trials()]
    half = len(ended) // 2
    print(f"trials                       {options.trials}")
    print(f"wall, Ray's start included   {seconds:.1f} s")
    print(f"first half                   {half / (ended[half] - min(ended)):.1f} trials a second")
    rest = (len(ended) - half) / (max(ended) - ended[half])
    print(f"second half                  {rest:.1f} trials a second")
    (n_first, first), (n_last, last) = samples[len(samples) // 3], samples[-1]
    growth = (last - first) / max(1, n_last - n_first)
    print(f"driver memory                {growth / 1024:.0f} KB a trial")


def watch_memory(samples: list[tuple[int, int]]) -> None:
    """Note trials and memory after every tenth trial that starts."""
    ask = Record.ask

    def noting(record: Record) -> Any:
        trial = ask(record)
        if trial.number % 10 == 0:
            samples.append((trial.number, resident_bytes()))
        return trial

    setattr(Record, "ask", noting)  # noqa: B010  (mypy knows methods only as fixed)


if __name__ == "__main__":
    main()
