"""Recordings and styles of a few voices, to import."""

import numpy as np
import pytest
import soundfile

from tests.fabricate import make_style
from tune_encoder.data.samples import SPLITS, find_samples, read_sample
from tune_encoder.data.splitting import SplitRequest
from tune_encoder.data.voice_style import write_voice_style

RATE = 8000
USUAL = SplitRequest()


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
