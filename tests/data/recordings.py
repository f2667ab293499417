"""Recordings and styles of a few voices, to import."""

import numpy as np
import pytest
import soundfile

from tests.fabricate import make_style
from tune_encoder.data.importing import import_pairs, pair_folders
from tune_encoder.data.samples import SPLITS, find_samples, read_sample
from tune_encoder.data.splitting import SplitRequest
from tune_encoder.data.voice_style import write_voice_style

RATE = 8000
USUAL = SplitRequest()


def import_voices(audio_dir, styles_dir, out, sample_rate, seed, request, skip_bad=False):
    """Import a folder of recordings, as the command does."""
    pairing = pair_folders(audio_dir, styles_dir, request)
    return import_pairs(pairing, out, sample_rate, seed, request, skip_bad)


def add_clip(folder, name, seconds=2.0, frequency_hz=300):
    time = np.arange(round(seconds * RATE)) / RATE
    audio = 0.3 * np.sin(2 * np.pi * frequency_hz * time) * (1.2 + np.sin(2 * np.pi * 3 * time))
    soundfile.write(folder / name, audio, RATE)


@pytest.fixture
def folders(tmp_path):
    audio_dir, styles_dir = tmp_path / "audio", tmp_path / "styles"
    audio_dir.mkdir()
    styles_dir.mkdir()
    return audio_dir, styles_dir


@pytest.fixture
def one_clip_each(folders):
    """Two voices, 'anna' and 'ben', with a clip of 8 s each."""
    audio_dir, styles_dir = folders
    for seed, voice in enumerate(["anna", "ben"]):
        add_clip(audio_dir, f"{voice}.wav", seconds=8.0)
        write_voice_style(styles_dir / f"{voice}.json", make_style(seed), {})
    return folders


@pytest.fixture
def several_clips(folders):
    """Ten voices with two clips of 2 s each."""
    audio_dir, styles_dir = folders
    for seed in range(10):
        add_clip(audio_dir, f"voice{seed}_a.wav")
        add_clip(audio_dir, f"voice{seed}-b.flac")
        write_voice_style(styles_dir / f"voice{seed}.json", make_style(seed), {})
    return folders


def samples_of(out):
    return {split: [read_sample(path) for path in find_samples(out / split)] for split in SPLITS}


def voices_of(samples):
    return {split: {sample.voice for sample in samples[split]} for split in SPLITS}


def speak(path, seconds, seed=0, rate=RATE, **format_):
    """Write phrases of noise between pauses; return the (start, end) of each pause, in seconds.

    By blocks, since a recording may be long.
    """
    rng, pauses, at = np.random.default_rng(seed), [], 0.0
    with soundfile.SoundFile(path, "w", rate, 1, **format_) as file:
        while at < seconds:
            phrase, pause = rng.uniform(1.5, 4), rng.uniform(0.4, 0.8)
            phrase = min(phrase, seconds - at)
            sound = 0.1 * rng.standard_normal(round(phrase * rate), dtype=np.float32)
            quiet = 1e-4 * rng.standard_normal(round(pause * rate), dtype=np.float32)
            file.write(sound)
            at += len(sound) / rate
            if at < seconds:
                file.write(quiet)
                pauses.append((at, at + len(quiet) / rate))
                at += len(quiet) / rate
    return pauses
