"""What a change of settings is worth: single runs of a space's first config, with each change.

    python -m tests.benchmarks.settings crop_seconds_min=0.3 "crop_seconds=1.0 augment_prob=0.3"
        [--space quick] [--epochs 24] [--seeds 0 1 2] [--clips-per-voice 2] [--real FOLDER]
    python -m tests.benchmarks.settings crop_seconds_min=0.3 --space train --epochs 100
    python -m tests.benchmarks.settings head=pca head=joint augment_prob=0 --steps

Each argument is a change, of one or more settings; without any, the config as it is, is trained
too. With `--steps` each is made beside those before it. With `--space train` the config has the
defaults of `tune-encoder train`. Skills are on test, at the epoch of the lowest validation loss,
means over seeds; on real voices over four turns as well, see `quality`.
"""

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.quality import best_of_run, import_turned, start_configs
from tune_encoder.config import TrainConfig, from_mapping, parse_assignment, to_mapping
from tune_encoder.data.demo import cached_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.model.evaluate import evaluate_model
from tune_encoder.space import load_space
from tune_encoder.space.builtin import find_space

N_TURNS = 4
PARTS = ("skill", "skill_ttl", "skill_dp", "retrieval")


def changed(config: TrainConfig, change: str) -> TrainConfig:
    """Return a config with settings replaced, as `name=value name=value`."""
    values = dict(parse_assignment(word, "change") for word in change.split())
    return from_mapping(TrainConfig, {**to_mapping(config), **values}, change)


def scores_of_runs(
    config: TrainConfig, folders: list[Path], seeds: list[int]
) -> Iterator[dict[str, float]]:
    """Train with each seed on each data set; yield the scores on test."""
    for data_dir in folders:
        data = open_pack(pack_data(data_dir, config))
        for seed in seeds:
            seeded = dataclasses.replace(config, seed=seed)
            found = evaluate_model(best_of_run(seeded, data)[0], seeded, data, "test")
            yield found.scores["model"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("changes", nargs="*", help="name=value, several within one argument")
    parser.add_argument("--space", default="quick")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", action="store_true", help="add each change to those before it")
    parser.add_argument("--clips-per-voice", type=int, default=2, help="of the demo's val and test")
    parser.add_argument("--real", type=Path, help="folder with voices/ and styles/")
    options = parser.parse_args()
    first = TrainConfig()
    if options.space != "train":
        first = next(start_configs(load_space(find_space(options.space))))
    base = dataclasses.replace(first, epochs=options.epochs, num_threads=1)
    with tempfile.TemporaryDirectory(prefix="settings_") as folder:
        folders = [cached_demo(options.clips_per_voice)]
        if options.real is not None:
            folders = [Path(folder, str(turn)) for turn in range(N_TURNS)]
            for turn, data_dir in enumerate(folders):
                import_turned(options.real, data_dir, turn / N_TURNS)
        print(f"{'':40}{'skill':>7}{'+-':>6}{'ttl':>10}{'dp':>10}{'retrieval':>10}")
        config = base
        for change in ("", *options.changes):
            config = changed(config if options.steps else base, change)
            runs = [*scores_of_runs(config, folders, options.seeds)]
            skill, *parts = (statistics.fmean(run[part] for run in runs) for part in PARTS)
            spread = statistics.stdev(run["skill"] for run in runs) if len(runs) > 1 else 0.0
            figures = f"{skill:7.3f}{spread / len(runs) ** 0.5:6.3f}"
            figures += "".join(f"{part:10.3f}" for part in parts)
            print(f"{change or 'as it is':40}{figures}", flush=True)


if __name__ == "__main__":
    main()
