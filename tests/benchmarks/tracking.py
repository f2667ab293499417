"""What a tracker costs a search: pairs of equal searches, one sent to MLflow and one not.

    python -m tests.benchmarks.tracking --pairs 3
    python -m tests.benchmarks.tracking --pairs 3 --mlflow http://HOST:5000

Without an address a server is started on this machine, which takes processor time of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from tune_encoder.config import write_yaml
from tune_encoder.experiment.folder import Experiment
from tune_encoder.system.ports import free_port

_POLL_S = 0.2
_MODULE = "tune_encoder.tracking"


class Cost(NamedTuple):
    """Of one search."""

    seconds: float
    """From its start to its exit."""
    training_s: float
    """Of all epochs together."""
    tracker_cpu_s: float
    """Processor time of the process that sends it."""
    tracker_mb: float
    """Most memory of that process."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--mlflow", default="")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        uri = options.mlflow or _serve(stack, folder)
        space = folder / "space.yaml"
        space.write_text(write_yaml(_space(options.trials, options.epochs)))
        pairs = []
        for i in range(options.pairs):
            order = (False, True) if i % 2 else (True, False)
            found = {sent: _search(folder, space, f"s{i}{sent:d}", sent * uri) for sent in order}
            pairs.append((found[False], found[True]))
            print(f"pair {i + 1}: without {found[False]}, with {found[True]}", flush=True)
    ratios = [with_.seconds / without.seconds - 1 for without, with_ in pairs]
    training = [with_.training_s / without.training_s - 1 for without, with_ in pairs]
    cpu = statistics.median(with_.tracker_cpu_s for _, with_ in pairs)
    wall = statistics.median(without.seconds for without, _ in pairs)
    print(f"longer by                     {_percent(ratios)}")
    print(f"training longer by            {_percent(training)}")
    share = cpu / wall / (os.cpu_count() or 1)
    print(f"processor time of the sender  {cpu:.1f} s, {share:.1%} of the machine")
    print(f"memory of the sender          {max(each.tracker_mb for _, each in pairs):.0f} MB")


def _percent(ratios: list[float]) -> str:
    each = ", ".join(f"{ratio:+.1%}" for ratio in ratios)
    return f"{statistics.median(ratios):+.1%} (median of {each})"


def _space(trials: int, epochs: int) -> dict[str, object]:
    return {
        "budget": {"trials": trials, "epochs": epochs},
        "scheduler": {"name": "none"},
        "searcher": {"closed_form": False},
        "validation": {"voices": 1},
        "report": {"at_end": False},
        "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
    }


def _search(folder: Path, space: Path, name: str, uri: str) -> Cost:
    root = folder / "runs"
    command = [sys.executable, "-m", "tune_encoder", "search", "--space", str(space)]
    command += ["--name", name, "--root", str(root), "--no-export"]
    command += ["--mlflow", uri] if uri else []
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended, most = Event(), [0.0, 0.0]
    watcher = Thread(target=_watch, args=(process.pid, ended, most))
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - began
    ended.set()
    watcher.join()
    if code:
        raise SystemExit(f"the search ended with {code}")
    rows = [row for trial in Experiment(root / name).trials() for row in trial.rows]
    return Cost(seconds, sum(row["seconds"] for row in rows), *most)


def _watch(pid: int, ended: Event, most: list[float]) -> None:
    """Note what the senders of a search use: two, one after the other."""
    used: dict[int, float] = {}
    while not ended.wait(_POLL_S):
        with suppress(psutil.Error):
            for child in psutil.Process(pid).children():
                if _MODULE in child.cmdline():
                    times = child.cpu_times()
                    used[child.pid] = times.user + times.system
                    most[1] = max(most[1], child.memory_info().rss / 1e6)
        most[0] = sum(used.values())


def _serve(stack: ExitStack, folder: Path) -> str:
    """Start a server of MLflow; returns its address."""
    port = free_port(25_000)
    store = f"sqlite:///{folder}/mlflow.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
         "--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(process.terminate)
    url = f"http://127.0.0.1:{port}"
    while True:
        with suppress(URLError, OSError):
            urlopen(f"{url}/health", timeout=5).close()
            return url
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
