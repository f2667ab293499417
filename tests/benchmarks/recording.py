"""What a record in PostgreSQL costs beside one in study.db alone.

    python -m tests.benchmarks.recording

A server on this machine, whose commits wait for the disk. Trials as in `scale`; then what a launch
spends to bring study.db up to the database.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from tests.benchmarks.scale import fill
from tests.postgresql import PASSWORD, Server
from tune_encoder.data.demo import make_demo
from tune_encoder.experiment.folder import Experiment
from tune_encoder.tuning.record.restore import open_database

HEADS = ("trials", "record", "proposal", "report", "opening")


def opening_ms(experiment: Experiment) -> float:
    """Milliseconds to connect and to bring study.db up to the database."""
    began = time.perf_counter()
    with open_database(experiment):
        return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Run and print, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    options = parser.parse_args()
    os.environ["PGPASSWORD"] = PASSWORD
    server = Server(durable=True)
    print("  ".join(f"{head:>10}" for head in HEADS))
    try:
        server.start()
        with tempfile.TemporaryDirectory() as folder:
            data_dir = Path(folder) / "demo"
            make_demo(data_dir, voices=24, val_voices=8, test_voices=8, seed=0)
            for n_trials in options.trials:
                server.execute(f"CREATE DATABASE trials_{n_trials}")
                for kind, url in (
                    ("study.db", ""),
                    ("postgresql", server.url(f"trials_{n_trials}")),
                ):
                    made, steps = fill(Path(folder) / f"{n_trials}-{kind}", data_dir, n_trials, url)
                    values = (*steps.values(), opening_ms(made))
                    words = "  ".join(f"{value:10.2f}" for value in values)
                    print(f"{n_trials:10}  {kind:>10}  {words}", flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
