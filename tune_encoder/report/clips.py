"""Clips of the voices that the winner predicts best and worst: spectrogram and audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_encoder.data.checking import fingerprint
from tune_encoder.data.samples import find_samples, read_sample
from tune_encoder.errors import StorageError
from tune_encoder.report.facts import Facts
from tune_encoder.report.media import MP3_RATE_HZ, mp3, spectrogram
from tune_encoder.report.winner import Winner

MAX_PER_GROUP = 5  # voices, of the best and the worst
MAX_CLIP_S = 5.0  # the part of a clip that is shown and played


@dataclass(frozen=True)
class Clip:
    """A clip of one voice."""

    voice: str
    skill: str
    """Its name and value, over all clips of the voice."""
    seconds: float
    """Length of the part shown."""
    spectrogram: str
    """A PNG as a data URL."""
    sound: str
    """An MP3 as a data URL; empty if there is no recording."""


def best_and_worst(voices: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the best and the worst of ranked voices, at most `MAX_PER_GROUP` each, none twice."""
    half = min(MAX_PER_GROUP, (len(voices) + 1) // 2)
    rest = voices[half:]
    return list(voices[:half]), list(rest[len(rest) - min(MAX_PER_GROUP, len(rest)) :])


def sample_files(facts: Facts, winner: Winner) -> list[Path]:
    """Return the sample of each clip of the winner's split.

    Raises:
        StorageError: if the data is missing or has changed since the search began.
    """
    data_dir = Path(facts.content["data_dir"])
    files = find_samples(data_dir / winner.split)
    if not files:
        raise StorageError(f"{data_dir}: the recordings are missing, so there is no audio")
    if fingerprint(data_dir) != facts.content["fingerprint"]:
        raise StorageError(f"{data_dir}: the recordings have changed since the search began")
    return files


def make_clips(winner: Winner, voices: Sequence[str], files: Sequence[Path]) -> list[Clip]:
    """Return the first clip of each voice.

    Args:
        winner: The evaluated winner.
        voices: Their names.
        files: The sample of each clip of the split; if empty, there is no audio.
    """
    skills = winner.voices()
    return [_clip(winner, voice, skills[voice], files) for voice in voices]


def _clip(winner: Winner, voice: str, skill: float, files: Sequence[Path]) -> Clip:
    i = winner.pack.voices.index(voice)
    rate = winner.config.sample_rate / winner.config.hop_length
    frames = winner.pack.clip(i)[: round(MAX_CLIP_S * rate)]
    sound = _sound(files[i]) if files else ""
    n_clips = winner.pack.voices.count(voice)
    over = f" over {n_clips} clips" if n_clips > 1 else ""
    words = f"{winner.skill_name} {skill:.3f}{over}"
    return Clip(voice, words, len(frames) / rate, spectrogram(np.asarray(frames)), sound)


def _sound(path: Path) -> str:
    sample = read_sample(path)
    rate = sample.sample_rate or MP3_RATE_HZ
    return mp3(sample.audio[: round(MAX_CLIP_S * rate)], rate)
