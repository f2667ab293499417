"""How long cloning takes with torch and with onnxruntime, on one core.

    python -m tests.benchmarks.inference
    python -m tests.benchmarks.inference --model runs/mine/best

Each engine runs in new processes that may use one core. Medians, in milliseconds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.fabricate import random_encoder, write_model, write_wav
from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.model.onnx.checking import synthetic_speech
from tune_encoder.model.onnx.writing import write_onnx

CLIP_S = 10.0

MEASURE = """
import json, os, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
times = {}
def timed(name, act):
    began = time.perf_counter()
    result = act()
    times[name] = 1000 * (time.perf_counter() - began)
    return result
model, wav, out, device, package = sys.argv[1:]
timed(f"import {package}", lambda: __import__(package))
clone = timed("import the rest", lambda: __import__("tune_encoder.model.clone", fromlist=["clone"]))
from pathlib import Path
engine = timed("open the model", lambda: clone.open_engine(Path(model), device or None))
timed("first clone of 10 s", lambda: clone.clone(engine, Path(wav), Path(out)))
repeated = []
for _ in range(5):
    timed("clone of 10 s", lambda: clone.clone(engine, Path(wav), Path(out)))
    repeated.append(times["clone of 10 s"])
times["clone of 10 s"] = sorted(repeated)[2]
print(json.dumps(times))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="exported model (default: an untrained one)")
    parser.add_argument("--processes", type=int, default=5, help="new processes of each engine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or make_model(folder)
        wav = write_wav(
            folder / "clip.wav", np.resize(synthetic_speech(24000), round(CLIP_S * 24000))
        )
        for engine, device, package in (
            ("onnxruntime", "", "onnxruntime"),
            ("torch", "cpu", "torch"),
        ):
            arguments = [str(model), str(wav), str(folder / "out.json"), device, package]
            rows = [measure(arguments) for _ in range(options.processes)]
            tell(engine, rows)


def make_model(folder: Path) -> Path:
    """Write an untrained encoder of the default settings, with its ONNX files."""
    config = TrainConfig()
    make_demo(folder / "demo", voices=80, val_voices=1, test_voices=1, seed=0)
    packed = open_pack(pack_data(folder / "demo", config))
    encoder = random_encoder(config, packed.statistics)
    (folder / "model").mkdir()
    weights = {name: weight.contiguous() for name, weight in encoder.state_dict().items()}
    write_model(folder / "model", config, weights)
    write_onnx(folder / "model", encoder, config, epoch=1)
    return folder / "model"


def measure(arguments: list[str]) -> dict[str, float]:
    """Time the steps of one process, in milliseconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def tell(engine: str, rows: list[dict[str, float]]) -> None:
    """Print the median and the range of each step."""
    print(f"{engine:26}{'median':>9}{'least':>9}{'most':>9}   ms")
    for step in rows[0]:
        values = [row[step] for row in rows]
        median = statistics.median(values)
        print(f"  {step:24}{median:9.0f}{min(values):9.0f}{max(values):9.0f}")


if __name__ == "__main__":
    main()
