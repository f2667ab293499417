"""Whether copies of training clips help on recordings from rooms, noise and codecs.

    python -m tests.benchmarks.copies [--copies 0 2] [--seeds 0 1 2] [--epochs 12] [--voices 60]

For each seed a demo set is made, and its test clips a second time, in other rooms than those of
training, beside other noise, and through codecs. The noise is babble of demo voices that are in no
split, and tilted noise. Printed is the skill on both of the closed form and of a network.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

from tests.benchmarks.quality import best_of_run
from tune_encoder.config import TrainConfig
from tune_encoder.data.baselines import baseline_scores, closed_form, window_frames
from tune_encoder.data.copies import copy_maker
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.demo import make_demo
from tune_encoder.data.folds import subset_pack
from tune_encoder.data.pack import PackedData, open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.samples import find_samples, read_sample, write_sample
from tune_encoder.data.scores import score
from tune_encoder.data.synthesis import DEMO_SAMPLE_RATE, LATENT_SIZE, synthesize, voice_of
from tune_encoder.model.prediction import predict_pack

CPU = torch.device("cpu")
N_NOISES, NOISE_S, N_SPEAKERS = 12, 10, 6  # files of noise, their length, the speakers of babble
TEST_SEED = 1000  # added to the seed, for other rooms and other noise than those of training
AUGMENT_PROB = 0.3  # of features, as in the second start config of `quick`


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


def add_worse_clips(data_dir: Path, noise: Path, seed: int) -> None:
    """Add to test a second version of each clip, as if recorded worse, after the others."""
    settings = TrainConfig(augment_copies=1, copy_seed=seed + TEST_SEED, copy_noise_dir=str(noise))
    maker = copy_maker(settings, DEMO_SAMPLE_RATE)
    for path in find_samples(data_dir / "test"):
        sample = read_sample(path)
        worse = dataclasses.replace(sample, audio=maker.copy(sample.audio, 0))
        write_sample(path.with_name(f"worse_{path.name}"), worse)


def measure(config: TrainConfig, data: PackedData) -> dict[str, float]:
    """Train on the data, and return the skills of both kinds of encoder on both parts of test."""
    (encoder, _), fitted = best_of_run(config, data), {"statistics": closed_form(data)}
    test, found = data.split("test"), {}
    half = len(test) // 2
    for name, rows in (("as they are", np.arange(half)), ("worse", np.arange(half, 2 * half))):
        part = subset_pack(test, rows)
        predicted = predict_pack(encoder, part, crop_frames(config), CPU)
        context = (data.statistics, data.known_voices)
        found[f"network {name}"] = score(predicted, part.styles, *context)["skill"]
        scores = baseline_scores(fitted, *context, part, window_frames(config))
        found[f"statistics {name}"] = scores["statistics"]["skill"]
    return found


def run_seed(folder: Path, seed: int, options: argparse.Namespace) -> list[dict[str, float]]:
    """Measure every number of copies, on one demo set."""
    demo, n_test = folder / "demo", max(8, options.voices // 5)
    make_demo(demo, voices=options.voices, val_voices=n_test, test_voices=n_test, seed=seed)
    noise = make_noise(folder / "noise", seed)
    add_worse_clips(demo, make_noise(folder / "other", seed + TEST_SEED), seed)
    rows = []
    for copies in options.copies:
        config = TrainConfig(
            augment_copies=copies, copy_noise_dir=str(noise), copy_seed=seed, seed=seed,
            epochs=options.epochs, augment_prob=AUGMENT_PROB, early_stopping_patience=0,
        )  # fmt: skip
        rows.append(measure(config, open_pack(pack_data(demo, config))))
        shown = ", ".join(f"{name} {skill:.3f}" for name, skill in rows[-1].items())
        print(f"seed {seed}, {copies} copies: {shown}", flush=True)
    return rows


def main() -> None:
    """Print the skills of each seed, and their means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--voices", type=int, default=60)
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
