"""Whether copies of training clips help on recordings from rooms, noise and codecs.

    python -m tests.benchmarks.copies [--copies 0 1 3] [--seeds 0 1 2] [--epochs 30] [--voices 240]

For each seed a demo set is made, and beside its test split a second one, the same clips in other
rooms, beside other noise, and through codecs. The noise is babble of demo voices that are in no
split, and tilted noise. Printed is the skill on both of the closed form and of a network.
"""

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from tests.benchmarks.quality import best_of_run
from tune_encoder.config import TrainConfig
from tune_encoder.data.copies import copy_maker
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import find_samples, read_sample, write_sample
from tune_encoder.data.synthesis import DEMO_SAMPLE_RATE, LATENT_SIZE, synthesize, voice_of
from tune_encoder.model.evaluate import evaluate_model

N_NOISES, NOISE_S, N_SPEAKERS = 12, 10, 6  # files of noise, their length, the speakers of babble
TEST_SEED = 1000  # added to the seed, for other rooms and other noise than those of training
AUGMENT_PROB = 0.3  # of features, as `quick` starts


def make_noise(folder: Path, seed: int) -> Path:
    """Write babble and tilted noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for number in range(N_NOISES):
        noise = _babble(rng) if number % 2 else _tilted(rng)
        noise *= 0.1 / np.sqrt(np.square(noise).mean())
        soundfile.write(folder / f"{number:02d}.wav", np.clip(noise, -1, 1), DEMO_SAMPLE_RATE)
    return folder


def _babble(rng: np.random.Generator) -> np.ndarray:
    T = NOISE_S * DEMO_SAMPLE_RATE
    total = np.zeros(T)
    for _ in range(N_SPEAKERS):
        voice = voice_of(rng.standard_normal(LATENT_SIZE))
        total += np.roll(np.resize(synthesize(voice, rng), T), rng.integers(T))
    return total


def _tilted(rng: np.random.Generator) -> np.ndarray:
    T = NOISE_S * DEMO_SAMPLE_RATE
    octaves = np.log2(np.maximum(np.fft.rfftfreq(T, 1 / DEMO_SAMPLE_RATE) / 50, 1))
    spectrum = np.fft.rfft(rng.standard_normal(T)) * 10 ** (rng.uniform(-6, 0) * octaves / 20)
    return np.asarray(np.fft.irfft(spectrum, T))


def degrade(source: Path, target: Path, noise: Path, seed: int) -> None:
    """Copy a data set, the clips of its test split as if recorded worse."""
    shutil.copytree(source, target)
    settings = TrainConfig(augment_copies=1, copy_seed=seed + TEST_SEED, copy_noise_dir=str(noise))
    maker = copy_maker(settings, DEMO_SAMPLE_RATE)
    for path in find_samples(target / "test"):
        sample = read_sample(path)
        write_sample(path, dataclasses.replace(sample, audio=maker.copy(sample.audio, 0)))


def measure(config: TrainConfig, clean: PackedData, worse: PackedData) -> dict[str, float]:
    """Train on the data, and return the skills of both kinds of encoder on both test splits."""
    encoder = best_of_run(config, clean)
    found = {}
    for name, data in (("as they are", clean), ("worse", worse)):
        scores = evaluate_model(encoder, config, data, "test").scores
        found[f"network {name}"] = scores["model"]["skill"]
        found[f"statistics {name}"] = scores["statistics"]["skill"]
    return found


def run_seed(folder: Path, seed: int, options: argparse.Namespace) -> list[dict[str, float]]:
    """Measure every number of copies, on one demo set."""
    n_test = options.voices // 5
    make_demo(
        folder / "clean", voices=options.voices, val_voices=n_test, test_voices=n_test, seed=seed
    )
    noise = make_noise(folder / "noise", seed)
    degrade(
        folder / "clean", folder / "worse", make_noise(folder / "other", seed + TEST_SEED), seed
    )
    rows = []
    for copies in options.copies:
        config = TrainConfig(
            augment_copies=copies, copy_noise_dir=str(noise), copy_seed=seed, seed=seed,
            epochs=options.epochs, augment_prob=AUGMENT_PROB, early_stopping_patience=0,
        )  # fmt: skip
        sets = (open_pack(pack_data(folder / name, config)) for name in ("clean", "worse"))
        rows.append(measure(config, *sets))
        shown = ", ".join(f"{name} {skill:.3f}" for name, skill in rows[-1].items())
        print(f"seed {seed}, {copies} copies: {shown}", flush=True)
    return rows


def main() -> None:
    """Print the skills of each seed, and their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--voices", type=int, default=240)
    options = parser.parse_args()
    found = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            found.append(run_seed(Path(folder), seed, options))
    for number, copies in enumerate(options.copies):
        means = {name: np.mean([rows[number][name] for rows in found]) for name in found[0][number]}
        print(f"{copies} copies: {', '.join(f'{n} {mean:.3f}' for n, mean in means.items())}")


if __name__ == "__main__":
    main()
