"""Record learning curves: the same random configs, trained fully on several demo data sets.

    python -m tests.benchmarks.record_curves OUT [--space default] [--configs 17] [--sets 6]

OUT becomes a testbed for `search_quality`, and what `portfolio` chooses from. No Ray and no search:
each config is trained to its last epoch by the trainer alone. What is done stays in
OUT/curves.jsonl, so the same command continues; it takes an hour on two cores. Two configs that
people chose come first, the others are random.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from tests.benchmarks.simulated.testbed import EPOCHS
from tune_encoder.config import SettingValue, TrainConfig
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.space import (
    RandomSuggester,
    SearchSpace,
    find_space,
    load_space,
    sample_configs,
    space_to_content,
)
from tune_encoder.space.unit_cube import UnitCube
from tune_encoder.system.files import cache_dir
from tune_encoder.training.loop import train

SEED = 4
_CHOSEN: dict[str, SettingValue] = {
    "learning_rate": 4.0e-3,
    "weight_decay": 1.0e-2,
    "hidden_dim": 64,
    "num_layers": 4,
    "pca_components": 64,
    "dropout": 0.2,
    "augment_prob": 0.0,
    "augment_noise_snr_min": 20.0,
    "crop_seconds": 2.0,
}
CHOSEN = (_CHOSEN, {**_CHOSEN, "augment_prob": 0.3})
NICE = 5  # an hour of work beside other work
CURVES = "curves.jsonl"


class DemoSet(NamedTuple):
    """A data set of demo voices; the seed is its own, so no two share a voice."""

    voices: int
    """In train."""
    val_voices: int
    clips_per_voice: int
    """In val: with one, val is recorded as train is; with several, elsewhere."""
    seed: int

    @property
    def name(self) -> str:
        return f"demo-{self.voices}-{self.val_voices}x{self.clips_per_voice}"


SETS = (
    DemoSet(64, 16, 2, seed=1),
    DemoSet(96, 32, 1, seed=2),
    DemoSet(128, 24, 2, seed=3),
    DemoSet(160, 48, 1, seed=4),
    DemoSet(240, 24, 3, seed=5),
    DemoSet(320, 64, 1, seed=6),
)


class Job(NamedTuple):
    """One training."""

    data_set: DemoSet
    number: int
    """Of the config."""
    config: TrainConfig


class Curve(NamedTuple):
    """What a training gave, as it is stored."""

    data_set: str
    number: int
    val_loss: list[float]
    baselines: dict[str, float]


def configs_of(space: SearchSpace, n: int) -> list[dict[str, SettingValue]]:
    """Return n configs, two that people chose and then random ones."""
    chosen = [space.sample(RandomSuggester(0), given) for given in CHOSEN]
    return [*islice([*chosen, *sample_configs(space, n, SEED)], n)]


@cache
def folder_of(data_set: DemoSet) -> Path:
    """Return the folder of a data set, which is made if it is not in the cache."""
    folder = cache_dir() / "demo" / data_set.name
    if not folder.exists():
        make_demo(
            folder,
            voices=data_set.voices,
            val_voices=data_set.val_voices,
            test_voices=1,
            seed=data_set.seed,
            clips_per_voice=data_set.clips_per_voice,
        )
    return folder


def run(job: Job) -> Curve:
    """Train a config."""
    data = open_pack(pack_data(folder_of(job.data_set), job.config))
    with tempfile.TemporaryDirectory() as folder:
        state = train(job.config, data, Path(folder), lambda row, state: None)
    losses = [round(row["val_loss"], 6) for row in state.history]
    baselines = {name: round(scores["loss"], 6) for name, scores in data.baselines.items()}
    return Curve(job.data_set.name, job.number, losses, baselines)


def record(out: Path, jobs: Sequence[Job], processes: int) -> list[Curve]:
    """Run what is not recorded yet; return all curves."""
    known = read_curves(out / CURVES)
    done = {(curve.data_set, curve.number) for curve in known}
    left = [job for job in jobs if (job.data_set.name, job.number) not in done]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, os.nice, [NICE]) as pool, (out / CURVES).open("a") as file:
        for curve in tqdm(pool.imap_unordered(run, left), total=len(left), ncols=80):
            file.write(f"{json.dumps(curve._asdict())}\n")
            file.flush()
            known.append(curve)
    return known


def read_curves(path: Path) -> list[Curve]:
    """Read what is recorded; a last line that is cut off is left out."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [Curve(**json.loads(line)) for line in lines if line.endswith("\n")]


def write_testbed(
    out: Path, space: SearchSpace, configs: Sequence[dict[str, Any]], curves: Sequence[Curve]
) -> None:
    """Write a table of each data set, and `scale.json`."""
    section = json.dumps(space_to_content(space)["space"])
    cube = UnitCube(space)
    places = np.array([cube.coordinates(settings) for settings in configs])
    scale = {}
    wanted = [curve for curve in curves if curve.number < len(configs)]
    for name, found in by_set(wanted).items():
        table = np.array([curve.val_loss for curve in found])
        best = np.sort(table.min(axis=1))
        scale[name] = [float(best[0]), float(np.median(best))]
        np.savez_compressed(
            out / f"{name}.npz",
            space=section,
            U=places[[curve.number for curve in found]],
            Y=table.astype(np.float32),
        )
    (out / "scale.json").write_text(json.dumps(scale, indent=1) + "\n")


def by_set(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Return the curves of each data set, in order of their configs."""
    found: dict[str, list[Curve]] = {}
    for curve in sorted(curves, key=lambda curve: curve.number):
        found.setdefault(curve.data_set, []).append(curve)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the testbed")
    parser.add_argument("--space", default="default", help="a shipped one or a file")
    parser.add_argument("--configs", type=int, default=17)
    parser.add_argument(
        "--sets", type=int, choices=range(1, len(SETS) + 1), default=len(SETS), metavar="N",
        help="so many, the small ones first",
    )  # fmt: skip
    parser.add_argument("--processes", type=int, default=2, help="trainings at once")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    space = load_space(find_space(options.space))
    configs = configs_of(space, options.configs)
    chosen = SETS[: options.sets]
    jobs = [Job(s, i, _config(space, c)) for i, c in enumerate(configs) for s in chosen]
    for data_set in chosen:
        folder_of(data_set)  # before the processes, which would all make it
    curves = record(options.out, jobs, options.processes)
    names = {data_set.name for data_set in chosen}
    known = [curve for curve in curves if curve.data_set in names]
    write_testbed(options.out, space, configs, known)


def _config(space: SearchSpace, settings: dict[str, SettingValue]) -> TrainConfig:
    config = space.config(settings)
    return dataclasses.replace(config, epochs=EPOCHS, num_threads=1, use_tensorboard=False)


if __name__ == "__main__":
    main()
