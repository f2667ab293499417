"""What a pack costs to make, to keep and to open, beside the npz files it is made of.

    python -m tests.benchmarks.pack [CLIPS]

Each is made in a new process that may use so many cores, of demo voices. The least of three, since
whatever else runs only adds to it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tune_encoder.data.demo import make_demo
from tune_encoder.data.samples import find_samples

ROUNDS = 3
MEASURE = """
import os, sys, time
cores = sorted(os.sched_getaffinity(0))[:int(sys.argv[2])]
os.sched_setaffinity(0, cores)
os.cpu_count = lambda: len(cores)
from pathlib import Path
import torch  # not part of the packing
from tune_encoder.config import TrainConfig
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
began = time.perf_counter()
folder = pack_data(Path(sys.argv[1]), TrainConfig())
packed = time.perf_counter()
open_pack(folder)
print(packed - began, time.perf_counter() - packed, sum(f.stat().st_size for f in folder.iterdir()))
"""


def measure(data: Path, cores: int) -> tuple[float, float, int]:
    """Return seconds to pack, seconds to open, and bytes."""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(data), str(cores)],
            env={**os.environ, "TUNE_ENCODER_CACHE": cache},
            capture_output=True,
            text=True,
            check=True,
        )
    packing, opening, size = done.stdout.split()
    return float(packing), float(opening), int(size)


def main() -> None:
    """Measure and print."""
    clips = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "demo"
        make_demo(data, voices=clips, val_voices=64, test_voices=64, seed=0)
        files = [path for split in ("train", "val", "test") for path in find_samples(data / split)]
        npz = sum(path.stat().st_size for path in files)
        print(f"{len(files)} clips, {npz / 1e6:.0f} MB as npz")
        print(f"{'cores':>5}{'clips/s':>9}{'a core':>8}{'of npz':>8}{'open, ms':>10}")
        for cores in range(1, len(os.sched_getaffinity(0)) + 1):
            rounds = [measure(data, cores) for _ in range(ROUNDS)]
            packing, opening = (min(each[i] for each in rounds) for i in (0, 1))
            rate, share = len(files) / packing, rounds[0][2] / npz
            print(f"{cores:5}{rate:9.0f}{rate / cores:8.0f}{share:8.1%}{1000 * opening:10.1f}")
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
