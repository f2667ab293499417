"""Mutations of everything that is read: what is refused, what is read, and what should not be.

    python -m tests.benchmarks.fuzz --cases 2000 --seed 0
    python -m tests.benchmarks.fuzz --kind npz --seed 0 --case 1234

The second runs one case of the first alone. A failure is an error that is not ours, an exit code
that the README does not list, more than one line, a sample or a checkpoint that is loaded changed,
or more than 5 s or 1 GB.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fabricate import SMALL_ENCODER, random_encoder, write_model
from tests.fuzz.kinds import NAMES, Scene
from tests.fuzz.running import run_cases
from tune_encoder.config import TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.voice_bank import bank_of_clips, write_bank
from tune_encoder.model.onnx.writing import write_onnx


def make_scene(folder: Path) -> Scene:
    """Make a small data set and a model, which takes half a minute."""
    data_dir, model_dir = folder / "data", folder / "model"
    make_demo(data_dir, voices=4, val_voices=2, test_voices=2, seed=0, clips_per_voice=1)
    data = open_pack(pack_data(data_dir, TrainConfig()))
    encoder = random_encoder(SMALL_ENCODER, data.statistics)
    write_model(model_dir, SMALL_ENCODER, encoder.state_dict())
    write_onnx(model_dir, encoder, SMALL_ENCODER, epoch=1, int8=False)
    write_bank(model_dir, bank_of_clips(data.train.voices, data.train.styles), epoch=1)
    return Scene(data_dir, model_dir)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--case", type=int, help="run only the case of this number")
    options = parser.parse_args()
    numbers = range(options.cases) if options.case is None else [options.case]
    print(f"{'kind':12}{'cases':>8}{'refused':>9}{'read':>8}{'failures':>10}{'slowest':>9}")
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(Path(folder))
        for name in options.kind:
            kind = scene.kind(name, Path(folder) / f"cases_{name}")
            tally = run_cases(name, kind, options.seed, numbers)
            failures += tally.failures
            print(
                f"{name:12}{tally.cases:>8}{tally.refused:>9}{tally.read:>8}"
                f"{len(tally.failures):>10}{tally.slowest_s:>7.2f} s",
                flush=True,
            )
    for line in failures:
        print(line)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
