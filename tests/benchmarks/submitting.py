"""How much later the first trial starts through `submit` than through `search`.

Run it as `python -m tests.benchmarks.submitting ADDRESS`, with a cluster there and its token in the
environment; both search the demo voices, in turn.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tune_encoder.experiment.folder import Experiment

ROUNDS = 3
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
SEARCH = ("--trials", "4", "--epochs", "2", "--no-export")


def first_trial_s(command: tuple[str, ...], name: str, root: Path) -> float:
    """Seconds from the command's start to the first trial's."""
    began = time.monotonic()
    where = ("--name", name, "--root", str(root))
    program = (sys.executable, "-m", "tune_encoder")
    process = subprocess.Popen([*program, *command, *SEARCH, *where], **QUIET)
    while not Experiment(root / name).trial_config(0).exists():
        time.sleep(0.02)
    took = time.monotonic() - began
    process.wait()
    return took


def main() -> None:
    """Print each round, and the medians."""
    address = ("--address", sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'':8}{'search':>8}{'submit':>8}  s to the first trial")
        for number in range(1, ROUNDS + 1):
            direct = first_trial_s(("search",), f"direct{number}", Path(folder))
            sent = first_trial_s(("submit", *address), f"sent{number}", Path(folder))
            print(f"round {number} {direct:8.1f}{sent:8.1f}")
            waiting = ("logs", f"sent{number}", "-f", *address)
            program = (sys.executable, "-m", "tune_encoder")
            subprocess.run([*program, *waiting], **QUIET, check=True)


if __name__ == "__main__":
    main()
