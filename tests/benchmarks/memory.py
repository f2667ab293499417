"""What a trial costs in memory with a large pack: one alone, and those beside it.

    python -m tests.benchmarks.memory [MEGABYTES]

Each trial is a process that trains batches from all over the pack. PSS counts a page that several
share in parts, so that they add up; private pages are of one process alone.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.packing import pack_data

AT_ONCE = (1, 2, 4)
TRIAL = """
import sys
from pathlib import Path
from typing import Any
import torch
from tune_encoder.config import TrainConfig
from tune_encoder.data.batches import training_batches
from tune_encoder.data.pack import open_pack
from tune_encoder.system.memory import keep_freed_memory
from tune_encoder.training.state import start
from tune_encoder.training.epoch import train_step
torch.set_num_threads(1)
config = TrainConfig()
data = open_pack(Path(sys.argv[1]))
if sys.argv[2] == "train":
    keep_freed_memory()
    state = start(config, data, torch.device("cpu"))
    for index, batch in enumerate(training_batches(data.train, config, 1)):
        if index < 20:
            train_step(state, batch, data.statistics)
print("ready", flush=True)
sys.stdin.read()
"""


def enlarged(pack: Path, folder: Path, megabytes: int) -> Path:
    """Write a pack whose training clips are those of another again and again."""
    shutil.copytree(pack, folder)
    features = (pack / "train.f16").read_bytes()
    count = max(1, round(megabytes * 2**20 / len(features)))
    with (folder / "train.f16").open("wb") as file:
        for _ in range(count):
            file.write(features)
    with np.load(pack / "train.npz") as arrays:
        lengths = np.tile(np.diff(arrays["starts"]), count)
        voices = np.concatenate([arrays["voices"]] * count)
        kept = {"n_mels": arrays["n_mels"], "dp": np.concatenate([arrays["dp"]] * count)}
    starts, style = np.concatenate([[0], np.cumsum(lengths)]), np.arange(len(lengths))
    np.savez(folder / "train.npz", starts=starts, style=style, voices=voices, **kept)
    ttl = folder / "train_ttl.f16"  # as if no two clips were of one voice
    ttl.write_bytes(ttl.read_bytes() * count)
    info = json.loads((pack / "pack.json").read_text())
    info["clips"]["train"] = len(lengths)
    info["sizes"] = {name: (folder / name).stat().st_size for name in info["sizes"]}
    (folder / "pack.json").write_text(json.dumps(info))
    return folder


def measure(pack: Path, count: int, what: str) -> list[dict[str, float]]:
    """Return the kinds of memory of so many trials at once, in MB."""
    command = [sys.executable, "-c", TRIAL, str(pack), what]
    trials = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        for trial in trials:
            assert trial.stdout is not None
            assert trial.stdout.readline() == b"ready\n"
        return [_rollup(trial.pid) for trial in trials]
    finally:
        for trial in trials:
            trial.communicate()


def _rollup(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    private = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {
        "rss": kilobytes["Rss"] / 1024,
        "pss": kilobytes["Pss"] / 1024,
        "private": private / 1024,
        "anonymous": kilobytes["Anonymous"] / 1024,
    }


def main() -> None:
    """Measure and print."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        make_demo(Path(name) / "demo", voices=64, val_voices=16, test_voices=16, seed=0)
        small = pack_data(Path(name) / "demo", TrainConfig())
        pack = enlarged(small, Path(name) / "pack", megabytes)
        print(f"a pack of {megabytes} MB; MB of each trial, the mean of those at once")
        print(f"{'at once':>14}{'RSS':>8}{'PSS':>8}{'private':>9}{'anonymous':>11}")
        for count, what in [(1, "open"), *((count, "train") for count in AT_ONCE)]:
            found = measure(pack, count, what)
            means = [sum(each[kind] for each in found) / count for kind in found[0]]
            label = "only opened" if what == "open" else str(count)
            print(f"{label:>14}{means[0]:8.0f}{means[1]:8.0f}{means[2]:9.0f}{means[3]:11.0f}")
        shutil.rmtree(small)


if __name__ == "__main__":
    main()
