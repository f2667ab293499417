"""What `data generate` costs beside the models, how widely its voices lie, and whether kills show.

    python -m tests.benchmarks.generate [--voices 500] [--kills 5] [--presets DIR]

The models are the stand-ins of the tests, a hundred times faster than Supertonic's, so the share of
the time that is not theirs is said for both. Time is that of the processor, since the machine may
do other things. Spread is told of `--presets`, or of fabricated ones.
"""

import argparse
import dataclasses
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tests.speech.stand_in import preset_styles, write_stand_in
from tune_encoder.config import GenerationSettings
from tune_encoder.data.voice_bank import read_styles
from tune_encoder.data.voice_style import VoiceStyle
from tune_encoder.speech.generating import Sources, generate
from tune_encoder.speech.voices import Cast

N_DRAWN = 500  # voices of each row of the table of spread
CLIPS_PER_VOICE = 2
REAL_TIME_FACTOR = 0.32  # of Supertonic 3 with 5 steps on four server cores, as published
POLL_S = 0.005

Doubles = NDArray[np.float64]


# --- spread --------------------------------------------------------------------------------------


def spread_rows(presets: dict[str, VoiceStyle]) -> Iterator[tuple[str, Doubles, Doubles]]:
    """Name each kind of voice, with its style_ttl (N, 50, 256) and style_dp (N, 8, 16)."""
    ttl, dp = (np.stack([getattr(s, part) for s in presets.values()]) for part in ("ttl", "dp"))
    yield "presets", ttl, dp
    rng = np.random.default_rng(0)
    for concentration in (1.0, 0.5):
        weights = rng.dirichlet(np.full(len(presets), concentration), N_DRAWN)
        mixed = (np.tensordot(weights, styles, axes=1) for styles in (ttl, dp))
        yield f"plain Dirichlet({concentration:g})", next(mixed), next(mixed)
    defaults = GenerationSettings(voices=N_DRAWN + len(presets))
    for name, settings in (
        ("convex only", dataclasses.replace(defaults, convex_share=1.0)),
        ("wide only", dataclasses.replace(defaults, convex_share=0.0)),
        ("ours (default)", defaults),
    ):
        cast = Cast(settings, presets, {}, [])
        drawn = [cast.voice(n).style for n in range(len(presets), settings.voices)]
        yield name, np.stack([s.ttl for s in drawn]), np.stack([s.dp for s in drawn])


def print_spread(presets: dict[str, VoiceStyle]) -> None:
    """Print the table of spread."""
    print(f"{'voices':24}{'variance, ttl':>14}{'dp':>6}{'row norms':>14}{'to a preset':>13}")
    rows = list(spread_rows(presets))
    _, ttl_presets, dp_presets = rows[0]
    usual = np.median(nearest(ttl_presets, ttl_presets, skip_self=True))
    for name, ttl, dp in rows:
        norms = np.linalg.norm(ttl, axis=-1)
        distance = np.median(nearest(ttl, ttl_presets, skip_self=name == "presets")) / usual
        ratios = variance(ttl) / variance(ttl_presets), variance(dp) / variance(dp_presets)
        limits = f"{norms.min():.2f} to {norms.max():.2f}"
        print(f"{name:24}{ratios[0]:14.2f}{ratios[1]:6.2f}{limits:>14}{distance:13.2f}")


def variance(styles: Doubles) -> float:
    """The mean variance of an element."""
    return float(np.square(styles - styles.mean(axis=0)).mean())


def nearest(styles: Doubles, others: Doubles, skip_self: bool) -> Doubles:
    """The distance of each style to the nearest of the others."""
    distances = np.array([[np.linalg.norm(a - b) for b in others] for a in styles])
    if skip_self:
        np.fill_diagonal(distances, np.inf)
    return np.asarray(distances.min(axis=1))


# --- overhead ------------------------------------------------------------------------------------


def print_overhead(folder: Path, models: Path, voices: int) -> None:
    """Generate with one process, and print the time that is not onnxruntime's."""
    spent = [0.0]
    run = onnxruntime.InferenceSession.run

    def timed(*given: object, **named: object) -> object:
        began = time.process_time()
        try:
            return run(*given, **named)
        finally:
            spent[0] += time.process_time() - began

    onnxruntime.InferenceSession.run = timed
    settings = GenerationSettings(voices=voices, clips_per_voice=CLIPS_PER_VOICE)
    began, began_wall = time.process_time(), time.perf_counter()
    summary = generate(folder, Sources(model="supertonic-3", model_dir=models), settings, 1)
    total, wall = time.process_time() - began, time.perf_counter() - began_wall
    onnxruntime.InferenceSession.run = run
    n_clips = sum(summary.clips.values())
    size = sum(path.stat().st_size for path in folder.glob("*/*.npz"))
    own = total - spent[0]
    real = own / (own + REAL_TIME_FACTOR * summary.seconds)
    print(f"{n_clips} clips, {summary.seconds:.0f} s of speech, {size / 1e6:.0f} MB, {wall:.0f} s")
    print(f"{1000 * total / n_clips:.1f} ms a clip, {1000 * own / n_clips:.1f} outside onnxruntime")
    print(f"that is {own / total:.1%} of the stand-in's time, {real:.2%} of Supertonic's")


# --- kills ---------------------------------------------------------------------------------------


def print_kills(folder: Path, whole: Path, models: Path, voices: int, kills: int) -> None:
    """Kill a generation again and again, end it, and print what differs from a whole one."""
    out = folder / "killed"
    command = [sys.executable, "-m", "tune_encoder", "data", "generate", str(out)]
    command += ["--model-dir", str(models), "--voices", str(voices), "--workers", "2"]
    moments = sorted(random.Random(0).sample(range(CLIPS_PER_VOICE * voices), kills))
    for moment in moments:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len([*folder.glob("killed.partial/*/[!.]*.npz")]) < moment:
            time.sleep(POLL_S)
        process.kill()
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ours, theirs = contents(whole), contents(out)
    different = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    print(f"{kills} kills, once {', '.join(map(str, moments))} clips were written")
    print(f"{len(ours)} files, {len(different)} different from a set that was not killed")


def contents(folder: Path) -> dict[Path, bytes]:
    """The bytes of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voices", type=int, default=500)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--presets", type=Path)
    options = parser.parse_args()
    presets = preset_styles()
    if options.presets:
        presets = {path.stem: style for path, style in read_styles(options.presets).items()}
    print_spread(presets)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = write_stand_in(folder / "models")
        print_overhead(folder / "whole", models, options.voices)
        if options.kills:
            print_kills(folder, folder / "whole", models, options.voices, options.kills)


if __name__ == "__main__":
    main()
